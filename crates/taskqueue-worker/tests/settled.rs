//! Handlers that settle their tasks themselves. The memory queue's own `complete` stands for a commit of the handler's
//! transaction; `taskqueue-sqlite` tests the same with real ones.

#![allow(clippy::unwrap_used, reason = "these are tests, though some of it is outside a test function")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, number_type, queue};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::core::{ErrorKind, Redrive, Status};
use taskqueue_worker::{
    Configure, Data, MaintenanceConfig, NewTask, Outcome, Queue, RetryPolicy, TaskContext, TaskError, TaskId,
    Worker, WorkerId,
};

/// Runs it in paused time; answers what every counter and histogram of this name holds in all.
fn counted<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> impl Fn(&str) -> u64 {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&recorder, || runtime.block_on(test()));
    let series = snapshotter.snapshot().into_vec();
    move |name| {
        let of_name = series.iter().filter(|(key, ..)| key.key().name() == format!("zapfs_taskqueue_{name}"));
        let values = of_name.map(|(.., value)| match value {
            DebugValue::Counter(count) => *count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => 0,
        });
        values.sum()
    }
}

async fn settles(_: Number, cx: TaskContext, store: Data<MemoryQueue>) -> Result<Outcome, TaskError> {
    store.complete(cx.lease()).await?;
    Ok(Outcome::settled())
}

#[test]
fn a_task_that_its_handler_has_settled_counts_once_and_is_settled_by_nobody_else() {
    let counted = counted(|| async {
        let spy = Spy::on(queue());
        let ids = support::enqueue_numbers(&spy, 3).await;
        let builder = Worker::builder(spy.clone()).data(spy.queue.clone()).handler(settles);

        let report = builder.concurrency(1).build().unwrap().drain().await;

        assert_eq!((report.completed, report.leases_lost), (3, 0), "and each has left its slot to the next");
        assert_eq!(spy.calls(Call::Settle), [0_usize; 0]);
        for id in ids {
            assert_eq!(spy.get(id).await.unwrap().status, Status::Completed);
        }
    });
    assert_eq!(counted("tasks_processed_total"), 3);
    assert_eq!(counted("task_processing_duration_seconds"), 3);
}

#[test]
fn a_heartbeat_between_the_commit_and_the_return_finds_no_lost_lease() {
    async fn goes_on(_: Number, cx: TaskContext, store: Data<MemoryQueue>) -> Result<Outcome, TaskError> {
        store.complete(cx.lease()).await?;
        tokio::time::sleep(100 * SECOND).await;
        assert!(!cx.cancelled().is_cancelled(), "nothing is to be stopped");
        Ok(Outcome::settled())
    }
    let counted = counted(|| async {
        let spy = Spy::on(queue());
        spy.enqueue(Number { n: 1 }).await.unwrap();
        let builder = Worker::builder(spy.clone()).data(spy.queue.clone()).handler(goes_on);

        let report = builder.visibility_timeout(30 * SECOND).build().unwrap().drain().await;

        assert_eq!((report.completed, report.leases_lost, report.failed), (1, 0, 0));
        assert_eq!(spy.calls(Call::Heartbeat), [1], "what it has found is asked for no more");
    });
    assert_eq!(counted("leases_lost_total"), 0);
    assert_eq!(counted("tasks_processed_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_said_to_be_settled_and_is_not_is_handled_again_once_its_lease_has_ended() {
    async fn forgets(
        _: Number,
        cx: TaskContext,
        runs: Data<AtomicU32>,
        store: Data<MemoryQueue>,
    ) -> Result<Outcome, TaskError> {
        let lease = cx.lease();
        if runs.fetch_add(1, Ordering::SeqCst) > 0 {
            store.complete(lease).await?;
        }
        Ok(Outcome::settled())
    }
    let (queue, runs) = (queue(), Arc::new(AtomicU32::new(0)));
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data(queue.clone()).data_arc(Arc::clone(&runs));
    let running = builder.handler(forgets).visibility_timeout(30 * SECOND).build().unwrap().start();

    let task = support::wait_for_status(&queue, id, Status::Completed).await;

    assert_eq!((task.attempts, task.reclaims, runs.load(Ordering::SeqCst)), (2, 1, 2));
    let took = task.completed_at.unwrap() - task.created_at;
    assert!(took.num_seconds() >= 30, "nobody kept its lease alive, and nobody took it before: {took}");
    assert_eq!(running.stop().await.completed, 2, "as its handler said");
}

#[test]
fn an_error_after_the_commit_undoes_nothing_and_counts_as_a_lost_lease() {
    async fn too_late(_: Number, cx: TaskContext, store: Data<MemoryQueue>) -> Result<Outcome, TaskError> {
        store.complete(cx.lease()).await?;
        Err(TaskError::from("after the commit"))
    }
    let counted = counted(|| async {
        let queue = queue();
        let id = queue.enqueue(Number { n: 1 }).await.unwrap();
        let builder = Worker::builder(queue.clone()).data(queue.clone());
        let handler = too_late.retry(RetryPolicy::fixed(SECOND));

        let report = builder.handler(handler).build().unwrap().drain().await;

        assert_eq!((report.completed, report.failed, report.leases_lost), (0, 0, 1));
        let task = queue.get(id).await.unwrap();
        assert_eq!((task.status, task.attempts, task.last_error), (Status::Completed, 1, None));
    });
    assert_eq!(counted("tasks_processed_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_settles_with_a_lost_lease_learns_it_from_the_settle() {
    async fn late(_: Number, cx: TaskContext, store: Data<MemoryQueue>) -> Result<Outcome, TaskError> {
        let lease = cx.lease();
        store.cancel(cx.id()).await?;
        let refused = store.complete(lease).await.expect_err("the task was cancelled");
        assert_eq!(refused.kind(), ErrorKind::LeaseLost);
        Err(TaskError::permanent(refused))
    }
    let queue = queue();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data(queue.clone()).handler(late);

    let report = builder.visibility_timeout(30 * SECOND).build().unwrap().drain().await;

    assert_eq!((report.completed, report.dead_lettered, report.leases_lost), (0, 0, 1), "counted once");
    assert_eq!(queue.get(id).await.unwrap().status, Status::Cancelled);
    let (worker, types) = (taskqueue_worker::WorkerId::new("x").unwrap(), [number_type()]);
    assert!(queue.dequeue(&worker, &types).await.unwrap().is_none());
}

/// Has asked for its lease, if only to log it, and then waits until it is told to stop.
async fn holds_on(_: Number, cx: TaskContext, gate: Data<Gate>) {
    let _ = cx.lease().claimed_at;
    gate.open_for(1);
    gate.pass().await;
    cx.cancelled().cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_asked_for_its_lease_is_told_that_its_task_was_cancelled() {
    let (queue, gate) = (queue(), Gate::closed());
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
    let draining = tokio::spawn(builder.visibility_timeout(30 * SECOND).build().unwrap().drain());
    gate.wait_for(1).await;

    queue.cancel(id).await.unwrap();

    let report = tokio::time::timeout(SECOND, draining).await.expect("it is told at once").unwrap();
    assert_eq!((report.completed, report.leases_lost), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_asked_for_its_lease_is_told_that_its_task_was_taken_back() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
    let maintenance = taskqueue_worker::MaintenanceConfig::off();
    let running = builder
        .visibility_timeout(30 * SECOND)
        .maintenance(maintenance)
        .concurrency(1)
        .build()
        .unwrap()
        .start();
    gate.wait_for(1).await;
    spy.fail(Call::Heartbeat, 60);

    support::wait_until("it is taken back", async || spy.reclaim_stale(10).await.unwrap().released == 1)
        .await;

    gate.wait_for(2).await;
    assert_eq!(spy.get(id).await.unwrap().attempts, 2, "its slot was free for the next attempt");
    let report = running.stop().await;
    assert_eq!((report.completed, report.leases_lost), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_task_that_fails_is_made_again() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
    let draining = tokio::spawn(builder.visibility_timeout(30 * SECOND).build().unwrap().drain());
    gate.wait_for(1).await;
    spy.fail(Call::Get, 2);

    spy.queue.cancel(id).await.unwrap();

    let report = tokio::time::timeout(60 * SECOND, draining).await.expect("by a later heartbeat").unwrap();
    assert_eq!(report.leases_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_task_that_panics_is_made_again() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
    let draining = tokio::spawn(builder.visibility_timeout(30 * SECOND).build().unwrap().drain());
    gate.wait_for(1).await;
    spy.crash(Call::Get, 1);

    spy.queue.cancel(id).await.unwrap();

    let report = tokio::time::timeout(60 * SECOND, draining).await.expect("by a later heartbeat").unwrap();
    assert_eq!(report.leases_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_two_tasks_are_looked_at_at_once() {
    for cancels_are_heard in [true, false] {
        let (spy, gate) = (Spy::with_slow_gets(queue(), SECOND), Gate::closed());
        let ids = support::enqueue_numbers(&spy, 20).await;
        let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
        let running = builder.visibility_timeout(60 * SECOND).concurrency(20).build().unwrap().start();
        gate.wait_for(20).await;
        spy.fail(Call::Heartbeat, if cancels_are_heard { 0 } else { 20 });

        for id in ids {
            spy.queue.cancel(id).await.unwrap();
        }
        support::wait_until("all are told", async || running.active() == 0).await;

        assert_eq!((running.report().leases_lost, spy.calls(Call::Get).len()), (20, 20));
        assert!(spy.gets_at_once() <= 2, "{}", spy.gets_at_once());
        running.stop().await;
    }
}

/// Has asked for its lease and waits; the queue stands for a server whose heartbeats fail until `lose` has been done.
async fn is_told_of(lose: impl AsyncFnOnce(&MemoryQueue, TaskId)) {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let id = spy.enqueue(NewTask::new(&Number { n: 1 }).unwrap().max_retries(1)).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(holds_on);
    let builder = builder.maintenance(MaintenanceConfig::off()).visibility_timeout(30 * SECOND);
    let running = builder.concurrency(1).prefetch(0).build().unwrap().start();
    gate.wait_for(1).await;
    spy.fail(Call::Heartbeat, usize::MAX);
    spy.fail(Call::Dequeue, usize::MAX);
    support::wait_until("its lease ends", async || {
        spy.queue.reclaim_stale(10).await.unwrap().dead_lettered == 1
    })
    .await;

    lose(&spy.queue, id).await;
    spy.fail(Call::Heartbeat, 0);

    support::wait_until("it is told", async || running.active() == 0).await;
    assert_eq!(running.report().leases_lost, 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_asked_for_its_lease_is_told_that_its_task_was_taken_back_and_redriven() {
    is_told_of(async |queue, id| {
        queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap();
        assert_eq!(queue.get(id).await.unwrap().reclaims, 0, "a redrive begins anew");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_asked_for_its_lease_is_told_that_another_has_claimed_its_redriven_task() {
    is_told_of(async |queue, id| {
        queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap();
        let other = WorkerId::new("other").unwrap();
        queue.dequeue(&other, &[number_type()]).await.unwrap().expect("it is ready again");
    })
    .await;
}
