//! Settle: what each outcome makes of a running task, field by field.

use taskqueue_core::{
    Claim, ErrorKind, LAST_ERROR_BYTES_MAX, Outcome, Priority, Settled, Settlement, Status, Task, TaskId,
};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, assert_kind, ids, task, tasks, worker};
use crate::{Harness, Verdict};

pub(crate) async fn a_claim_makes_the_task_running(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task()).await?;
    let before = bed.get(id).await?;
    bed.advance(MINUTE).await;
    let now = bed.now().await;
    let claim = bed.claim_one().await?;
    let after = &claim.task;
    bed.assert_time(after.started_at, now);
    assert_eq!(after.updated_at, after.started_at.expect("it is set"));
    let expected = Task {
        status: Status::Running,
        attempts: 1,
        started_at: after.started_at,
        updated_at: after.updated_at,
        worker_id: Some(worker()),
        ..before
    };
    assert_eq!(*after, expected);
    assert_eq!(bed.get(id).await?, expected);
    Ok(())
}

pub(crate) async fn a_lease_names_the_claim(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    let claim = bed.claim_new(task().max_retries(7)).await?;
    let lease = &claim.lease;
    assert_eq!((lease.task_id, &lease.task_type), (claim.task.id, &claim.task.task_type));
    assert_eq!((lease.number, lease.attempt, lease.max_retries), (1, 1, 7));
    assert_eq!(Some(lease.claimed_at), claim.task.started_at);
    bed.assert_time(lease.until, now + bed.visibility_timeout());
    Ok(())
}

pub(crate) async fn each_claim_has_a_new_token_and_the_next_number(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let first = bed.running().await?;
    bed.release(first.lease.clone()).await?;
    let second = bed.claim_one().await?;
    assert_ne!(first.lease.token, second.lease.token);
    assert_eq!((first.lease.number, second.lease.number), (1, 2), "a release gives no number back");
    assert_eq!((first.lease.attempt, second.lease.attempt), (1, 1), "a release gives the attempt back");
    Ok(())
}

/// Settles a fresh claim, a minute after it, and gives the task before and after.
async fn settled(bed: &Bed, outcome: Outcome) -> taskqueue_core::Result<(Claim, Task)> {
    let claim = bed.running().await?;
    bed.advance(MINUTE).await;
    let now = bed.now().await;
    assert_eq!(bed.settled(&claim.lease, outcome).await?, Settled::Applied);
    let after = bed.get(claim.task.id).await?;
    bed.assert_time(after.updated_at, now);
    Ok((claim, after))
}

pub(crate) async fn complete_makes_it_completed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::done()).await?;
    let changed = Some(after.updated_at);
    let expected =
        Task { status: Status::Completed, completed_at: changed, updated_at: after.updated_at, ..claim.task };
    assert_eq!(after, expected);
    assert_eq!(bed.claim(10).await?, []);
    Ok(())
}

pub(crate) async fn fail_with_attempts_left_makes_it_failed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::retry_after("it broke ✗", HOUR)).await?;
    let expected = Task {
        status: Status::Failed,
        retry_after: Some(after.updated_at + HOUR),
        last_error: Some("it broke ✗".to_owned()),
        updated_at: after.updated_at,
        ..claim.task
    };
    assert_eq!(after, expected);
    assert_eq!(bed.claim(10).await?, [], "it waits for its retry");
    Ok(())
}

pub(crate) async fn a_permanent_failure_makes_it_a_dead_letter(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::permanent("never")).await?;
    let expected = Task {
        status: Status::DeadLetter,
        completed_at: Some(after.updated_at),
        last_error: Some("never".to_owned()),
        updated_at: after.updated_at,
        ..claim.task
    };
    assert_eq!(after, expected);
    Ok(())
}

pub(crate) async fn snooze_puts_it_off_and_gives_the_attempt_back(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::snooze(HOUR)).await?;
    let expected = Task {
        status: Status::Pending,
        attempts: 0,
        scheduled_at: after.updated_at + HOUR,
        updated_at: after.updated_at,
        ..claim.task
    };
    assert_eq!(after, expected);
    assert_eq!(bed.claim(10).await?, []);
    bed.advance(HOUR).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    assert_eq!(bed.claim_one().await?.task.attempts, 1);
    Ok(())
}

pub(crate) async fn snooze_of_no_time_makes_it_ready_at_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::snooze(std::time::Duration::ZERO)).await?;
    let expected = Task {
        status: Status::Pending,
        attempts: 0,
        scheduled_at: after.updated_at,
        updated_at: after.updated_at,
        ..claim.task
    };
    assert_eq!(after, expected);
    assert_eq!(ids(&bed.claim(10).await?), [after.id]);
    Ok(())
}

pub(crate) async fn release_makes_it_ready_and_gives_the_attempt_back(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (claim, after) = settled(&bed, Outcome::Release).await?;
    let expected = Task { status: Status::Pending, attempts: 0, updated_at: after.updated_at, ..claim.task };
    assert_eq!(after, expected, "it keeps its worker, its start and its schedule");
    assert_eq!(ids(&bed.claim(10).await?), [after.id]);
    Ok(())
}

pub(crate) async fn the_last_error_stays_when_a_later_attempt_completes(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("first", SECOND)).await?;
    bed.advance(MINUTE).await;
    bed.promote_due(10).await?;
    let claim = bed.claim_one().await?;
    assert_eq!(claim.task.last_error.as_deref(), Some("first"));
    bed.complete(claim.lease).await?;
    assert_eq!(bed.get(claim.task.id).await?.last_error.as_deref(), Some("first"));
    Ok(())
}

pub(crate) async fn a_batch_is_settled_each_by_its_outcome_and_answered_in_order(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(6)).await?;
    let claims = bed.claim(6).await?;
    bed.cancel(claims[2].task.id).await?;
    let outcomes = [
        Outcome::done(),
        Outcome::retry_after("again", HOUR),
        Outcome::done(),
        Outcome::permanent("never"),
        Outcome::snooze(HOUR),
        Outcome::Release,
    ];
    let batch =
        claims.iter().zip(outcomes).map(|(claim, outcome)| Settlement::new(claim.lease.clone(), outcome));
    use Settled::{Applied, LeaseLost};
    let answers = bed.settle_many(batch.collect()).await?;
    assert_eq!(answers, [Applied, Applied, LeaseLost, Applied, Applied, Applied]);
    use Status::{Cancelled, Completed, DeadLetter, Failed, Pending};
    let expected = [Completed, Failed, Cancelled, DeadLetter, Pending, Pending];
    for (claim, status) in claims.iter().zip(expected) {
        assert_eq!(bed.status(claim.task.id).await?, status);
    }
    Ok(())
}

pub(crate) async fn a_large_batch_of_one_outcome_is_settled_whole(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(1000)).await?;
    let claims = bed.claim(1000).await?;
    let fail = |n, claim: Claim| Settlement::new(claim.lease, Outcome::permanent(format!("error {n}")));
    let expected = ids(&claims);
    let batch = claims.into_iter().enumerate().map(|(n, claim)| fail(n, claim)).collect();
    assert_eq!(bed.settle_many(batch).await?, [Settled::Applied; 1000]);
    for n in [0, 1, 499, 999] {
        assert_eq!(bed.get(expected[n]).await?.last_error, Some(format!("error {n}")));
    }
    Ok(())
}

pub(crate) async fn completions_beside_a_lost_lease_are_applied_and_counted_once(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(5)).await?;
    let claims = bed.claim(5).await?;
    bed.cancel(claims[2].task.id).await?;
    let batch = || claims.iter().map(|claim| Settlement::new(claim.lease.clone(), Outcome::done())).collect();
    use Settled::{Applied, LeaseLost, Repeated};
    assert_eq!(bed.settle_many(batch()).await?, [Applied, Applied, LeaseLost, Applied, Applied]);
    assert_eq!(bed.settle_many(batch()).await?, [Repeated, Repeated, LeaseLost, Repeated, Repeated]);
    assert_eq!(bed.stats().await?.completed, 4);
    Ok(())
}

pub(crate) async fn a_lost_lease_is_not_taken_for_the_one_of_its_task_that_the_batch_comes_with(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let lost = bed.running().await?.lease;
    bed.settle(lost.clone(), Outcome::Release).await?;
    bed.enqueue(task()).await?;
    let claims = bed.claim(2).await?;
    let other = claims.iter().find(|claim| claim.task.id != lost.task_id).expect("both are claimed");
    let batch = [lost.clone(), other.lease.clone()].map(|lease| Settlement::new(lease, Outcome::done()));
    assert_eq!(bed.settle_many(batch.into()).await?, [Settled::LeaseLost, Settled::Applied]);
    assert_eq!(bed.status(lost.task_id).await?, Status::Running);
    Ok(())
}

pub(crate) async fn an_empty_batch_of_settles_is_answered_with_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(bed.settle_many(Vec::new()).await?, []);
    Ok(())
}

pub(crate) async fn a_task_settled_twice_in_one_batch_is_refused_whole(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(2)).await?;
    let claims = bed.claim(2).await?;
    let done = |claim: &Claim| Settlement::new(claim.lease.clone(), Outcome::done());
    let batch = vec![done(&claims[0]), done(&claims[1]), done(&claims[0])];
    assert_kind(bed.settle_many(batch).await, ErrorKind::InvalidInput);
    assert_eq!(bed.stats().await?.running, 2);
    Ok(())
}

pub(crate) async fn a_settle_of_a_task_that_is_gone_is_a_lost_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut lease = bed.running().await?.lease;
    lease.task_id = TaskId::generate();
    assert_eq!(bed.settled(&lease, Outcome::done()).await?, Settled::LeaseLost);
    let error = assert_kind(bed.complete(lease.clone()).await, ErrorKind::LeaseLost);
    assert_eq!(error.task_id(), Some(lease.task_id));
    Ok(())
}

pub(crate) async fn the_time_of_a_settle_decides_nothing_about_other_tasks(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.claim_new(task().priority(Priority::HIGH)).await?;
    let claim = bed.running().await?;
    bed.complete(claim.lease).await?;
    assert_eq!(bed.get(other.task.id).await?, other.task);
    Ok(())
}

pub(crate) async fn a_long_error_is_cut_at_a_character_and_marked(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::permanent("é".repeat(LAST_ERROR_BYTES_MAX))).await?;
    let kept = bed.get(claim.task.id).await?.last_error.expect("the error is kept");
    assert!(kept.len() <= LAST_ERROR_BYTES_MAX && kept.len() > LAST_ERROR_BYTES_MAX - 20, "{}", kept.len());
    assert!(kept.starts_with("éé") && kept.ends_with("(cut)"));
    Ok(())
}

pub(crate) async fn an_error_text_of_any_characters_is_kept(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::permanent("quote ' \" \\ $1 ? 😀\n\tnul \0 end")).await?;
    let kept = bed.get(claim.task.id).await?.last_error;
    assert_eq!(kept.as_deref(), Some("quote ' \" \\ $1 ? 😀\n\tnul \u{fffd} end"));
    Ok(())
}

pub(crate) async fn another_instance_settles_a_claim_of_this_one(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let claim = bed.running().await?;
    other.complete(claim.lease).await?;
    assert_eq!(bed.status(claim.task.id).await?, Status::Completed);
    Ok(())
}
