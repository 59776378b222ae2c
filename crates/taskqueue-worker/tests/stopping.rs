//! How a worker stops: what happens to tasks that run, and to those that were only claimed.

#![allow(clippy::unwrap_used, reason = "these are tests, though some of it is outside a test function")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, count, enqueue_numbers, queue, wait_until};
use taskqueue_worker::core::Status;
use taskqueue_worker::{
    Configure, Data, Outcome, Queue, RunningWorker, Task, TaskContext, TaskError, Worker,
};
use tokio::time::Instant;

/// Waits at the gate, or for its token, whichever comes first.
async fn polite(_: Number, cx: TaskContext, gate: Data<Gate>) -> Outcome {
    tokio::select! {
        () = gate.pass() => Outcome::done(),
        () = cx.cancelled().cancelled() => Outcome::Release,
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_finish_within_the_grace_period() {
    async fn ten_seconds(_: Number, cx: TaskContext, gate: Data<Gate>) {
        gate.open_for(1);
        gate.pass().await;
        tokio::time::sleep(10 * SECOND).await;
        assert!(!cx.cancelled().is_cancelled());
    }
    let queue = queue();
    let gate = Gate::closed();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(ten_seconds);
    let running = builder.grace_period(11 * SECOND).build().unwrap().start();
    gate.wait_for(1).await;

    let report = running.stop().await;

    assert_eq!((report.completed, report.failed), (1, 0));
    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_handlers_are_cancelled_and_what_they_return_is_settled() {
    let queue = queue();
    let gate = Gate::closed();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(polite);
    let running = builder.grace_period(20 * SECOND).build().unwrap().start();
    gate.wait_for(1).await;
    let start = Instant::now();

    let report = running.stop().await;

    assert_eq!((report.released, report.completed, report.failed), (1, 0, 0));
    assert!(start.elapsed() >= 20 * SECOND && start.elapsed() < 21 * SECOND, "{:?}", start.elapsed());
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.status, task.attempts), (Status::Pending, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_its_token_is_dropped_and_its_task_released() {
    let queue = queue();
    let gate = Gate::closed();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.grace_period(20 * SECOND).cancel_period(3 * SECOND).build().unwrap().start();
    gate.wait_for(1).await;
    let start = Instant::now();

    let report = running.stop().await;

    assert_eq!(report.released, 1);
    assert!(start.elapsed() >= 23 * SECOND && start.elapsed() < 24 * SECOND, "{:?}", start.elapsed());
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.status, task.attempts, task.last_error), (Status::Pending, 0, None));
}

#[tokio::test(start_paused = true)]
async fn claimed_tasks_that_have_not_started_are_released_at_once() {
    let queue = queue();
    let gate = Gate::closed();
    let ids = enqueue_numbers(&queue, 5).await;
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(1);
    let running = builder.prefetch(4).grace_period(600 * SECOND).build().unwrap().start();
    wait_until("all are claimed", async || count(&queue, Status::Running).await == 5).await;
    let start = Instant::now();

    let stopping = tokio::spawn(running.stop());
    wait_until("four are back", async || count(&queue, Status::Pending).await == 4).await;

    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(queue.get(ids[0]).await.unwrap().status, Status::Running);
    assert_eq!(queue.get(ids[4]).await.unwrap().attempts, 0);
    gate.open_for(1);
    let report = stopping.await.unwrap();
    assert_eq!((report.completed, report.released, gate.arrived()), (1, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_after_a_stop() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(9);
    let running =
        Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).build().unwrap().start();
    queue.enqueue(Number { n: 1 }).await.unwrap();
    gate.wait_for(1).await;
    running.stop().await;

    let id = queue.enqueue(Number { n: 2 }).await.unwrap();
    tokio::time::sleep(600 * SECOND).await;

    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_stops_at_once() {
    let running = Worker::builder(queue()).data_arc(Gate::closed()).handler(at_gate).build().unwrap().start();
    tokio::time::sleep(60 * SECOND).await;
    let start = Instant::now();

    running.stop().await;

    assert!(start.elapsed().is_zero(), "{:?}", start.elapsed());
}

/// A worker of a queue each of whose claims takes 20 s. Of five tasks the first is done, the second runs, the third waits
/// for its slot, and a claim of one more is under way since a second.
async fn in_the_middle_of_a_claim(gate: &Arc<Gate>, grace_period: Duration) -> (Spy, RunningWorker) {
    let spy = Spy::slow(queue(), 20 * SECOND);
    enqueue_numbers(&spy, 5).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(gate)).handler(at_gate).concurrency(1);
    let builder = builder.prefetch(2).grace_period(grace_period).cancel_period(3 * SECOND);
    let running = builder.build().expect("the settings are valid").start();
    gate.wait_for(1).await;
    gate.open_for(1);
    gate.wait_for(2).await;
    wait_until("a claim is under way", async || spy.calls(Call::Dequeue).len() == 2).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((count(&spy, Status::Running).await, count(&spy, Status::Pending).await), (2, 2));
    (spy, running)
}

#[tokio::test(start_paused = true)]
async fn a_claim_under_way_does_not_hold_up_a_stop_and_what_it_brings_goes_back_unstarted() {
    let gate = Gate::closed();
    let (spy, running) = in_the_middle_of_a_claim(&gate, 60 * SECOND).await;
    let start = Instant::now();

    let stopping = tokio::spawn(running.stop());
    wait_until("what waits is back", async || count(&spy, Status::Pending).await == 3).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    tokio::time::sleep(30 * SECOND).await;
    gate.open_for(9);
    let report = stopping.await.unwrap();

    // Released are the one that waited and that of the claim.
    assert_eq!((report.completed, report.released, gate.arrived()), (2, 2, 2));
    assert_eq!(count(&spy, Status::Pending).await, 3);
    assert!(start.elapsed() < 31 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_grace_period_begins_at_the_stop_also_where_a_claim_is_under_way() {
    let gate = Gate::closed();
    let (spy, running) = in_the_middle_of_a_claim(&gate, 5 * SECOND).await;
    let start = Instant::now();

    let stopping = tokio::spawn(running.stop());
    wait_until("the handler is dropped", async || count(&spy, Status::Running).await == 0).await;

    assert!((8..=9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let report = stopping.await.unwrap();
    assert_eq!((report.completed, report.released, gate.arrived()), (1, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_waited_for_no_longer_than_ten_seconds() {
    for tasks in [0, 1] {
        let (spy, gate) = (Spy::slow(queue(), 600 * SECOND), Gate::closed());
        enqueue_numbers(&spy, tasks).await;
        let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
        let running = builder.build().unwrap().start();
        gate.open_for(1);
        spy.hold_settles(true);
        let claims = 1 + tasks as usize;
        wait_until("a claim is under way", async || spy.calls(Call::Dequeue).len() == claims).await;
        assert_eq!(gate.arrived(), tasks as usize);
        let start = Instant::now();

        running.stop().await;

        assert!(start.elapsed() < 11 * SECOND, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_can_be_stopped_while_a_claim_is_under_way() {
    let spy = Spy::slow(queue(), 5 * SECOND);
    let gate = Gate::closed();
    enqueue_numbers(&spy, 3).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.build().unwrap().start_draining();
    wait_until("a claim is under way", async || spy.calls(Call::Dequeue).len() == 1).await;

    let report = running.stop().await;

    assert_eq!((report.released, gate.arrived()), (3, 0));
    assert_eq!(count(&spy, Status::Pending).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_runs_until_its_future_resolves_and_reports_what_it_did() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(3);
    enqueue_numbers(&queue, 3).await;
    let worker = Worker::builder(queue).data_arc(Arc::clone(&gate)).handler(at_gate).build().unwrap();

    let report = worker.run_until(gate.wait_for(3)).await.unwrap();

    assert_eq!(report.completed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_worker_stops_in_the_background() {
    let queue = queue();
    let gate = Gate::closed();
    let ids = enqueue_numbers(&queue, 2).await;
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(1);
    let running = builder.build().unwrap().start();
    gate.wait_for(1).await;

    drop(running);
    let waiting = support::wait_for_status(&queue, ids[1], Status::Pending).await;

    assert_eq!(waiting.attempts, 0);
    gate.open_for(1);
    support::wait_for_status(&queue, ids[0], Status::Completed).await;
}

/// What is returned by a handler that a stop interrupts, and what then becomes of its task.
async fn interrupted(error: TaskError, timeout: Option<Duration>) -> (taskqueue_worker::Report, Task) {
    let (queue, gate) = (queue(), Gate::closed());
    let id = queue.enqueue(Number { n: 1 }).await.expect("there is room");
    let handler = move |_: Number, cx: TaskContext, gate: Data<Gate>| {
        let error = error.clone();
        async move {
            tokio::select! {
                () = gate.pass() => Ok(()),
                () = cx.cancelled().cancelled() => Err(error),
            }
        }
    };
    let handler = handler.timeout(timeout.unwrap_or(600 * SECOND));
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(handler);
    let running = builder.grace_period(20 * SECOND).build().expect("the settings are valid").start();
    gate.wait_for(1).await;
    let report = running.stop().await;
    (report, queue.get(id).await.expect("it is there"))
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_handler_that_was_told_to_stop_gives_its_attempt_back() {
    let (report, task) = interrupted(TaskError::from("stopping"), None).await;

    assert_eq!((report.released, report.failed, report.dead_lettered), (1, 0, 0));
    assert_eq!((task.status, task.attempts, task.last_error), (Status::Pending, 0, None));
}

#[tokio::test(start_paused = true)]
async fn an_error_with_a_delay_keeps_it_when_its_attempt_is_given_back() {
    let (report, task) = interrupted(TaskError::retry_after("busy", 3600 * SECOND), None).await;

    assert_eq!((report.snoozed, report.released, report.failed), (1, 0, 0));
    assert_eq!((task.status, task.attempts), (Status::Pending, 0));
    assert!((task.scheduled_at - task.created_at).num_seconds() >= 3600);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_stays_one_though_the_worker_stops() {
    let (report, task) = interrupted(TaskError::permanent("no such user"), None).await;

    assert_eq!((report.dead_lettered, report.released), (1, 0));
    assert_eq!((task.status, task.last_error.as_deref()), (Status::DeadLetter, Some("no such user")));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_a_failed_attempt_though_the_worker_stops() {
    let (report, task) = interrupted(TaskError::from("stopping"), Some(15 * SECOND)).await;

    assert_eq!((report.failed, report.released), (1, 0), "its time was up before it was told");
    assert_eq!((task.status, task.attempts), (Status::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_within_the_grace_period_is_a_failed_attempt() {
    async fn fails(_: Number, gate: Data<Gate>) -> Result<(), TaskError> {
        gate.pass().await;
        Err(TaskError::from("oh"))
    }
    let (queue, gate) = (queue(), Gate::closed());
    queue.enqueue(Number { n: 1 }).await.unwrap();
    let running = Worker::builder(queue).data_arc(Arc::clone(&gate)).handler(fails).build().unwrap().start();
    gate.wait_for(1).await;
    let stopping = tokio::spawn(running.stop());
    tokio::time::sleep(SECOND).await;
    gate.open_for(1);

    let report = stopping.await.unwrap();

    assert_eq!((report.failed, report.released), (1, 0));
}
