//! Exclusivity: whatever happens at the same moment, each task has one live lease and each change happens once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskqueue_core::{
    Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Outcome, Queue, Redrive, Settled, Settlement, Status,
    TaskId,
};

use crate::bed::{Bed, HOUR, SECOND, at_once, ids, new_ids, request, task, task_type, tasks, worker};
use crate::{Harness, Verdict};

const WORKERS: usize = 8;

/// Claims until nothing is left.
async fn claim_all(queue: Arc<dyn Queue>, limit: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    loop {
        let more = queue.dequeue_many(&request(limit)).await.expect("the claim is answered");
        if more.is_empty() {
            return claims;
        }
        claims.extend(more);
    }
}

/// Asserts that these are the expected ids, each once.
#[track_caller]
fn assert_each_once(claimed: Vec<TaskId>, expected: &[TaskId]) {
    assert_eq!(claimed.len(), expected.len(), "each task is claimed once");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), expected.iter().copied().collect());
}

pub(crate) async fn claims_of_one_at_once_never_share_a_task(harness: &dyn Harness) -> Verdict {
    claims_never_share(harness, 1, 200).await
}

pub(crate) async fn claims_of_many_at_once_never_share_a_task(harness: &dyn Harness) -> Verdict {
    claims_never_share(harness, 7, 500).await
}

async fn claims_never_share(harness: &dyn Harness, limit: usize, count: usize) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = tasks(count);
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let claims = at_once(bed.instances(WORKERS).await, |queue| claim_all(queue, limit)).await.concat();
    let left = claim_all(bed.shared(), limit).await;
    let claims = [claims, left].concat();
    assert_each_once(ids(&claims), &expected);
    let tokens: HashSet<i64> = claims.iter().map(|claim| claim.lease.token.get()).collect();
    assert!(!tokens.contains(&0), "no lease has the token that means none");
    assert!(claims.iter().all(|claim| claim.lease.number == 1 && claim.task.attempts == 1));
    Ok(())
}

/// An extra claim may bring nothing; whoever makes it makes a usual one beside it.
pub(crate) async fn extra_claims_share_no_task_and_leave_none_behind(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = tasks(400);
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let claims = at_once(bed.instances(WORKERS).await, |queue| async move {
        let mut claims = Vec::new();
        for _ in 0..20 {
            let [usual, extra] = [request(3), request(3).extra()];
            let (usual, extra) = tokio::join!(queue.dequeue_many(&usual), queue.dequeue_many(&extra));
            let extra = extra.expect("the extra claim is answered");
            assert!(extra.len() <= 3, "{} of 3", extra.len());
            claims.extend(usual.expect("the claim is answered"));
            claims.extend(extra);
        }
        claims
    });
    let claims = claims.await.concat();
    let left = claim_all(bed.shared(), 100).await;
    assert_each_once(ids(&[claims, left].concat()), &expected);
    Ok(())
}

pub(crate) async fn claims_over_several_types_at_once_never_share_a_task(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch: Vec<_> = (0..300).map(|n| crate::bed::of(["a", "b", "c"][n % 3])).collect();
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let claims = at_once(bed.instances(WORKERS).await, |queue| async move {
        let mut claims = Vec::new();
        let request = crate::bed::request_of(&["c", "a", "b"], 5);
        while let more @ [_, ..] =
            queue.dequeue_many(&request).await.expect("the claim is answered").as_slice()
        {
            claims.extend(more.to_vec());
        }
        claims
    })
    .await
    .concat();
    let left = bed.dequeue_many(&crate::bed::request_of(&["a", "b", "c"], 1000)).await?;
    assert_each_once([ids(&claims), ids(&left)].concat(), &expected);
    Ok(())
}

pub(crate) async fn enqueue_claim_and_settle_at_once_lose_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let settled = at_once(bed.instances(WORKERS).await, |queue| async move {
        let mut applied = 0;
        for _ in 0..5 {
            queue.enqueue_many(tasks(10)).await.expect("the enqueue is answered");
            let claims = queue.dequeue_many(&request(10)).await.expect("the claim is answered");
            let done =
                claims.into_iter().map(|claim| Settlement::new(claim.lease, Outcome::done())).collect();
            let answers = queue.settle_many(done).await.expect("the settle is answered");
            assert!(answers.iter().all(|answer| *answer == Settled::Applied));
            applied += answers.len();
        }
        applied
    })
    .await;
    let left = bed.claim(1000).await?.len();
    assert_eq!(settled.into_iter().sum::<usize>() + left, WORKERS * 50);
    assert_eq!(bed.stats().await?.completed as usize + left, WORKERS * 50);
    Ok(())
}

pub(crate) async fn one_settle_of_many_at_once_is_applied(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    let answers = at_once(bed.instances(WORKERS).await, |queue| {
        let done = Settlement::new(lease.clone(), Outcome::done().then(task()));
        async move { queue.settle_many(vec![done]).await.expect("the settle is answered")[0] }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Settled::Applied).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Settled::Repeated).count(), WORKERS - 1);
    assert_eq!(bed.all().await?.len(), 2, "the follow-up is enqueued once");
    Ok(())
}

pub(crate) async fn of_different_settles_at_once_one_wins(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..10 {
        let claim = bed.running().await?;
        let [queue, other] = <[_; 2]>::try_from(bed.instances(2).await).unwrap_or_else(|_| unreachable!());
        let complete = vec![Settlement::new(claim.lease.clone(), Outcome::done())];
        let fail = vec![Settlement::new(claim.lease.clone(), Outcome::permanent("no"))];
        let (complete, fail) = tokio::join!(queue.settle_many(complete), other.settle_many(fail));
        let expected = match bed.status(claim.task.id).await? {
            Status::Completed => [Settled::Applied, Settled::LeaseLost],
            Status::DeadLetter => [Settled::LeaseLost, Settled::Applied],
            other => panic!("the task is {other}"),
        };
        assert_eq!([complete?[0], fail?[0]], expected);
    }
    Ok(())
}

pub(crate) async fn of_a_cancel_and_a_completion_at_once_one_wins(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..20 {
        let claim = bed.running().await?;
        let id = claim.task.id;
        let [queue, other] = <[_; 2]>::try_from(bed.instances(2).await).unwrap_or_else(|_| unreachable!());
        let complete = vec![Settlement::new(claim.lease, Outcome::done())];
        let (complete, cancel) = tokio::join!(queue.settle_many(complete), other.cancel(id));
        let expected = match bed.status(id).await? {
            Status::Completed => (Settled::Applied, Cancelled::AlreadyFinished(Status::Completed)),
            Status::Cancelled => (Settled::LeaseLost, Cancelled::From(Status::Running)),
            other => panic!("the task is {other}"),
        };
        assert_eq!((complete?[0], cancel?), expected);
    }
    Ok(())
}

pub(crate) async fn one_enqueue_of_an_id_at_once_creates_it(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = tasks(5);
    let answers = at_once(bed.instances(WORKERS).await, |queue| {
        let batch = batch.clone();
        async move { queue.enqueue_many(batch).await.expect("the enqueue is answered") }
    })
    .await
    .concat();
    for id in new_ids(&batch) {
        assert_eq!(answers.iter().filter(|answer| **answer == Enqueued::Created(id)).count(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == Enqueued::Repeated(id)).count(), WORKERS - 1);
    }
    assert_eq!(bed.all().await?.len(), 5);
    Ok(())
}

pub(crate) async fn one_enqueue_of_a_unique_key_at_once_takes_it(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let answers = at_once(bed.instances(WORKERS).await, |queue| async move {
        queue.enqueue_many(vec![task().unique_key("k")]).await.expect("the enqueue is answered")[0]
    })
    .await;
    let holder = bed.all().await?;
    assert_eq!(holder.len(), 1);
    let id = holder[0].id;
    assert_eq!(answers.iter().filter(|answer| **answer == Enqueued::Created(id)).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Enqueued::Duplicate(id)).count(), WORKERS - 1);
    Ok(())
}

pub(crate) async fn reclaims_at_once_take_each_task_back_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(100)).await?;
    bed.claim(100).await?;
    bed.advance(HOUR).await;
    let reclaimed = at_once(bed.instances(WORKERS).await, |queue| async move {
        queue.reclaim_stale(1000).await.expect("the reclaim is answered").released
    })
    .await;
    let rest = bed.reclaim_stale(1000).await?.released;
    assert_eq!(reclaimed.into_iter().sum::<u64>() + rest, 100);
    assert!(bed.all().await?.iter().all(|task| task.reclaims == 1));
    Ok(())
}

pub(crate) async fn promotions_at_once_promote_each_task_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(100).into_iter().map(|task| task.delay(SECOND)).collect()).await?;
    bed.advance(HOUR).await;
    let promoted = at_once(bed.instances(WORKERS).await, |queue| async move {
        queue.promote_due(1000).await.expect("the promotion is answered")
    })
    .await;
    let rest = bed.promote_due(1000).await?;
    assert_eq!(promoted.into_iter().sum::<u64>() + rest, 100);
    assert_eq!(bed.claim(1000).await?.len(), 100);
    Ok(())
}

pub(crate) async fn redrives_and_cleanups_at_once_take_each_dead_letter_once(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(60)).await?;
    let dead = |claim: Claim| Settlement::new(claim.lease, Outcome::permanent("no"));
    bed.settle_many(bed.claim(60).await?.into_iter().map(dead).collect()).await?;
    let counts = at_once(bed.instances(WORKERS).await, |queue| async move {
        let redriven = queue.redrive(&Redrive::Any { task_type: None, limit: 5 }).await;
        let cleanup = Cleanup::new(std::time::Duration::ZERO, 2);
        let removed = queue.cleanup(cleanup).await;
        (redriven.expect("the redrive is answered"), removed.expect("the cleanup is answered"))
    })
    .await;
    let stats = bed.stats().await?;
    assert_eq!(counts.iter().map(|(redriven, _)| redriven).sum::<u64>(), stats.pending);
    assert_eq!(
        60 - counts.iter().map(|(_, removed)| removed).sum::<u64>(),
        stats.pending + stats.dead_letter
    );
    Ok(())
}

pub(crate) async fn a_heartbeat_and_a_reclaim_at_once_agree(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..10 {
        let claim = bed.running().await?;
        bed.advance(HOUR).await;
        let [queue, other] = <[_; 2]>::try_from(bed.instances(2).await).unwrap_or_else(|_| unreachable!());
        let (beat, reclaimed) = tokio::join!(queue.heartbeat(&claim.lease), other.reclaim_stale(10));
        let kept = reclaimed?.total() == 0;
        assert!(beat.is_ok() || !kept, "a lease that nobody took back is extended");
        assert_eq!(bed.heartbeat(&claim.lease).await.is_ok(), kept, "the lease is live or lost, not both");
        bed.cancel(claim.task.id).await?;
    }
    Ok(())
}

pub(crate) async fn a_claim_by_another_worker_sees_no_running_task(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.running().await?;
    for other in bed.instances(3).await {
        let request = ClaimRequest::new(taskqueue_core::WorkerId::new("other")?, [task_type("task")], 10);
        assert_eq!(other.dequeue_many(&request).await?, []);
        assert_eq!(other.dequeue(&worker(), &[task_type("task")]).await?, None);
    }
    Ok(())
}

/// Backends may join small calls into one transaction: nobody must get another's answer, or fail for what another sent.
pub(crate) async fn enqueues_at_once_each_get_their_own_answer(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let (repeated, holder) = (task(), task().unique_key("held"));
    let (repeated_id, holder_id) = (repeated.id, holder.id);
    bed.enqueue_many(vec![repeated, holder]).await?;
    let caller = AtomicUsize::new(0);
    let calls = at_once(vec![bed.shared(); 60], |queue| {
        let batch = match caller.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => tasks(3),
            1 => vec![task(), task().id(repeated_id)],
            2 => vec![task().unique_key("held"), task()],
            _ => vec![task().delay(HOUR)],
        };
        async move { (new_ids(&batch), queue.enqueue_many(batch).await.expect("every call is answered")) }
    });
    for (ids, answers) in calls.await {
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Enqueued::Created(created) => assert_eq!((created, bed.get(id).await?.id), (id, id)),
                Enqueued::Repeated(repeated) => assert_eq!((id, repeated), (repeated_id, repeated_id)),
                Enqueued::Duplicate(existing) => assert_eq!(existing, holder_id),
            }
        }
    }
    let stats = bed.stats().await?;
    assert_eq!(stats.pending, 2 + 15 * (3 + 1 + 1 + 1));
    Ok(())
}
