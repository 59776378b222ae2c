//! Statistics: exact counts by status and type, the mean processing time, the oldest pending task.

use taskqueue_core::{Claim, Cleanup, Priority, QueueStats, Redrive, Result, Status, Timestamp};

use crate::bed::{Bed, HOUR, MINUTE, SECOND, of, request_of, task, task_type, tasks};
use crate::{Harness, Verdict};

pub(crate) async fn an_empty_queue_counts_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    assert_eq!(bed.stats().await?, QueueStats::default());
    Ok(())
}

fn counts(stats: &QueueStats) -> [u64; 6] {
    [stats.pending, stats.running, stats.completed, stats.failed, stats.dead_letter, stats.cancelled]
}

pub(crate) async fn each_status_is_counted(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for (nth, status) in Status::ALL.into_iter().enumerate() {
        for _ in 0..=nth {
            bed.bring_to(status, of(status.as_str())).await?;
            if status == Status::Pending {
                bed.enqueue(task().delay(HOUR)).await?;
            }
        }
    }
    let stats = bed.stats().await?;
    assert_eq!(
        (counts(&stats), stats.scheduled),
        ([2, 2, 3, 4, 5, 6], 1),
        "delayed is pending, and told apart"
    );
    Ok(())
}

pub(crate) async fn unfinished_tasks_are_counted_by_type(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    // Pending comes last: it would be claimed in place of the next one.
    for status in Status::ALL.into_iter().rev() {
        bed.bring_to(status, of("a")).await?;
    }
    bed.enqueue_many(vec![of("b"), of("b").delay(HOUR)]).await?;
    bed.bring_to(Status::Completed, of("c")).await?;
    let by_type = bed.stats().await?.by_type;
    let expected = [(task_type("a"), 3), (task_type("b"), 2)];
    assert_eq!(by_type.into_iter().collect::<Vec<_>>(), expected, "finished types are not named");
    Ok(())
}

pub(crate) async fn dead_letters_are_counted_by_type(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in Status::ALL.into_iter().rev() {
        bed.bring_to(status, of("a")).await?;
    }
    let mut of_b = Vec::new();
    for _ in 0..3 {
        of_b.push(bed.bring_to(Status::DeadLetter, of("b")).await?);
    }
    bed.bring_to(Status::Completed, of("c")).await?;
    let by_type =
        async || bed.stats().await.map(|stats| stats.dead_letter_by_type.into_iter().collect::<Vec<_>>());
    assert_eq!(by_type().await?, [(task_type("a"), 1), (task_type("b"), 3)]);
    bed.redrive(&Redrive::Tasks(of_b[..2].to_vec())).await?;
    assert_eq!(by_type().await?, [(task_type("a"), 1), (task_type("b"), 1)]);
    bed.redrive(&Redrive::Tasks(of_b)).await?;
    assert_eq!(by_type().await?, [(task_type("a"), 1)], "a type without any is not named");
    bed.cleanup(Cleanup::new(std::time::Duration::ZERO, 10)).await?;
    assert_eq!(by_type().await?, []);
    Ok(())
}

pub(crate) async fn the_mean_processing_time_is_from_claim_to_completion(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for seconds in [10, 20, 60] {
        let lease = bed.running().await?.lease;
        bed.advance(seconds * SECOND).await;
        bed.complete(lease).await?;
    }
    bed.claim_new(of("running")).await?;
    bed.bring_to(Status::DeadLetter, of("dead")).await?;
    let mean = bed.stats().await?.avg_processing_time_ms;
    let tolerance = if bed.clock_is_manual() { 0.5 } else { 5_000.0 };
    assert!((mean - 30_000.0).abs() < tolerance, "{mean} ms");
    Ok(())
}

pub(crate) async fn the_oldest_pending_task_is_the_one_that_has_been_ready_longest(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    bed.claim_new(task().scheduled_at(now - HOUR)).await?;
    assert_eq!(bed.stats().await?.oldest_pending, None, "a running task waits for nothing");
    bed.enqueue(of("urgent").priority(Priority::URGENT)).await?;
    bed.assert_time(bed.stats().await?.oldest_pending, now);
    for (minutes, name, priority) in [(2, "old", 5), (3, "old", -7), (1, "old", 5), (4, "other", 9)] {
        let old = of(name).priority(Priority(priority)).scheduled_at(now - minutes * MINUTE);
        bed.enqueue(old).await?;
    }
    assert_eq!(bed.stats().await?.oldest_pending, Some(now - 4 * MINUTE), "whatever its priority and type");
    bed.dequeue_many(&request_of(&["other"], 1)).await?;
    assert_eq!(bed.stats().await?.oldest_pending, Some(now - 3 * MINUTE));
    bed.dequeue_many(&request_of(&["old"], 3)).await?;
    bed.assert_time(bed.stats().await?.oldest_pending, now);
    Ok(())
}

pub(crate) async fn a_task_for_later_is_not_the_oldest_pending_one(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    bed.enqueue(task().scheduled_at(now + HOUR)).await?;
    bed.bring_to(Status::Failed, of("failed")).await?;
    let stats = bed.stats().await?;
    assert_eq!((stats.pending, stats.scheduled, stats.oldest_pending), (1, 1, None), "nothing is ready");
    bed.advance(2 * HOUR).await;
    bed.promote_due(1).await?;
    bed.assert_time(bed.stats().await?.oldest_pending, now + 2 * HOUR);
    bed.promote_due(10).await?;
    let stats = bed.stats().await?;
    assert_eq!((stats.pending, stats.scheduled, stats.failed), (2, 0, 0), "all are ready");
    Ok(())
}

pub(crate) async fn a_redriven_task_waits_from_its_redrive(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(bed.bring_to(Status::DeadLetter, task()).await?);
    }
    bed.advance(100 * HOUR).await;
    let redriven_at = bed.now().await;
    bed.redrive(&Redrive::Tasks(dead)).await?;
    bed.assert_time(bed.stats().await?.oldest_pending, redriven_at);
    bed.advance(MINUTE).await;
    assert_ready_at(&bed, redriven_at).await?;
    bed.assert_time(bed.stats().await?.oldest_pending, redriven_at);
    Ok(())
}

pub(crate) async fn a_promoted_retry_waits_from_its_promotion(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.bring_to(Status::Failed, task()).await?;
    bed.advance(2 * HOUR).await;
    let promoted_at = bed.now().await;
    bed.promote_due(10).await?;
    bed.advance(MINUTE).await;
    bed.assert_time(bed.stats().await?.oldest_pending, promoted_at);
    assert_ready_at(&bed, promoted_at).await?;
    Ok(())
}

pub(crate) async fn a_claim_says_since_when_its_task_was_ready(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let now = bed.now().await;
    bed.enqueue(task().scheduled_at(now - HOUR)).await?;
    assert_ready_at(&bed, now - HOUR).await?;
    bed.enqueue(task()).await?;
    bed.advance(MINUTE).await;
    let claim = assert_ready_at(&bed, now).await?;
    let released_at = bed.now().await;
    bed.release(claim.lease).await?;
    bed.advance(MINUTE).await;
    assert_ready_at(&bed, released_at).await?;
    bed.advance(HOUR).await;
    let reclaimed_at = bed.now().await;
    bed.reclaim_stale(10).await?;
    bed.advance(MINUTE).await;
    assert_ready_at(&bed, reclaimed_at).await?;
    Ok(())
}

/// Claims one task, which became ready then.
async fn assert_ready_at(bed: &Bed, expected: Timestamp) -> Result<Claim> {
    let claim = bed.claim_one().await?;
    bed.assert_time(claim.ready_at, expected);
    Ok(claim)
}

pub(crate) async fn counts_follow_every_change(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.enqueue_many(tasks(5)).await?;
    assert_eq!(counts(&bed.stats().await?), [5, 0, 0, 0, 0, 0]);
    let mut claims = bed.claim(5).await?;
    assert_eq!(counts(&bed.stats().await?), [0, 5, 0, 0, 0, 0]);
    bed.complete(claims.remove(0).lease).await?;
    bed.release(claims.remove(0).lease).await?;
    bed.settle(claims.remove(0).lease, taskqueue_core::Outcome::retry_after("no", MINUTE)).await?;
    bed.settle(claims.remove(0).lease, taskqueue_core::Outcome::permanent("no")).await?;
    assert_eq!(counts(&bed.stats().await?), [1, 1, 1, 1, 1, 0]);
    bed.advance(HOUR).await;
    bed.promote_due(10).await?;
    assert_eq!(counts(&bed.stats().await?), [2, 1, 1, 0, 1, 0]);
    bed.reclaim_stale(10).await?;
    bed.redrive(&Redrive::Any { task_type: None, limit: 10 }).await?;
    assert_eq!(counts(&bed.stats().await?), [4, 0, 1, 0, 0, 0]);
    bed.cancel(claims[0].task.id).await?;
    assert_eq!(counts(&bed.stats().await?), [3, 0, 1, 0, 0, 1]);
    bed.advance(HOUR).await;
    bed.cleanup(Cleanup::new(SECOND, 10)).await?;
    assert_eq!(counts(&bed.stats().await?), [3, 0, 0, 0, 0, 0]);
    Ok(())
}

pub(crate) async fn a_refused_or_repeated_call_changes_no_count(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let claim = bed.claim_new(task().unique_key("k")).await?;
    bed.enqueue_many(vec![task().id(claim.task.id), task().unique_key("k")]).await?;
    bed.complete(claim.lease.clone()).await?;
    bed.complete(claim.lease).await?;
    bed.cancel(claim.task.id).await?;
    assert_eq!(counts(&bed.stats().await?), [0, 0, 1, 0, 0, 0]);
    Ok(())
}
