//! Follow-up tasks: they commit with the completion that carries them, or not at all.

use taskqueue_core::{ErrorKind, NewTask, Outcome, Settled, Settlement, Status};

use crate::bed::{Bed, HOUR, MINUTE, assert_kind, ids, new_ids, of, request_of, task, tasks};
use crate::{Harness, Options, Verdict};

fn done_with(follow_ups: Vec<NewTask>) -> Outcome {
    follow_ups.into_iter().fold(Outcome::done(), Outcome::then)
}

pub(crate) async fn follow_ups_are_enqueued_with_the_completion(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.advance(MINUTE).await;
    let now = bed.now().await;
    let next = of("next").unique_key("k").region("eu").metadata("a", "b").max_retries(9).delay(HOUR);
    let id = next.id;
    bed.settle(lease, done_with(vec![next])).await?;
    let stored = bed.get(id).await?;
    assert_eq!((stored.status, stored.attempts, stored.max_retries), (Status::Pending, 0, 9));
    assert_eq!((stored.unique_key.as_deref(), stored.region.as_deref()), (Some("k"), Some("eu")));
    bed.assert_time(stored.created_at, now);
    assert_eq!(stored.scheduled_at, stored.created_at + HOUR);
    assert_eq!(stored.metadata.get("a").map(String::as_str), Some("b"));
    Ok(())
}

pub(crate) async fn many_follow_ups_are_claimed_in_their_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    let mut next = tasks(100);
    next.reverse();
    let expected = new_ids(&next);
    bed.settle(lease, done_with(next)).await?;
    assert_eq!(ids(&bed.claim(1000).await?), expected);
    Ok(())
}

pub(crate) async fn a_lone_follow_up_goes_behind_what_its_batch_makes_ready(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(4)).await?;
    let claims = bed.claim(4).await?;
    let next = task();
    let mut expected = ids(&claims[..3]);
    expected.push(next.id);
    let outcomes = [Outcome::Release, Outcome::Release, Outcome::Release, done_with(vec![next])];
    let batch = claims.into_iter().zip(outcomes);
    bed.settle_many(batch.map(|(claim, outcome)| Settlement::new(claim.lease, outcome)).collect()).await?;
    assert_eq!(ids(&bed.claim(10).await?), expected);
    Ok(())
}

pub(crate) async fn a_lost_lease_enqueues_no_follow_up(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.cancel(lease.task_id).await?;
    let next = task();
    let id = next.id;
    assert_eq!(bed.settled(&lease, done_with(vec![next])).await?, Settled::LeaseLost);
    assert_kind(bed.get(id).await, ErrorKind::TaskNotFound);
    Ok(())
}

pub(crate) async fn in_a_batch_only_those_of_live_leases_are_enqueued(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(3)).await?;
    let claims = bed.claim(3).await?;
    bed.cancel(claims[1].task.id).await?;
    let next = tasks(3);
    let id = new_ids(&next);
    let batch =
        claims.into_iter().zip(next).map(|(claim, next)| Settlement::new(claim.lease, done_with(vec![next])));
    bed.settle_many(batch.collect()).await?;
    assert_eq!(ids(&bed.claim(10).await?), [id[0], id[2]]);
    assert_kind(bed.get(id[1]).await, ErrorKind::TaskNotFound);
    Ok(())
}

pub(crate) async fn a_repeated_settle_enqueues_them_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    assert_eq!(bed.settled(&lease, done_with(tasks(2))).await?, Settled::Applied);
    assert_eq!(bed.settled(&lease, done_with(tasks(2))).await?, Settled::Repeated);
    assert_eq!(bed.all().await?.len(), 3, "other ids, and still nothing is enqueued again");
    Ok(())
}

pub(crate) async fn a_bad_follow_up_leaves_the_whole_batch_unsettled(harness: &dyn Harness) -> Verdict {
    let bed = Bed::with(harness, Options { payload_bytes_max: 100, ..Options::default() }).await;
    bed.enqueue_many(tasks(2)).await?;
    let claims = bed.claim(2).await?;
    let bad = NewTask::raw("task", format!("\"{}\"", "x".repeat(100)))?;
    let batch = vec![
        Settlement::new(claims[0].lease.clone(), done_with(tasks(1))),
        Settlement::new(claims[1].lease.clone(), done_with(vec![task(), bad])),
    ];
    assert_kind(bed.settle_many(batch).await, ErrorKind::InvalidPayload);
    assert_eq!(bed.stats().await?.running, 2, "both are still running");
    assert_eq!(bed.all().await?.len(), 2, "nothing was enqueued");
    bed.complete(claims[0].lease.clone()).await?;
    Ok(())
}

pub(crate) async fn a_follow_up_whose_id_is_taken_is_passed_over(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    let taken = bed.enqueue(of("other")).await?;
    let before = bed.get(taken).await?;
    let fresh = task();
    let id = fresh.id;
    bed.settle(lease.clone(), done_with(vec![task().id(taken), fresh, task().id(lease.task_id)])).await?;
    assert_eq!(bed.status(lease.task_id).await?, Status::Completed);
    assert_eq!(bed.get(taken).await?, before);
    assert_eq!(ids(&bed.claim(10).await?), [id]);
    Ok(())
}

pub(crate) async fn a_follow_up_whose_key_is_held_is_passed_over(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    let holder = bed.enqueue(of("next").unique_key("k")).await?;
    let batch = vec![of("next").unique_key("k"), of("next").unique_key("l"), of("next").unique_key("l")];
    let fresh = batch[1].id;
    bed.settle(lease.clone(), done_with(batch)).await?;
    assert_eq!(bed.status(lease.task_id).await?, Status::Completed);
    assert_eq!(ids(&bed.dequeue_many(&request_of(&["next"], 10)).await?), [holder, fresh]);
    Ok(())
}

pub(crate) async fn a_task_can_be_followed_by_one_with_its_own_key(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.claim_new(task().unique_key("k")).await?.lease;
    let next = task().unique_key("k");
    let id = next.id;
    bed.settle(lease, done_with(vec![next])).await?;
    assert_eq!(bed.status(id).await?, Status::Pending, "the completion gave the key free");
    Ok(())
}

pub(crate) async fn only_a_completion_has_follow_ups(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for outcome in [Outcome::retry_after("no", HOUR), Outcome::snooze(HOUR), Outcome::permanent("no")] {
        let lease = bed.running().await?.lease;
        let next = task();
        let id = next.id;
        bed.settle(lease, outcome.then(next)).await?;
        assert_kind(bed.get(id).await, ErrorKind::TaskNotFound);
    }
    Ok(())
}

pub(crate) async fn a_chain_runs_to_its_end(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(NewTask::raw("task", "0")?).await?;
    for link in 1..=20 {
        let claim = bed.claim_one().await?;
        assert_eq!(claim.task.payload.as_str(), (link - 1).to_string());
        bed.settle(claim.lease, done_with(vec![NewTask::raw("task", link.to_string())?])).await?;
    }
    assert_eq!((bed.stats().await?.completed, bed.stats().await?.pending), (20, 1));
    Ok(())
}
