//! Cancel: each unfinished status ends as cancelled; a finished one stays what it is.

use std::time::Duration;

use taskqueue_core::{Cancelled, ErrorKind, Status, Task, TaskId};

use crate::bed::{Bed, HOUR, MINUTE, WAIT_MAX, assert_kind, task, task_type, worker};
use crate::{Harness, Verdict};

/// Cancels a task of this status and checks every field.
async fn cancelled_from(harness: &dyn Harness, status: Status) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.bring_to(status, task().unique_key("k")).await?;
    let before = bed.get(id).await?;
    bed.advance(MINUTE).await;
    let now = bed.now().await;
    assert_eq!(bed.cancel(id).await?, Cancelled::From(status));
    let after = bed.get(id).await?;
    bed.assert_time(after.completed_at, now);
    let expected = Task {
        status: Status::Cancelled,
        completed_at: after.completed_at,
        updated_at: after.completed_at.expect("it is set"),
        retry_after: None,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(bed.cancel(id).await?, Cancelled::AlreadyFinished(Status::Cancelled));
    assert_eq!(bed.get(id).await?, after, "a second cancel changes nothing");
    assert_never_runs(&bed).await?;
    Ok(())
}

async fn assert_never_runs(bed: &Bed) -> taskqueue_core::Result<()> {
    bed.advance(100 * HOUR).await;
    assert_eq!((bed.promote_due(10).await?, bed.reclaim_stale(10).await?.total()), (0, 0));
    assert_eq!(bed.dequeue(&worker(), &[task_type("task")]).await?, None);
    Ok(())
}

pub(crate) async fn a_pending_task_is_cancelled(harness: &dyn Harness) -> Verdict {
    cancelled_from(harness, Status::Pending).await
}

pub(crate) async fn a_running_task_is_cancelled(harness: &dyn Harness) -> Verdict {
    cancelled_from(harness, Status::Running).await
}

pub(crate) async fn a_failed_task_is_cancelled(harness: &dyn Harness) -> Verdict {
    cancelled_from(harness, Status::Failed).await
}

pub(crate) async fn a_delayed_task_is_cancelled(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task().delay(HOUR)).await?;
    let before = bed.get(id).await?;
    assert_eq!(bed.cancel(id).await?, Cancelled::From(Status::Pending));
    let after = bed.get(id).await?;
    assert_eq!((after.status, after.scheduled_at), (Status::Cancelled, before.scheduled_at));
    assert!(after.completed_at.is_some());
    assert_never_runs(&bed).await?;
    Ok(())
}

pub(crate) async fn a_finished_task_stays_what_it_is(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    for status in [Status::Completed, Status::DeadLetter, Status::Cancelled] {
        let id = bed.bring_to(status, task()).await?;
        let before = bed.get(id).await?;
        bed.advance(MINUTE).await;
        assert_eq!(bed.cancel(id).await?, Cancelled::AlreadyFinished(status));
        assert_eq!(bed.get(id).await?, before);
    }
    Ok(())
}

pub(crate) async fn cancel_of_an_unknown_id_is_task_not_found(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = TaskId::generate();
    let error = assert_kind(bed.cancel(id).await, ErrorKind::TaskNotFound);
    assert_eq!(error.task_id(), Some(id));
    Ok(())
}

pub(crate) async fn a_cancelled_run_loses_its_lease(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    bed.cancel(lease.task_id).await?;
    assert_kind(bed.heartbeat(&lease).await, ErrorKind::LeaseLost);
    assert_kind(bed.complete(lease).await, ErrorKind::LeaseLost);
    Ok(())
}

pub(crate) async fn a_cancel_of_a_running_task_is_told_to_those_who_listen(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let mut listener = bed.wake_up().listen_cancelled();
    let running = bed.running().await?.lease.task_id;
    let pending = bed.enqueue(task()).await?;
    for id in [pending, running, running] {
        bed.cancel(id).await?;
    }
    let heard = tokio::time::timeout(WAIT_MAX, listener.cancelled()).await;
    assert_eq!(heard, Ok(running), "nobody runs a task that is pending");
    let heard = tokio::time::timeout(Duration::ZERO, listener.cancelled()).await;
    assert!(heard.is_err(), "a second cancel changes nothing");
    Ok(())
}

pub(crate) async fn another_instance_cancels_what_this_one_runs(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    let lease = bed.running().await?.lease;
    assert_eq!(other.cancel(lease.task_id).await?, Cancelled::From(Status::Running));
    assert_kind(bed.complete(lease).await, ErrorKind::LeaseLost);
    Ok(())
}
