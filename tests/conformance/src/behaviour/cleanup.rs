//! Cleanup: finished tasks go when they are old enough, in any order; nothing else ever goes.

use std::collections::BTreeSet;
use std::time::Duration;

use taskqueue_core::{Cleanup, Enqueued, ErrorKind, FinishedStatuses, Redrive, Status};

use crate::bed::{Bed, HOUR, MINUTE, assert_kind, of, task};
use crate::{Harness, Verdict};

fn older_than(older_than: Duration) -> Cleanup {
    Cleanup::new(older_than, 100)
}

pub(crate) async fn every_finished_status_is_removed_and_no_other(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in Status::ALL {
        bed.bring_to(status, of(status.as_str())).await?;
    }
    bed.advance(100 * HOUR).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 3);
    let mut left: Vec<Status> = bed.all().await?.iter().map(|task| task.status).collect();
    left.sort();
    assert_eq!(left, [Status::Pending, Status::Running, Status::Failed]);
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 0);
    Ok(())
}

pub(crate) async fn only_tasks_of_the_statuses_asked_for_are_removed(harness: &dyn Harness) -> Verdict {
    let all = [Status::Completed, Status::DeadLetter, Status::Cancelled];
    for statuses in
        all.map(|status| FinishedStatuses::of(status).expect("it is finished")).into_iter().chain([
            FinishedStatuses::ALL_BUT_DEAD_LETTER,
            FinishedStatuses::COMPLETED.with(FinishedStatuses::DEAD_LETTER),
        ])
    {
        let bed = Bed::new(harness).await;
        for status in Status::ALL.into_iter().rev().chain(Status::ALL.into_iter().rev()) {
            // Of each a type of its own: a pending task would be claimed in place of the next one.
            bed.bring_to(status, of(status.as_str())).await?;
        }
        bed.advance(100 * HOUR).await;
        let removed = all.iter().filter(|status| statuses.contains(**status)).count() as u64 * 2;
        assert_eq!(bed.cleanup(older_than(HOUR).only(statuses)).await?, removed, "{statuses:?}");
        let left: BTreeSet<Status> = bed.all().await?.iter().map(|task| task.status).collect();
        let kept = Status::ALL.into_iter().filter(|status| !statuses.contains(*status)).collect();
        assert_eq!(left, kept, "{statuses:?}");
        assert_eq!(bed.cleanup(older_than(HOUR).only(statuses)).await?, 0, "{statuses:?}");
    }
    Ok(())
}

pub(crate) async fn dead_letters_that_stay_do_not_keep_others_from_being_removed(
    harness: &dyn Harness,
) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut dead = Vec::new();
    for _ in 0..5 {
        dead.push(bed.bring_to(Status::DeadLetter, task()).await?);
    }
    for _ in 0..3 {
        bed.bring_to(Status::Completed, task()).await?;
    }
    bed.advance(HOUR).await;
    let one = Cleanup::new(MINUTE, 1).only(FinishedStatuses::ALL_BUT_DEAD_LETTER);
    for removed in [1, 1, 1, 0] {
        assert_eq!(bed.cleanup(one).await?, removed);
    }
    assert_eq!(bed.stats().await?.dead_letter, 5);
    assert_eq!(bed.redrive(&Redrive::Tasks(dead)).await?, 5, "they are as they were");
    Ok(())
}

pub(crate) async fn the_age_counts_from_the_end_not_from_the_enqueue(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.advance(10 * HOUR).await;
    bed.complete(lease.clone()).await?;
    bed.advance(HOUR - MINUTE).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 0);
    bed.advance(MINUTE).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 1);
    assert_kind(bed.get(lease.task_id).await, ErrorKind::TaskNotFound);
    Ok(())
}

pub(crate) async fn a_task_of_exactly_the_age_is_removed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    if !bed.clock_is_manual() {
        return Err(crate::Unmet::NotRun("a clock that runs cannot be stopped at a microsecond"));
    }
    bed.bring_to(Status::Completed, task()).await?;
    bed.advance(HOUR - Duration::from_micros(1)).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 0);
    bed.advance(Duration::from_micros(1)).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 1);
    Ok(())
}

pub(crate) async fn an_age_of_nothing_removes_all_that_is_finished(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.bring_to(Status::Completed, task()).await?;
    assert_eq!(bed.cleanup(older_than(Duration::ZERO)).await?, 1);
    Ok(())
}

pub(crate) async fn an_age_beyond_all_bounds_removes_nothing(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.bring_to(Status::Completed, task()).await?;
    assert_eq!(bed.cleanup(older_than(Duration::MAX)).await?, 0);
    Ok(())
}

pub(crate) async fn no_more_go_than_the_limit_and_none_that_is_too_young(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut old = Vec::new();
    for status in [Status::Cancelled, Status::Completed, Status::DeadLetter, Status::Completed] {
        old.push(bed.bring_to(status, task()).await?);
    }
    bed.advance(HOUR).await;
    let mut kept = vec![bed.bring_to(Status::Completed, task()).await?];
    kept.push(bed.bring_to(Status::Running, task()).await?);
    let limited = Cleanup::new(MINUTE, 1);
    for left in (0..old.len()).rev() {
        assert_eq!(bed.cleanup(limited).await?, 1);
        let ids: Vec<_> = bed.all().await?.iter().map(|task| task.id).collect();
        assert_eq!(ids.iter().filter(|id| old.contains(id)).count(), left);
        assert!(kept.iter().all(|id| ids.contains(id)));
    }
    assert_eq!(bed.cleanup(limited).await?, 0);
    Ok(())
}

pub(crate) async fn a_task_that_was_redriven_is_not_removed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(Status::DeadLetter, task()).await?;
    bed.redrive(&Redrive::Tasks(vec![id])).await?;
    bed.advance(100 * HOUR).await;
    assert_eq!(bed.cleanup(older_than(HOUR)).await?, 0);
    assert_eq!(bed.status(id).await?, Status::Pending);
    Ok(())
}

pub(crate) async fn the_id_of_a_removed_task_is_free_again(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(Status::Completed, task()).await?;
    assert_eq!(bed.enqueue_many(vec![task().id(id)]).await?, [Enqueued::Repeated(id)]);
    bed.cleanup(older_than(Duration::ZERO)).await?;
    assert_eq!(bed.enqueue_many(vec![task().id(id)]).await?, [Enqueued::Created(id)]);
    assert_eq!(bed.get(id).await?.attempts, 0);
    Ok(())
}

pub(crate) async fn a_settle_repeated_after_the_cleanup_is_a_lost_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.complete(lease.clone()).await?;
    bed.cleanup(older_than(Duration::ZERO)).await?;
    assert_kind(bed.complete(lease).await, ErrorKind::LeaseLost);
    Ok(())
}
