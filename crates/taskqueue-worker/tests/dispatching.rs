//! What is claimed, when, and how much of it.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use support::spy::{Call, Spy};
use support::{Gate, Letter, Number, SECOND, at_gate, count, enqueue_numbers, queue, wait_until};
use taskqueue_worker::core::{Priority, Status};
use taskqueue_worker::{Configure, Data, NewTask, Queue, Worker};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn no_more_tasks_run_at_once_than_the_concurrency_and_no_more_are_held_than_the_prefetch_adds() {
    let queue = queue();
    let gate = Gate::closed();
    enqueue_numbers(&queue, 50).await;
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(4).prefetch(3).build().unwrap().start();

    gate.wait_for(4).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!((gate.arrived(), running.active(), count(&queue, Status::Running).await), (4, 4, 4 + 3));
    gate.open_for(50);
    wait_until("all are done", async || running.report().completed == 50).await;

    assert_eq!(gate.inside_max(), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_concurrency_and_prefetch_have_no_bound_claims_what_there_is() {
    async fn quick(_: Number) {}
    let queue = queue();
    enqueue_numbers(&queue, 3).await;
    let builder = Worker::builder(queue).handler(quick.concurrency(usize::MAX));
    let running = builder.concurrency(usize::MAX).prefetch(usize::MAX).build().unwrap().start();

    wait_until("all are done", async || running.report().completed == 3).await;

    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_type_at_its_limit_keeps_no_other_type_waiting() {
    async fn letter(_: Letter) {}
    let queue = queue();
    let gate = Gate::closed();
    enqueue_numbers(&queue, 50).await;
    for _ in 0..20 {
        queue.enqueue(Letter { c: 'x' }).await.unwrap();
    }
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate));
    let builder = builder.handler(at_gate.concurrency(2)).handler(letter).concurrency(5);
    let running = builder.build().unwrap().start();

    wait_until("all letters are done", async || running.report().completed == 20).await;
    assert_eq!(
        (gate.arrived(), count(&queue, Status::Running).await),
        (2, 2),
        "none above the limit is held"
    );
    gate.open_for(50);
    wait_until("all are done", async || running.report().completed == 70).await;

    assert_eq!(gate.inside_max(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_several_claims_bring_starts_in_queue_order_and_outlives_the_failure_of_another() {
    async fn note(number: Number, started: Data<Mutex<Vec<u32>>>) {
        started.lock().unwrap().push(number.n);
    }
    let (spy, started) = (Spy::taking_extra_claims(queue()), Arc::new(Mutex::new(Vec::<u32>::new())));
    enqueue_numbers(&spy.queue, 5_000).await;
    spy.fail(Call::Dequeue, 1);
    let builder = Worker::builder(Arc::new(spy.clone())).data_arc(Arc::clone(&started)).handler(note);
    let report = builder.concurrency(2).prefetch(2_000).build().unwrap().drain().await;

    assert_eq!(report.completed, 5_000);
    let mut left: BTreeSet<u32> = (1..=5_000).collect();
    for number in started.lock().unwrap().iter() {
        assert!(left.remove(number), "{number} is started once");
        assert!(left.range(..number).count() <= 1, "only what is in the other slot is passed: {number}");
    }
    assert_eq!((spy.calls(Call::Dequeue)[0], spy.calls(Call::ExtraDequeue)[0]), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn where_extra_claims_bring_nothing_few_are_made_and_every_task_is_claimed() {
    async fn slow(_: Number) {
        tokio::time::sleep(SECOND / 100).await;
    }
    let spy = Spy::on(queue());
    enqueue_numbers(&spy.queue, 10_000).await;
    let builder = Worker::builder(Arc::new(spy.clone())).handler(slow).concurrency(200).prefetch(2_000);
    let start = Instant::now();
    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 10_000);
    assert!(spy.calls(Call::Dequeue).iter().all(|limit| *limit <= 1_000));
    let rests = start.elapsed().as_millis() / 80;
    let extra = spy.calls(Call::ExtraDequeue).len() as u128;
    assert!((1..=rests + 1).contains(&extra), "{extra} in {rests} rests");
}

#[tokio::test(start_paused = true)]
async fn a_limited_type_is_claimed_again_as_soon_as_its_slot_is_free() {
    async fn quick(_: Number) {}
    let queue = queue();
    enqueue_numbers(&queue, 100).await;
    let start = Instant::now();
    let builder = Worker::builder(queue.clone()).handler(quick.concurrency(1)).poll_interval(3600 * SECOND);
    let running = builder.build().unwrap().start();

    wait_until("all are done", async || running.report().completed == 100).await;

    assert!(start.elapsed() < 2 * SECOND, "it waited for polls: {:?}", start.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_type_does_not_keep_a_limited_one_from_being_looked_at() {
    async fn endless(number: Number) -> taskqueue_worker::Outcome {
        tokio::time::sleep(SECOND / 100).await;
        taskqueue_worker::Outcome::done().then(number)
    }
    async fn letter(_: Letter, start: Data<Mutex<Option<Instant>>>) {
        *start.lock().unwrap() = Some(Instant::now());
    }
    // Deaf: the letter comes from another process, so that only a look at the queue finds it.
    let spy = Spy::deaf(queue());
    enqueue_numbers(&spy, 40).await;
    let started = Arc::new(Mutex::new(None::<Instant>));
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&started));
    let builder = builder.handler(endless).handler(letter.concurrency(1)).concurrency(3).prefetch(0);
    let running = builder.build().unwrap().start();
    tokio::time::sleep(10 * SECOND).await;

    let enqueued = Instant::now();
    spy.enqueue(Letter { c: 'a' }).await.unwrap();
    wait_until("the letter is done", async || started.lock().unwrap().is_some()).await;

    assert!(started.lock().unwrap().unwrap() - enqueued <= 2 * SECOND);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_type_has_no_handler_here_is_never_claimed() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(1);
    let unknown = queue.enqueue(Letter { c: 'a' }).await.unwrap();
    queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(gate).handler(at_gate);

    let running = builder.build().unwrap().start();
    tokio::time::sleep(60 * SECOND).await;

    assert_eq!(running.stop().await.completed, 1);
    let task = queue.get(unknown).await.unwrap();
    assert_eq!((task.status, task.attempts, task.started_at), (Status::Pending, 0, None));
}

#[tokio::test(start_paused = true)]
async fn tasks_start_by_priority_and_then_in_the_order_of_their_enqueue() {
    async fn note(number: Number, seen: Data<Mutex<Vec<u32>>>) {
        seen.lock().unwrap().push(number.n);
    }
    let queue = queue();
    for (n, priority) in
        [(3, Priority::NORMAL), (1, Priority::URGENT), (4, Priority::NORMAL), (2, Priority::HIGH)]
    {
        queue.enqueue(NewTask::new(&Number { n }).unwrap().priority(priority)).await.unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::<u32>::new()));
    let builder = Worker::builder(queue).data_arc(Arc::clone(&seen)).handler(note).concurrency(1);

    builder.build().unwrap().drain().await;

    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_in_this_process_is_seen_at_once() {
    let queue = queue();
    let gate = Gate::closed();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.poll_interval(3600 * SECOND).build().unwrap().start();
    tokio::time::sleep(600 * SECOND).await;

    let enqueued = Instant::now();
    queue.enqueue(Number { n: 1 }).await.unwrap();
    gate.wait_for(1).await;

    assert!(enqueued.elapsed() < SECOND / 10, "{:?}", enqueued.elapsed());
    gate.open_for(1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_of_another_process_is_seen_within_the_poll_interval() {
    let spy = Spy::deaf(queue());
    let gate = Gate::closed();
    gate.open_for(1);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.poll_interval(10 * SECOND).build().unwrap().start();
    tokio::time::sleep(600 * SECOND).await;

    let enqueued = Instant::now();
    spy.enqueue(Number { n: 1 }).await.unwrap();
    gate.wait_for(1).await;

    assert!(enqueued.elapsed() <= 10 * SECOND, "{:?}", enqueued.elapsed());
    running.stop().await;
}

/// How often a worker with a poll interval of 10 s looks at an empty queue in 1,000 s.
async fn idle_looks(spy: Spy) -> usize {
    let builder = Worker::builder(spy.clone()).data_arc(Gate::closed()).handler(at_gate);
    let running = builder.poll_interval(10 * SECOND).build().expect("the settings are valid").start();
    tokio::time::sleep(1000 * SECOND).await;
    let looks = spy.calls(Call::Dequeue).len();
    running.stop().await;
    looks
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_slows_down_to_one_look_a_poll_interval() {
    let looks = idle_looks(Spy::deaf(queue())).await;

    // A look is due after 8 to 10 s, and a few quick ones come first.
    assert!((100..=130).contains(&looks), "{looks} looks in 100 intervals");
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_claims_take_long_rests_as_long_between_them() {
    let looks = idle_looks(Spy::slow(queue(), 20 * SECOND)).await;

    // Each takes 28 to 30 s with the rest after it, and a few quick ones come first.
    assert!((33..=40).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn after_work_a_worker_that_hears_of_nobody_looks_again_soon() {
    let spy = Spy::deaf(queue());
    let gate = Gate::closed();
    gate.open_for(2);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.build().unwrap().start();
    spy.enqueue(Number { n: 1 }).await.unwrap();
    gate.wait_for(1).await;

    let enqueued = Instant::now();
    spy.enqueue(Number { n: 2 }).await.unwrap();
    gate.wait_for(2).await;

    assert!(enqueued.elapsed() <= SECOND / 50, "{:?}", enqueued.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failed_claims_are_repeated_after_growing_waits_until_they_succeed() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(1);
    spy.enqueue(Number { n: 1 }).await.unwrap();
    spy.fail(Call::Dequeue, 5);
    let start = Instant::now();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.build().unwrap().start();

    gate.wait_for(1).await;

    // 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s, less a fifth at most.
    let waited = start.elapsed();
    assert!(waited >= SECOND * 31 / 10 * 4 / 5 && waited <= SECOND * 33 / 10, "{waited:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_tasks_are_claimed_in_few_calls_of_at_most_1000() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    gate.open_for(4000);
    enqueue_numbers(&spy, 4000).await;
    let builder = Worker::builder(spy.clone()).data_arc(gate).handler(at_gate).concurrency(2000);

    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 4000);
    let limits = spy.calls(Call::Dequeue);
    assert!(limits.iter().all(|limit| *limit <= 1000) && limits.len() <= 10, "{limits:?}");
}

#[tokio::test(start_paused = true)]
async fn with_nothing_configured_quick_tasks_are_claimed_in_large_batches() {
    async fn quick(_: Number) {}
    let spy = Spy::on(queue());
    enqueue_numbers(&spy.queue, 10_000).await;

    let report = Worker::builder(spy.clone()).handler(quick).build().unwrap().drain().await;

    let claims = spy.calls(Call::Dequeue);
    assert_eq!(report.completed, 10_000);
    assert!(claims.len() <= 40, "{} claims: {claims:?}", claims.len());
}

#[tokio::test(start_paused = true)]
async fn with_nothing_configured_no_long_task_is_claimed_ahead() {
    async fn long(_: Number) {
        tokio::time::sleep(60 * SECOND).await;
    }
    let queue = queue();
    enqueue_numbers(&queue, 50).await;
    let running = Worker::builder(queue.clone()).handler(long).concurrency(4).build().unwrap().start();

    for _ in 0..5 {
        tokio::time::sleep(59 * SECOND).await;
        assert_eq!(count(&queue, Status::Running).await, 4);
    }

    running.stop().await;
}
