//! Run now: what waits for a time is ready at once, and nothing else changes.

use std::sync::atomic::{AtomicUsize, Ordering};

use taskqueue_core::{
    BATCH_MAX, Cancelled, Enqueued, ErrorKind, NewTask, Outcome, Priority, Result, Settled, Status, Task,
    TaskId,
};

use crate::bed::{
    Bed, HOUR, MINUTE, SECOND, WAIT_MAX, assert_kind, at_once, drop_after, ids, new_ids, of, request, task,
    task_type, tasks, wait_until, worker,
};
use crate::{Harness, Verdict};

const WORKERS: usize = 8;

/// `count` tasks that are due in an hour.
fn delayed(count: usize) -> Vec<NewTask> {
    tasks(count).into_iter().map(|task| task.delay(HOUR)).collect()
}

/// A failed task of this priority, whose retry is due in an hour.
async fn failed(bed: &Bed, priority: i32) -> Result<TaskId> {
    let lease = bed.claim_new(task().priority(Priority(priority)).unique_key("k")).await?.lease;
    let id = lease.task_id;
    bed.settle(lease, Outcome::retry_after("no", HOUR)).await?;
    Ok(id)
}

/// Asserts that this task is claimed now, and never again.
async fn assert_runs_once(bed: &Bed, id: TaskId) -> Verdict {
    let claim = bed.claim_one().await?;
    assert_eq!(claim.task.id, id);
    bed.complete(claim.lease).await?;
    bed.advance(100 * HOUR).await;
    assert_eq!((bed.promote_due(10).await?, bed.reclaim_stale(10).await?.total()), (0, 0));
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    Ok(())
}

pub(crate) async fn a_delayed_task_that_is_run_now_runs_at_once_and_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(HOUR).unique_key("k")).await?;
    bed.advance(MINUTE).await;
    let (before, now) = (bed.get(id).await?, bed.now().await);
    assert_eq!(bed.run_now(&[id]).await?, 1);
    let after = bed.get(id).await?;
    bed.assert_time(after.updated_at, now);
    let expected = Task { scheduled_at: after.updated_at, updated_at: after.updated_at, ..before };
    assert_eq!(after, expected, "it was to run later, and is to run now");
    let stats = bed.stats().await?;
    assert_eq!((stats.pending, stats.scheduled), (1, 0));
    bed.assert_time(stats.oldest_pending, now);
    assert_eq!(bed.run_now(&[id]).await?, 0, "it waits no more");
    assert_runs_once(&bed, id).await
}

pub(crate) async fn a_failed_task_that_is_run_now_runs_at_once_and_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = failed(&bed, 5).await?;
    bed.advance(MINUTE).await;
    let (before, now) = (bed.get(id).await?, bed.now().await);
    assert_eq!((before.status, before.attempts), (Status::Failed, 1));
    assert_eq!(bed.run_now(&[id]).await?, 1);
    let after = bed.get(id).await?;
    bed.assert_time(after.updated_at, now);
    let expected =
        Task { status: Status::Pending, retry_after: None, updated_at: after.updated_at, ..before };
    assert_eq!(after, expected, "the attempt, the last error and the time it was scheduled for stay");
    let claim = bed.claim_one().await?;
    assert_eq!((claim.task.id, claim.lease.attempt, claim.lease.number), (id, 2, 2));
    bed.assert_time(claim.ready_at, now);
    bed.release(claim.lease).await?;
    assert_runs_once(&bed, id).await
}

pub(crate) async fn a_task_whose_time_has_come_already_keeps_it(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(MINUTE)).await?;
    bed.advance(HOUR).await;
    let before = bed.get(id).await?;
    assert_eq!(bed.run_now(&[id]).await?, 1);
    assert_eq!(bed.get(id).await?.scheduled_at, before.scheduled_at);
    assert_runs_once(&bed, id).await
}

pub(crate) async fn what_is_run_now_goes_behind_those_that_were_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let failed = failed(&bed, 5).await?;
    let delayed = bed.enqueue(task().delay(HOUR)).await?;
    let ready = bed.enqueue(task()).await?;
    bed.advance(MINUTE).await;
    assert_eq!(bed.run_now(&[delayed, failed]).await?, 2);
    bed.advance(SECOND).await;
    let later = bed.enqueue(task()).await?;
    assert_eq!(ids(&bed.claim(10).await?), [ready, delayed, failed, later]);
    Ok(())
}

pub(crate) async fn tasks_that_are_run_now_in_one_call_keep_the_order_of_its_ids(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = delayed(40);
    let mut wanted = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    wanted.reverse();
    wanted.swap(3, 17);
    assert_eq!(bed.run_now(&wanted).await?, 40);
    assert_eq!(ids(&bed.claim(100).await?), wanted);
    Ok(())
}

pub(crate) async fn run_now_keeps_the_priority(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let urgent = failed(&bed, 20).await?;
    let ready = bed.enqueue(task()).await?;
    assert_eq!(bed.run_now(&[urgent]).await?, 1);
    assert_eq!(ids(&bed.claim(10).await?), [urgent, ready]);
    Ok(())
}

/// Claims may start where the last ones ended; a priority of its own was never among them.
pub(crate) async fn a_task_that_is_run_now_is_claimed_wherever_claims_have_come_to(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let waiting = [0, 5, 7].map(|priority| task().delay(HOUR).priority(Priority(priority)));
    let mut waiting_ids = new_ids(&waiting);
    bed.enqueue_many(waiting.into()).await?;
    bed.enqueue_many(tasks(50)).await?;
    while !bed.claim(5).await?.is_empty() {}
    assert_eq!(bed.run_now(&waiting_ids).await?, 3);
    let mut claimed = Vec::new();
    wait_until(async || {
        claimed.extend(ids(&bed.claim(10).await?));
        Ok((claimed.len() >= 3).then_some(()))
    })
    .await?;
    claimed.sort_unstable();
    waiting_ids.sort_unstable();
    assert_eq!(claimed, waiting_ids);
    Ok(())
}

pub(crate) async fn run_now_passes_over_all_that_does_not_wait(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut all = Vec::new();
    for status in Status::ALL {
        all.push(bed.bring_to(status, of(status.as_str())).await?);
    }
    all.push(TaskId::generate());
    bed.advance(SECOND).await;
    let before = bed.all().await?;
    assert_eq!(bed.run_now(&all).await?, 1);
    let after = bed.all().await?;
    let changed: Vec<&Task> = after.iter().filter(|task| !before.contains(task)).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].task_type.as_str(), changed[0].status), ("failed", Status::Pending));
    assert_eq!(bed.run_now(&all).await?, 0);
    assert_eq!(bed.all().await?, after);
    Ok(())
}

pub(crate) async fn run_now_leaves_a_running_task_its_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    assert_eq!(bed.run_now(&[lease.task_id]).await?, 0);
    bed.complete(lease).await?;
    Ok(())
}

pub(crate) async fn an_id_named_twice_is_run_now_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(HOUR)).await?;
    assert_eq!(bed.run_now(&[id, id]).await?, 1);
    assert_eq!(bed.run_now(&[id]).await?, 0);
    assert_eq!(bed.run_now(&[]).await?, 0);
    assert_runs_once(&bed, id).await
}

pub(crate) async fn a_task_that_is_run_now_holds_its_unique_key(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = failed(&bed, 5).await?;
    bed.run_now(&[id]).await?;
    assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?, [Enqueued::Duplicate(id)]);
    bed.complete(bed.claim_one().await?.lease).await?;
    assert_eq!(bed.enqueue_many(vec![task().unique_key("k")]).await?.len(), 1, "it let go of it");
    assert_eq!(bed.claim(10).await?.len(), 1);
    Ok(())
}

pub(crate) async fn ten_thousand_ids_are_the_most_of_one_run_now(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = delayed(BATCH_MAX);
    let waiting = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let one_more = [waiting.as_slice(), &waiting[..1]].concat();
    assert_kind(bed.run_now(&one_more).await, ErrorKind::InvalidInput);
    assert_eq!(bed.stats().await?.scheduled, BATCH_MAX as u64, "nothing has changed");
    assert_eq!(bed.run_now(&waiting).await?, BATCH_MAX as u64);
    assert_eq!(bed.claim(BATCH_MAX).await?.len(), BATCH_MAX);
    Ok(())
}

pub(crate) async fn a_settle_can_be_repeated_after_its_task_was_run_now(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for outcome in [Outcome::retry_after("no", HOUR), Outcome::snooze(HOUR)] {
        let lease = bed.running().await?.lease;
        bed.settle(lease.clone(), outcome.clone()).await?;
        assert_eq!(bed.run_now(&[lease.task_id]).await?, 1);
        let before = bed.get(lease.task_id).await?;
        assert_eq!(bed.settled(&lease, outcome).await?, Settled::Repeated);
        assert_eq!(bed.get(lease.task_id).await?, before);
        bed.cancel(lease.task_id).await?;
    }
    Ok(())
}

pub(crate) async fn run_now_rouses_those_who_listen(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(HOUR)).await?;
    let mut listener = bed.wake_up().listen();
    bed.run_now(&[id]).await?;
    let roused = tokio::time::timeout(WAIT_MAX, listener.notified()).await;
    assert!(roused.is_ok(), "whoever waits for tasks is roused");
    Ok(())
}

pub(crate) async fn another_instance_claims_what_this_one_runs_now(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let id = bed.enqueue(task().delay(HOUR)).await?;
    assert_eq!(other.dequeue_many(&request(10)).await?, []);
    assert_eq!(bed.run_now(&[id]).await?, 1);
    let claims = wait_until(async || {
        let claims = other.dequeue_many(&request(10)).await?;
        Ok((!claims.is_empty()).then_some(claims))
    });
    assert_eq!(ids(&claims.await?), [id]);
    Ok(())
}

pub(crate) async fn calls_of_run_now_at_once_make_each_task_ready_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = delayed(100);
    let waiting = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let turn = AtomicUsize::new(0);
    let counts = at_once(bed.instances(WORKERS).await, |queue| {
        let mut ids = waiting.clone();
        // Each in another order, in which they meet one another's locks.
        ids.rotate_left(turn.fetch_add(13, Ordering::Relaxed));
        async move { queue.run_now(&ids).await.expect("the call is answered") }
    });
    assert_eq!(counts.await.into_iter().sum::<u64>(), 100);
    assert_claimed_once(&bed, waiting).await
}

/// Asserts that these are ready, and no other, each once.
async fn assert_claimed_once(bed: &Bed, mut expected: Vec<TaskId>) -> Verdict {
    let mut claimed = ids(&bed.claim(1000).await?);
    claimed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(claimed, expected);
    assert_eq!((bed.promote_due(1000).await?, bed.claim(1000).await?), (0, Vec::new()));
    Ok(())
}

pub(crate) async fn run_now_and_promotions_at_once_make_each_task_ready_once(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch: Vec<_> = tasks(100).into_iter().map(|task| task.delay(SECOND)).collect();
    let waiting = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    bed.advance(HOUR).await;
    let counts = at_once(bed.instances(WORKERS).await, |queue| {
        let ids = waiting.clone();
        async move {
            let promoted = queue.promote_due(20).await.expect("the promotion is answered");
            promoted + queue.run_now(&ids).await.expect("the call is answered")
        }
    });
    assert_eq!(counts.await.into_iter().sum::<u64>(), 100);
    assert_claimed_once(&bed, waiting).await
}

pub(crate) async fn of_run_now_and_cancels_at_once_each_cancelled_task_stays_so(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = delayed(40);
    let waiting = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    let turn = AtomicUsize::new(0);
    let counts = at_once(bed.instances(WORKERS).await, |queue| {
        let (ids, turn) = (waiting.clone(), turn.fetch_add(1, Ordering::Relaxed));
        async move {
            if turn % 2 == 0 {
                return queue.run_now(&ids).await.expect("the call is answered");
            }
            for id in ids.into_iter().skip(turn / 2 * 5).take(5) {
                let cancelled = queue.cancel(id).await.expect("the cancel is answered");
                assert_eq!(cancelled, Cancelled::From(Status::Pending));
            }
            0
        }
    });
    let made_ready = counts.await.into_iter().sum::<u64>();
    assert!((20..=40).contains(&made_ready), "{made_ready} of 40, of which 20 were cancelled");
    assert_eq!(bed.stats().await?.cancelled, 20);
    assert_claimed_once(&bed, waiting[20..].to_vec()).await
}

/// Who drops the call does not know what it did, and finds it done once when it is repeated.
pub(crate) async fn a_run_now_that_is_dropped_can_be_repeated(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for polls in 0..6 {
        let id = bed.enqueue(task().delay(HOUR)).await?;
        drop_after(polls, bed.run_now(&[id])).await;
        wait_until(async || {
            bed.run_now(&[id]).await?;
            let claims = bed.claim(10).await?;
            assert!(claims.len() <= 1 && claims.iter().all(|claim| claim.task.id == id));
            Ok((!claims.is_empty()).then_some(()))
        })
        .await?;
        assert_eq!(bed.claim(10).await?, []);
    }
    assert_eq!(bed.stats().await?.running, 6);
    Ok(())
}

/// A retry that somebody runs now has failed all the same: the attempts are used up as ever.
pub(crate) async fn retries_that_are_run_now_use_up_the_attempts(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().max_retries(3)).await?;
    for attempt in 1..=3 {
        let claim = bed.claim_one().await?;
        assert_eq!(claim.lease.attempt, attempt);
        bed.settle(claim.lease, Outcome::retry_after("no", MINUTE)).await?;
        assert_eq!(bed.run_now(&[id]).await?, u64::from(attempt < 3));
    }
    assert_eq!(bed.status(id).await?, Status::DeadLetter);
    Ok(())
}
