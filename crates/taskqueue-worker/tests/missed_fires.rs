//! What becomes of fires that something is in the way of: no worker, a database that fails, a key that is held, a clock that is set.

#![allow(clippy::unwrap_used, reason = "these are tests, though partly outside a test function")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use support::fires::{Lines, Log, MINUTE, minutes, note, start, start_removing, stop};
use support::spy::{Call, Spy};
use support::{Number, SECOND, queue, wait_until};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::core::{Clock, ManualClock, Status, Timestamp, clock};
use taskqueue_worker::testing::TokioClock;
use taskqueue_worker::{Data, NewTask, Periodic, Queue, TaskContext, Worker};

#[tokio::test(start_paused = true)]
async fn of_the_fires_that_no_worker_saw_the_one_that_was_enqueued_ahead_runs() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let running = start(&queue, &log);
    tokio::time::sleep(MINUTE * 5 / 2).await;
    running.stop().await;
    tokio::time::sleep(60 * MINUTE).await;

    let running = start(&queue, &log);
    tokio::time::sleep(2 * MINUTE).await;

    assert_eq!(log.fires(), [1, 2, 3, 63, 64]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_database_that_fails_for_less_than_the_time_between_two_fires_loses_none() {
    for call in [Call::Enqueue, Call::Now] {
        let (spy, log) = (Spy::on(queue()), Arc::new(Log::default()));
        let running = start(&spy, &log);
        for fires in 1..=10 {
            wait_until("it has fired", async || log.fires().len() == fires).await;
            // With their waits these take half a minute.
            spy.fail(call, 10);
        }

        assert_eq!(log.fires(), minutes(1..=10));
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_database_that_ends_two_seconds_before_a_fire_loses_none() {
    for call in [Call::Enqueue, Call::Now] {
        let (spy, log) = (Spy::on(queue()), Arc::new(Log::default()));
        let running = start(&spy, &log);
        for _ in 0..5 {
            // From before a fire, which is in the queue by then, until shortly before the next.
            tokio::time::sleep(55 * SECOND).await;
            spy.fail(call, usize::MAX);
            tokio::time::sleep(63 * SECOND).await;
            spy.fail(call, 0);
            tokio::time::sleep(2 * SECOND).await;
        }
        tokio::time::sleep(5 * SECOND).await;

        assert_eq!(log.fires(), minutes(1..=10), "{call:?}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_fails_for_longer_leaves_the_fire_that_was_enqueued_ahead_and_goes_on() {
    let (spy, log) = (Spy::on(queue()), Arc::new(Log::default()));
    let running = start(&spy, &log);
    tokio::time::sleep(MINUTE * 3 / 2).await;
    spy.refuse(Call::Now, 100);
    tokio::time::sleep(15 * MINUTE).await;

    let fires = log.fires();

    assert_eq!(fires[..2], [1, 2]);
    assert!(fires.len() < 14 && fires.ends_with(&[15, 16]), "{fires:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_a_unique_key_fires_do_not_overlap_and_none_is_left_out_whose_time_is_after_the_end_of_the_last()
{
    async fn slow(number: Number, cx: TaskContext, log: Data<Log>) {
        note(number, cx, log.clone()).await;
        let is_second = log.fires().len() == 2;
        tokio::time::sleep(if is_second { 3 * MINUTE } else { 30 * SECOND }).await;
    }
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let start = || {
        let worker = Worker::builder(queue.clone()).data_arc(Arc::clone(&log)).handler(slow);
        worker.periodic(one_at_a_time(MINUTE)).build().unwrap().start()
    };
    let workers = [start(), start()];
    tokio::time::sleep(MINUTE * 17 / 2).await;
    // The second runs until after the fifth minute has begun, the others for half a minute.
    assert_eq!(log.fires(), [1, 2, 6, 7, 8]);
    for left_out in 3..=5 {
        let line = format!("fire=\"2026-01-01T00:0{left_out}:00Z\"");
        assert_eq!(lines.with(&line).len(), 2, "each worker tells it once");
    }
    assert_eq!(lines.with("left out").len(), 6);
    stop(workers).await;
}

#[tokio::test(start_paused = true)]
async fn with_a_unique_key_a_fire_is_not_left_out_where_the_one_before_ends_shortly_before_its_time() {
    async fn seven_seconds(number: Number, cx: TaskContext, log: Data<Log>) {
        note(number, cx, log).await;
        tokio::time::sleep(7 * SECOND).await;
    }
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let worker = Worker::builder(queue.clone()).data_arc(Arc::clone(&log)).handler(seven_seconds);
    let running = worker.periodic(one_at_a_time(10 * SECOND)).build().unwrap().start();

    tokio::time::sleep(10 * MINUTE + 5 * SECOND).await;

    assert_eq!(lines.with("left out"), [""; 0]);
    assert_eq!(log.fires().len(), 60);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fire_is_not_told_as_left_out_that_another_worker_has_enqueued() {
    async fn half_a_minute(number: Number, cx: TaskContext, log: Data<Log>) {
        note(number, cx, log).await;
        tokio::time::sleep(30 * SECOND).await;
    }
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let start = |queue: Spy| {
        let worker = Worker::builder(queue).data_arc(Arc::clone(&log)).handler(half_a_minute);
        worker.periodic(one_at_a_time(MINUTE)).build().unwrap().start()
    };
    let cut_off = Spy::on(queue.clone());
    let workers = [start(Spy::on(queue)), start(cut_off.clone())];
    tokio::time::sleep(75 * SECOND).await;
    // It has found the key held by the first fire, and is back when the second has begun.
    cut_off.fail(Call::Now, usize::MAX);
    tokio::time::sleep(60 * SECOND).await;
    cut_off.fail(Call::Now, 0);
    tokio::time::sleep(60 * SECOND).await;

    assert_eq!(log.fires(), [1, 2, 3]);
    assert_eq!(lines.with("is enqueued again").len(), 1);
    assert_eq!(lines.with("left out"), [""; 0]);
    stop(workers).await;
}

/// Fires that do not overlap.
fn one_at_a_time(interval: Duration) -> Periodic {
    let task = NewTask::new(&Number { n: 1 }).unwrap().unique_key("count");
    Periodic::every("count", interval, task).unwrap()
}

/// Tokio's time, set forward or back by so many seconds.
#[derive(Debug)]
struct SetClock(TokioClock, Arc<AtomicI64>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let seconds = self.1.load(Ordering::SeqCst);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { clock::subtract(self.0.now(), by) } else { clock::add(self.0.now(), by) }
    }
}

/// A queue whose clock is set by as many seconds as the other says.
fn queue_to_set() -> (MemoryQueue, Arc<AtomicI64>) {
    let set_by = Arc::new(AtomicI64::new(0));
    let clock: Arc<dyn Clock> = Arc::new(SetClock(TokioClock::new(), Arc::clone(&set_by)));
    (MemoryQueue::with_config(MemoryConfig { clock, ..MemoryConfig::default() }).unwrap(), set_by)
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_or_forward_repeats_no_fire() {
    let ((queue, set_by), log) = (queue_to_set(), Arc::new(Log::default()));
    let running = start_removing(&queue, &log);
    tokio::time::sleep(MINUTE * 5 / 2).await;
    set_by.store(-120, Ordering::SeqCst);
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(log.fires(), minutes(1..=6));
    set_by.store(480, Ordering::SeqCst);
    tokio::time::sleep(3 * MINUTE).await;
    // The clock went from half past 6 to half past 16: the worker looks before 17, or after it.
    let fires = log.fires().into_iter().filter(|fire| *fire != 17).collect::<Vec<_>>();
    assert_eq!(fires, [minutes(1..=7), minutes(18..=19)].concat());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_a_year_ahead_for_a_minute_silences_no_periodic_task_for_a_year() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let ((queue, set_by), log) = (queue_to_set(), Arc::new(Log::default()));
    let running = start(&queue, &log);
    tokio::time::sleep(MINUTE * 5 / 2).await;
    set_by.store(365 * 24 * 3600, Ordering::SeqCst);
    tokio::time::sleep(MINUTE).await;
    set_by.store(0, Ordering::SeqCst);
    tokio::time::sleep(6 * MINUTE).await;

    // The worker looks once a minute: it may find out after the fourth, and may have enqueued the third of next year.
    let fires = log.fires().into_iter().filter(|fire| *fire != 4 && *fire < 60).collect::<Vec<_>>();
    assert_eq!(fires, [minutes(1..=3), minutes(5..=9)].concat());
    let warned = lines.with("went back");
    assert!(warned.len() == 1 && warned[0].contains("last=\"2027-01-01T00:04:00Z\""), "{warned:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_clock_is_set_forward_the_next_fire_is_enqueued_within_a_minute() {
    let ((queue, set_by), log) = (queue_to_set(), Arc::new(Log::default()));
    let hourly = Periodic::every("hourly", 60 * MINUTE, Number { n: 1 }).unwrap();
    let worker =
        Worker::builder(queue.clone()).data_arc(Arc::clone(&log)).handler(note).periodic(hourly.clone());
    let running = worker.build().unwrap().start();
    tokio::time::sleep(MINUTE / 2).await;
    set_by.store(90 * 60, Ordering::SeqCst);
    tokio::time::sleep(MINUTE).await;
    let next = hourly.task_at(ManualClock::default().now() + 120 * MINUTE);
    assert_eq!(queue.get(next.id).await.unwrap().status, Status::Pending);
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(log.fires(), [60, 120]);
    running.stop().await;
}
