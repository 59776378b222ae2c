//! Drop and panic safety: a call whose future is dropped happened or did not, and the queue goes on; so it does
//! when a caller's code panics inside it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use taskqueue_core::{Enqueued, Outcome, RetryPolicy, Settled, Settlement, Status, TaskId};

use crate::bed::{Bed, HOUR, WAIT_MAX, drop_after, new_ids, request, task, tasks, wait_until};
use crate::{Harness, Options, Unmet, Verdict};

/// How often a future is polled before it is dropped: from never to longer than any call of a backend takes.
const POLLS: std::ops::Range<usize> = 0..12;

pub(crate) async fn an_enqueue_that_is_dropped_can_be_repeated(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for polls in POLLS {
        let batch = tasks(3);
        drop_after(polls, bed.enqueue_many(batch.clone())).await;
        let answers = bed.enqueue_many(batch.clone()).await?;
        let created = answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).count();
        assert!(created == 0 || created == 3, "the dropped call happened whole or not at all: {answers:?}");
        let claimed: Vec<TaskId> = crate::bed::ids(&bed.claim(10).await?);
        assert_eq!(claimed, new_ids(&batch));
    }
    Ok(())
}

pub(crate) async fn a_settle_that_is_dropped_can_be_repeated(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for polls in POLLS {
        let lease = bed.running().await?.lease;
        let next = task().delay(HOUR);
        let id = next.id;
        let done = vec![Settlement::new(lease.clone(), Outcome::done().then(next))];
        drop_after(polls, bed.settle_many(done.clone())).await;
        let answer = bed.settle_many(done).await?[0];
        assert!(matches!(answer, Settled::Applied | Settled::Repeated), "{answer:?}");
        assert_eq!(
            (bed.status(lease.task_id).await?, bed.status(id).await?),
            (Status::Completed, Status::Pending)
        );
    }
    assert_eq!(bed.all().await?.len(), 2 * POLLS.len());
    Ok(())
}

pub(crate) async fn a_claim_that_is_dropped_loses_no_task(harness: &dyn Harness) -> Verdict {
    let bed = Bed::with(harness, Options { max_reclaims: 100, ..Options::default() }).await;
    let batch: Vec<_> = tasks(30).into_iter().map(|task| task.max_retries(1000)).collect();
    let mut left: HashSet<TaskId> = new_ids(&batch).into_iter().collect();
    bed.enqueue_many(batch).await?;
    for polls in POLLS {
        drop_after(polls, bed.dequeue_many(&request(5))).await;
    }
    wait_until(async || {
        bed.advance(HOUR).await;
        bed.reclaim_stale(100).await?;
        for claim in bed.claim(100).await? {
            left.remove(&claim.task.id);
            bed.complete(claim.lease).await?;
        }
        Ok((bed.stats().await?.completed == 30).then_some(()))
    })
    .await?;
    assert!(left.is_empty(), "each was handed out after all");
    Ok(())
}

pub(crate) async fn calls_that_are_dropped_leave_no_transaction_open(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(50)).await?;
    for polls in POLLS {
        let claim = bed.claim_one().await?;
        drop_after(polls, bed.cancel(claim.task.id)).await;
        drop_after(polls, bed.heartbeat(&claim.lease)).await;
        drop_after(polls, bed.stats()).await;
        drop_after(polls, bed.all()).await;
        drop_after(polls, bed.promote_due(10)).await;
        drop_after(polls, bed.reclaim_stale(10)).await;
        drop_after(polls, bed.cleanup(taskqueue_core::Cleanup::new(HOUR, 10))).await;
        drop_after(polls, bed.pause(&crate::bed::task_type("other"))).await;
        bed.enqueue(task()).await?;
        assert_eq!(bed.cancel(claim.task.id).await.map(|_| ())?, ());
        assert_eq!(bed.status(claim.task.id).await?, Status::Cancelled);
    }
    for other in bed.instances(2).await {
        assert_eq!(other.stats().await?.pending, 50, "each round claimed one and enqueued one");
    }
    Ok(())
}

pub(crate) async fn many_callers_that_give_up_do_not_starve_the_next(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for polls in 0..100 {
        drop_after(polls % 5, bed.enqueue_many(tasks(1))).await;
        drop_after(polls % 5, bed.dequeue_many(&request(1))).await;
    }
    let id = bed.enqueue(task()).await?;
    let limited = tokio::time::timeout(WAIT_MAX, bed.get(id)).await;
    assert_eq!(limited.expect("the queue answers within the limit")?.id, id);
    Ok(())
}

/// As where a branch of a `select!` awaits a second call while the first is kept.
pub(crate) async fn a_call_that_is_polled_no_further_keeps_nobody_waiting(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for polls in POLLS {
        let mut kept = pin!(bed.enqueue_many(tasks(1)));
        let done = poll_times(polls, kept.as_mut()).await;
        let others = async {
            bed.enqueue(task()).await?;
            let claim = bed.claim_one().await?;
            bed.complete(claim.lease).await
        };
        let limited = tokio::time::timeout(WAIT_MAX, others).await;
        limited.expect("the queue answers within the limit")?;
        if !done {
            kept.await?;
        }
    }
    Ok(())
}

/// Polls so many times at most. Whether it has ended.
async fn poll_times<F: Future>(polls: usize, mut future: Pin<&mut F>) -> bool {
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

pub(crate) async fn a_policy_that_panics_leaves_the_task_running_and_the_queue_usable(
    harness: &dyn Harness,
) -> Verdict {
    let retry = RetryPolicy::custom(|_| panic!("a caller's policy panics, as this behaviour wants it to"));
    let bed = Bed::with(harness, Options { retry, ..Options::default() }).await;
    bed.enqueue_many(tasks(2)).await?;
    let claims = bed.claim(2).await?;
    let batch = vec![
        Settlement::new(claims[0].lease.clone(), Outcome::done()),
        Settlement::new(claims[1].lease.clone(), Outcome::fail("no")),
    ];
    let queue = bed.shared();
    let failed = tokio::spawn(async move { queue.settle_many(batch).await }).await;
    if !failed.is_err_and(|error| error.is_panic()) {
        return Err(Unmet::Failed("the panic of a caller's policy is not swallowed".to_owned()));
    }
    assert_eq!(bed.stats().await?.running, 2, "nothing of the batch was applied");
    bed.heartbeat(&claims[1].lease).await?;
    bed.complete(claims[0].lease.clone()).await?;
    bed.settle(claims[1].lease.clone(), Outcome::permanent("no")).await?;
    bed.enqueue(task()).await?;
    bed.claim_one().await?;
    Ok(())
}
