//! How outcomes reach the queue: in batches, through failures of the store, and without sinking each other.

mod support;

use std::sync::Arc;

use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, enqueue_numbers, queue, queue_with, wait_until};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::core::{ErrorKind, Status};
use taskqueue_worker::{Configure, Data, NewTask, Outcome, Queue, RetryPolicy, TaskId, Worker};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn outcomes_that_arrive_together_are_settled_in_one_call() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    enqueue_numbers(&spy, 100).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(100).build().unwrap().start();
    gate.wait_for(100).await;

    gate.open_for(100);
    wait_until("all are settled", async || running.report().completed == 100).await;

    assert_eq!(spy.calls(Call::Settle).iter().sum::<usize>(), 100);
    assert!(spy.calls(Call::Settle).len() <= 2, "{:?}", spy.calls(Call::Settle));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_no_longer_than_the_settle_delay_for_others() {
    async fn one_is_quick(number: Number) {
        let seconds = if number.n == 1 { 0 } else { 60 };
        tokio::time::sleep(seconds * SECOND).await;
    }
    let spy = Spy::on(queue());
    let ids = enqueue_numbers(&spy, 3).await;
    let builder = Worker::builder(spy.clone()).handler(one_is_quick).settle_delay(SECOND / 2);

    let running = builder.build().unwrap().start();
    let quick = support::wait_for_status(&spy, ids[0], Status::Completed).await;
    wait_until("all are settled", async || running.report().completed == 3).await;

    let waited = quick.completed_at.unwrap() - quick.started_at.unwrap();
    assert!((500..=510).contains(&waited.num_milliseconds()), "{waited}");
    assert_eq!(spy.calls(Call::Settle), [1, 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_returns_while_a_batch_is_settled_goes_with_the_next_one() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    enqueue_numbers(&spy, 3_500).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(3_500).build().unwrap().start();
    gate.wait_for(3_500).await;
    spy.hold_settles(true);

    for number in [300, 100, 3_100] {
        gate.open_for(number);
        let left = running.active() - number;
        wait_until("these have returned", async || running.active() == left).await;
        wait_until("the first is on its way", async || spy.calls(Call::Settle) == [300]).await;
    }

    spy.hold_settles(false);
    wait_until("all are settled", async || running.report().completed == 3_500).await;
    assert_eq!(spy.calls(Call::Settle), [300, 2_000, 1_200]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_fails_for_a_time_is_repeated_until_it_succeeds() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(3);
    let ids = enqueue_numbers(&spy, 3).await;
    spy.fail(Call::Settle, 20);
    let builder = Worker::builder(spy.clone()).data_arc(gate).handler(at_gate);

    let report = builder.build().unwrap().drain().await;

    assert_eq!((report.completed, report.leases_lost), (3, 0));
    let calls = spy.calls(Call::Settle);
    assert_eq!((calls.len(), calls[0], &calls[20..]), (23, 3, [1; 3].as_slice()), "{calls:?}");
    for id in ids {
        assert_eq!(spy.get(id).await.unwrap().attempts, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_refuses_for_a_moment_costs_no_handlers_success() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(3);
    let ids = enqueue_numbers(&spy, 1).await;
    spy.refuse(Call::Settle, 2);
    let builder = Worker::builder(spy.clone()).data_arc(gate).handler(at_gate);

    let report = builder.build().unwrap().drain().await;

    assert_eq!((report.completed, report.failed), (1, 0));
    assert_eq!(spy.get(ids[0]).await.unwrap().attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_the_database_refuses_again_and_again_is_a_failed_attempt_that_says_so() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(3);
    let ids = enqueue_numbers(&spy, 1).await;
    spy.refuse(Call::Settle, 3);
    let builder =
        Worker::builder(spy.clone()).data_arc(gate).handler(at_gate.retry(RetryPolicy::fixed(SECOND)));

    let report = builder.build().unwrap().drain().await;

    assert_eq!((report.completed, report.failed), (0, 1));
    let task = spy.get(ids[0]).await.unwrap();
    assert_eq!(task.last_error.as_deref(), Some("settling: spy: the database refuses"));
    let wait = (task.retry_after.unwrap() - task.updated_at).to_std().unwrap();
    assert_eq!(wait, SECOND, "by the policy of its type");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_another_session_has_locked_holds_up_the_settle_of_no_other() {
    let spy = Spy::on(queue());
    let ids = enqueue_numbers(&spy, 32).await;
    spy.lock(Some(ids[7]));
    let builder = Worker::builder(spy.clone()).handler(async |_: Number| {}).concurrency(32);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();

    wait_until("the others are settled", async || running.report().completed == 31).await;
    let later = enqueue_numbers(&spy, 3).await;
    wait_until("later ones, too", async || running.report().completed == 34).await;
    spy.lock(None);
    wait_until("so is the locked one", async || running.report().completed == 35).await;

    for id in ids.into_iter().chain(later) {
        assert_eq!(spy.get(id).await.unwrap().attempts, 1);
    }
    assert_eq!(running.stop().await.leases_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn follow_ups_that_wait_hold_up_the_settle_of_no_task_without_any() {
    async fn even_ones_go_on(number: Number) -> Outcome {
        let next = NewTask::raw("next", "1").expect("the constant is JSON");
        if number.n.is_multiple_of(2) { Outcome::done().then(next) } else { Outcome::done() }
    }
    let spy = Spy::on(queue());
    enqueue_numbers(&spy, 8).await;
    spy.hold_follow_ups(true);
    let running = Worker::builder(spy.clone()).handler(even_ones_go_on).build().unwrap().start();

    wait_until("odd ones are settled", async || running.report().completed == 4).await;
    assert_eq!(support::count(&spy, Status::Running).await, 4);
    spy.hold_follow_ups(false);
    wait_until("even ones, too", async || running.report().completed == 8).await;

    assert_eq!(support::count(&spy, Status::Pending).await, 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_tasks_are_claimed_than_a_few_thousand_while_their_follow_ups_wait() {
    async fn goes_on(_: Number) -> Outcome {
        Outcome::done().then(NewTask::raw("next", "1").expect("the constant is JSON"))
    }
    const TASKS: usize = 20_000;
    let spy = Spy::on(queue());
    let tasks: Vec<NewTask> =
        (0..TASKS).map(|_| NewTask::json("number", &Number { n: 1 }).unwrap()).collect();
    for tasks in tasks.chunks(10_000) {
        spy.enqueue_many(tasks.to_vec()).await.unwrap();
    }
    spy.hold_follow_ups(true);
    let running = Worker::builder(spy.clone()).handler(goes_on).concurrency(100).build().unwrap().start();

    tokio::time::sleep(600 * SECOND).await;
    let held = spy.stats().await.unwrap().running;
    assert!((4_000..15_000).contains(&held), "{held}");

    spy.hold_follow_ups(false);
    wait_until("all are settled", async || running.report().completed == TASKS as u64).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_settle_brings_no_more_follow_ups_than_a_thousand_unless_one_outcome_does() {
    async fn splits(number: Number) -> Outcome {
        let part = || NewTask::raw("part", "1").expect("the constant is JSON");
        let parts = if number.n == 3 { 1_500 } else { 400 };
        (0..parts).fold(Outcome::done(), |outcome, _| outcome.then(part()))
    }
    let spy = Spy::on(queue());
    enqueue_numbers(&spy, 6).await;
    let builder = Worker::builder(spy.clone()).handler(splits).concurrency(6).settle_delay(SECOND);

    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 6);
    assert_eq!(spy.calls(Call::Settle), [2, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_given_up_when_their_leases_have_ended_and_the_tasks_are_handled_again() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(10);
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    spy.fail(Call::Settle, usize::MAX);
    spy.fail(Call::Heartbeat, usize::MAX);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();

    gate.wait_for(2).await;
    spy.fail(Call::Settle, 0);
    let task = support::wait_for_status(&spy, id, Status::Completed).await;

    assert!(task.reclaims >= 1 && task.attempts >= 2);
    assert_eq!(running.stop().await.completed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_that_the_queue_refuses_fails_its_own_task_and_no_other() {
    async fn ninth_is_bad(number: Number) -> Outcome {
        let text = "x".repeat(if number.n == 9 { 500 } else { 1 });
        Outcome::done().then(NewTask::json("letters", &text).expect("a text has a JSON form"))
    }
    let spy = Spy::on(queue_with(MemoryConfig { payload_bytes_max: 100, ..MemoryConfig::default() }));
    let ids = enqueue_numbers(&spy, 16).await;
    let handler = ninth_is_bad.retry(RetryPolicy::fixed(SECOND));
    let builder = Worker::builder(spy.clone()).handler(handler).concurrency(16);

    let report = builder.build().unwrap().drain().await;

    assert_eq!((report.completed, report.failed), (15, 1));
    let bad = spy.get(ids[8]).await.unwrap();
    assert_eq!(bad.status, Status::Failed);
    assert!(bad.last_error.as_ref().unwrap().contains("more than the limit of 100"), "{:?}", bad.last_error);
    assert_eq!(support::count(&spy, Status::Pending).await, 15, "the others' follow-ups are there");
    // Halving finds the one among sixteen with two calls a step, and a last one to fail it.
    assert!(spy.calls(Call::Settle).len() <= 1 + 2 * 4 + 1, "{:?}", spy.calls(Call::Settle));
}

/// The first brings three tasks, the others none.
async fn first_splits(number: Number) -> Outcome {
    let task = || NewTask::raw("part", "1").expect("the constant is JSON");
    if number.n == 1 { Outcome::done().then(task()).then(task()).then(task()) } else { Outcome::done() }
}

/// A queue that is full with two tasks of a type that nobody handles and two numbers, and the ids of all.
async fn full_queue() -> (MemoryQueue, [TaskId; 2], Vec<TaskId>) {
    let queue = queue_with(MemoryConfig { capacity: Some(4), ..MemoryConfig::default() });
    let parked = [(); 2].map(|()| TaskId::generate());
    let task = |id| NewTask::raw("parked", "1").expect("the constant is JSON").id(id);
    queue.enqueue_many(parked.map(task).into()).await.expect("there is room");
    let ids = enqueue_numbers(&queue, 2).await;
    (queue, parked, ids)
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_does_not_hold_up_outcomes_that_bring_no_tasks() {
    let (queue, _, ids) = full_queue().await;
    let start = Instant::now();
    let builder = Worker::builder(queue.clone()).handler(first_splits);
    let running = builder.build().unwrap().start_draining();

    support::wait_for_status(&queue, ids[1], Status::Completed).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(queue.get(ids[0]).await.unwrap().status, Status::Running);
    let first = support::wait_for_status(&queue, ids[0], Status::Failed).await;

    // The first is short of room by one even when both have finished: it waits for room, and is tried again later.
    assert!((30..=33).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(first.last_error.unwrap().contains("task queue is full"));
    let report = running.stop().await;
    assert_eq!((report.completed, report.failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_for_a_moment_costs_no_handlers_success() {
    let (queue, parked, ids) = full_queue().await;
    let running = Worker::builder(queue.clone()).handler(first_splits).build().unwrap().start();
    support::wait_for_status(&queue, ids[1], Status::Completed).await;
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();

    queue.cancel(parked[0]).await.unwrap();
    let first = support::wait_for_status(&queue, ids[0], Status::Completed).await;

    assert_eq!((first.attempts, first.last_error), (1, None));
    assert!(start.elapsed() <= 2 * SECOND, "{:?}", start.elapsed());
    let report = running.stop().await;
    assert_eq!((report.completed, report.failed), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn thousands_of_completions_without_room_hold_up_none_that_brings_no_task() {
    async fn the_first_half_splits(number: Number) -> Outcome {
        let task = || NewTask::raw("part", "1").expect("the constant is JSON");
        let parts = if number.n <= 5_000 { 10 } else { 0 };
        (0..parts).fold(Outcome::done(), |outcome, _| outcome.then(task()))
    }
    let queue = queue_with(MemoryConfig { capacity: Some(10_000), ..MemoryConfig::default() });
    let ids = enqueue_numbers(&queue, 10_000).await;
    let start = Instant::now();
    let handler = the_first_half_splits.retry(RetryPolicy::fixed(600 * SECOND));
    let running = Worker::builder(queue.clone()).handler(handler).build().unwrap().start();

    support::wait_for_status(&queue, ids[9_999], Status::Completed).await;

    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_the_worker_and_says_so() {
    let queue = queue();
    let worker = Worker::builder(queue.clone()).data_arc(Gate::closed()).handler(at_gate).build().unwrap();
    let mut running = worker.start();
    tokio::time::sleep(SECOND).await;

    queue.close().await;

    assert_eq!(running.ended().await.unwrap_err().kind(), ErrorKind::QueueClosed);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_outcomes_that_a_closed_queue_does_not_take_hold_up_neither_the_last_nor_the_stop() {
    async fn last_goes_on(number: Number, gate: Data<Gate>) -> Outcome {
        gate.pass().await;
        let next = NewTask::raw("next", "1").expect("the constant is JSON");
        if number.n > 5_000 { Outcome::done().then(next) } else { Outcome::done() }
    }
    let (queue, gate) = (queue(), Gate::closed());
    enqueue_numbers(&queue, 5_001).await;
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(last_goes_on);
    let mut running = builder.concurrency(5_001).build().unwrap().start();
    gate.wait_for(5_001).await;
    queue.close().await;
    gate.open_for(5_000);
    wait_until("all but the last have returned", async || running.active() == 1).await;
    let start = Instant::now();

    gate.open_for(1);

    assert_eq!(running.ended().await.unwrap_err().kind(), ErrorKind::QueueClosed);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}
