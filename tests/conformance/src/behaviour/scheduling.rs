//! Scheduling: a task runs not before its time, by the queue's clock.

use std::time::Duration;

use taskqueue_core::clock::{DURATION_MAX, add};
use taskqueue_core::{ErrorKind, NewTask, Outcome, Status};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, WAIT_MAX, ids, new_ids, task, task_type, worker};
use crate::{Harness, Verdict};

const MICROSECOND: Duration = Duration::from_micros(1);

pub(crate) async fn a_delayed_task_is_pending_and_not_claimed_before_its_time(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(HOUR)).await?;
    bed.advance(HOUR - MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 0);
    assert_eq!(bed.claim(10).await?, []);
    assert_eq!(bed.status(id).await?, Status::Pending);
    bed.advance(MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    assert_eq!(ids(&bed.claim(10).await?), [id]);
    Ok(())
}

pub(crate) async fn a_delay_counts_from_the_queues_clock(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.advance(HOUR).await;
    let now = bed.now().await;
    let id = bed.enqueue(task().delay(MINUTE)).await?;
    let stored = bed.get(id).await?;
    bed.assert_time(stored.created_at, now);
    assert_eq!(stored.scheduled_at, stored.created_at + MINUTE);
    Ok(())
}

pub(crate) async fn a_queue_tells_the_time_that_its_delays_follow(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for _ in 0..2 {
        let told = bed.shared().now().await?;
        bed.assert_time(told, bed.now().await);
        let id = bed.enqueue(task().delay(MINUTE)).await?;
        bed.assert_time(bed.get(id).await?.scheduled_at, told + MINUTE);
        bed.advance(HOUR).await;
    }
    Ok(())
}

pub(crate) async fn a_task_scheduled_in_the_past_keeps_its_time_and_runs_now(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let first = bed.enqueue(task()).await?;
    let at = bed.now().await - HOUR;
    let past = bed.enqueue(task().scheduled_at(at)).await?;
    assert_eq!(bed.get(past).await?.scheduled_at, at);
    assert_eq!(ids(&bed.claim(10).await?), [past, first]);
    Ok(())
}

pub(crate) async fn a_task_scheduled_for_this_very_moment_is_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch = vec![task().scheduled_at(bed.now().await), task().delay(Duration::ZERO)];
    let expected = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    assert_eq!(ids(&bed.claim(10).await?), expected);
    Ok(())
}

pub(crate) async fn a_task_is_due_at_its_time_and_not_a_microsecond_before(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    if !bed.clock_is_manual() {
        return Err(crate::Unmet::NotRun("a clock that runs cannot be stopped at a microsecond"));
    }
    bed.enqueue_many(vec![task().delay(MICROSECOND), task().scheduled_at(bed.now().await + MINUTE)]).await?;
    assert_eq!(bed.claim(10).await?, [], "one microsecond ahead is not ready");
    assert_eq!(bed.promote_due(10).await?, 0);
    bed.advance(MICROSECOND).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    bed.advance(MINUTE - 2 * MICROSECOND).await;
    assert_eq!(bed.promote_due(10).await?, 0);
    bed.advance(MICROSECOND).await;
    assert_eq!(bed.promote_due(10).await?, 1);
    Ok(())
}

pub(crate) async fn times_keep_their_microseconds(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let at = bed.now().await + HOUR + Duration::from_nanos(123_456_789);
    let id = bed.enqueue(task().scheduled_at(at)).await?;
    assert_eq!(bed.get(id).await?.scheduled_at, taskqueue_core::clock::truncate(at));
    Ok(())
}

pub(crate) async fn a_claim_of_many_does_not_promote(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue(task().delay(SECOND)).await?;
    bed.advance(MINUTE).await;
    assert_eq!(bed.claim(10).await?, []);
    assert_eq!(bed.promote_due(10).await?, 1);
    Ok(())
}

pub(crate) async fn a_claim_of_one_promotes_what_is_due(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(SECOND)).await?;
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    bed.advance(MINUTE).await;
    let claim = bed.dequeue(&worker(), &[task_type("task")]).await?.expect("a due task is claimed");
    assert_eq!(claim.task.id, id);
    Ok(())
}

pub(crate) async fn promotion_takes_the_earliest_due_first_up_to_its_limit(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let batch: Vec<NewTask> = [40, 10, 30, 20].map(|seconds| task().delay(seconds * SECOND)).to_vec();
    let id = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.promote_due(2).await?, 2);
    assert_eq!(ids(&bed.claim(10).await?), [id[1], id[3]]);
    assert_eq!(bed.promote_due(10).await?, 2);
    assert_eq!(ids(&bed.claim(10).await?), [id[2], id[0]]);
    assert_eq!(bed.promote_due(10).await?, 0);
    Ok(())
}

pub(crate) async fn promotion_changes_nothing_but_the_state_and_the_time_of_change(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(SECOND)).await?;
    let before = bed.get(id).await?;
    bed.advance(MINUTE).await;
    let now = bed.now().await;
    bed.promote_due(10).await?;
    let mut after = bed.get(id).await?;
    bed.assert_time(after.updated_at, now);
    after.updated_at = before.updated_at;
    assert_eq!(after, before);
    Ok(())
}

pub(crate) async fn delayed_and_failed_tasks_are_promoted_in_one_order(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.running().await?;
    bed.settle(claim.lease, Outcome::retry_after("no", 20 * SECOND)).await?;
    let batch = vec![task().delay(30 * SECOND), task().delay(10 * SECOND)];
    let id = new_ids(&batch);
    bed.enqueue_many(batch).await?;
    bed.advance(HOUR).await;
    assert_eq!(bed.promote_due(10).await?, 3);
    assert_eq!(ids(&bed.claim(10).await?), [id[1], claim.task.id, id[0]]);
    Ok(())
}

pub(crate) async fn promotion_reaches_every_type(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let types = ["a", "b", "c"];
    bed.enqueue_many(types.map(|name| crate::bed::of(name).delay(SECOND)).to_vec()).await?;
    bed.advance(MINUTE).await;
    assert_eq!(bed.promote_due(10).await?, 3);
    assert_eq!(bed.dequeue_many(&crate::bed::request_of(&types, 10)).await?.len(), 3);
    Ok(())
}

pub(crate) async fn a_delay_beyond_the_longest_is_refused_and_the_longest_is_kept(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let error = bed.enqueue(task().delay(DURATION_MAX + SECOND)).await.expect_err("it would come too early");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let id = bed.enqueue(task().delay(DURATION_MAX)).await?;
    let stored = bed.get(id).await?;
    assert_eq!(stored.scheduled_at, add(stored.created_at, DURATION_MAX));
    assert_eq!(bed.promote_due(10).await?, 0);
    Ok(())
}

pub(crate) async fn what_becomes_ready_rouses_those_who_listen(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.enqueue(task().delay(SECOND)).await?;
    let dead = bed.bring_to(Status::DeadLetter, crate::bed::of("dead")).await?;
    let mut listener = bed.wake_up().listen();
    bed.advance(HOUR).await;
    bed.promote_due(10).await?;
    listener_hears(&mut listener, "a promotion").await;
    bed.reclaim_stale(10).await?;
    listener_hears(&mut listener, "a reclaim").await;
    bed.redrive(&taskqueue_core::Redrive::Tasks(vec![dead])).await?;
    listener_hears(&mut listener, "a redrive").await;
    let claim = bed.claim_one().await?;
    bed.release(claim.lease).await?;
    listener_hears(&mut listener, "a release").await;
    assert_ne!(claim.task.id, dead, "of its own type");
    drop(lease);
    Ok(())
}

async fn listener_hears(listener: &mut taskqueue_core::WakeListener, what: &str) {
    let heard = tokio::time::timeout(WAIT_MAX, listener.notified()).await;
    assert!(heard.is_ok(), "a listener hears of {what}");
}
