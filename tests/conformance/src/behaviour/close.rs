//! Close: an instance that was closed refuses every call; what is stored stays.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Cleanup, ErrorKind, Outcome, Redrive, Settlement, Status, TaskFilter};
use tokio::sync::Semaphore;

use crate::bed::{Bed, WAIT_MAX, assert_kind, request, task, task_type, tasks, worker};
use crate::{Harness, Verdict};

/// How many call at once.
const CALLERS: u32 = 8;

pub(crate) async fn every_call_on_a_closed_queue_says_so(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let lease = bed.running().await?.lease;
    let id = lease.task_id;
    bed.close().await;
    let closed = ErrorKind::QueueClosed;
    assert_kind(bed.enqueue_many(tasks(1)).await, closed);
    assert_kind(bed.enqueue(task()).await, closed);
    assert_kind(bed.dequeue_many(&request(1)).await, closed);
    assert_kind(bed.dequeue(&worker(), &[task_type("task")]).await, closed);
    assert_kind(bed.settle_many(vec![Settlement::new(lease.clone(), Outcome::done())]).await, closed);
    assert_kind(bed.complete(lease.clone()).await, closed);
    assert_kind(bed.heartbeat_many(std::slice::from_ref(&lease), None).await, closed);
    assert_kind(bed.cancel(id).await, closed);
    assert_kind(bed.get(id).await, closed);
    assert_kind(bed.holder(&task_type("task"), "k").await, closed);
    assert_kind(bed.list(&TaskFilter::default()).await, closed);
    assert_kind(bed.stats().await, closed);
    assert_kind(bed.cleanup(Cleanup::new(Duration::ZERO, 1)).await, closed);
    assert_kind(bed.reclaim_stale(1).await, closed);
    assert_kind(bed.promote_due(1).await, closed);
    assert_kind(bed.run_now(&[id]).await, closed);
    assert_kind(bed.redrive(&Redrive::Tasks(vec![id])).await, closed);
    assert_kind(bed.pause(&task_type("task")).await, closed);
    assert_kind(bed.resume(&task_type("task")).await, closed);
    assert_kind(bed.paused().await, closed);
    assert_kind(bed.backend().await, closed);
    assert_kind(bed.shared().now().await, closed);
    Ok(())
}

pub(crate) async fn closing_twice_is_closing_once(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    bed.close().await;
    bed.close().await;
    assert_kind(bed.stats().await, ErrorKind::QueueClosed);
    Ok(())
}

pub(crate) async fn what_is_stored_stays(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let id = bed.enqueue(task()).await?;
    bed.close().await;
    assert_eq!(bed.reopen().await?.get(id).await?.status, Status::Pending);
    Ok(())
}

pub(crate) async fn closing_one_instance_leaves_the_others_open(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let other = bed.reopen().await?;
    bed.close().await;
    other.enqueue_many(tasks(1)).await?;
    let claim = other.dequeue(&worker(), &[task_type("task")]).await?.expect("the task is ready");
    other.complete(claim.lease).await?;
    Ok(())
}

pub(crate) async fn calls_in_flight_end_when_the_queue_is_closed(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let under_way = Arc::new(Semaphore::new(0));
    let running: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (queue, under_way) = (bed.shared(), under_way.clone());
            tokio::spawn(async move {
                let first = queue.enqueue_many(tasks(2)).await;
                under_way.add_permits(1);
                while queue.enqueue_many(tasks(2)).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                first.map(drop)
            })
        })
        .collect();
    // A queue that is closed at once refuses the first call of each, and none is in flight.
    drop(under_way.acquire_many(CALLERS).await);
    bed.close().await;
    for call in running {
        let ended = tokio::time::timeout(WAIT_MAX, call).await;
        assert!(matches!(ended, Ok(Ok(Ok(())))), "a call that was in flight ends, without a panic");
    }
    Ok(())
}

pub(crate) async fn the_queue_says_which_engine_it_is(harness: &dyn Harness) -> Verdict {
    let bed = Bed::new(harness).await;
    let backend = bed.backend().await?;
    assert!(!backend.name.is_empty() && !backend.version.is_empty());
    // `cargo xtask conformance` reads this line.
    println!("engine: {} {}", backend.name, backend.version);
    Ok(())
}
