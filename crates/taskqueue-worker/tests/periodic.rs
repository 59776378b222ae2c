//! Periodic tasks: one task a fire, however many workers there are, whoever comes late and whatever fails.

#![allow(clippy::unwrap_used, reason = "these are tests, though partly outside a test function")]

mod support;

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::spy::{Call, Spy};
use support::{Letter, Number, SECOND, count, number_type, queue, queue_with, wait_until};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::core::{Clock, ErrorKind, ManualClock, Status, TaskFilter, Timestamp, clock};
use taskqueue_worker::testing::TokioClock;
use taskqueue_worker::{
    Data, MaintenanceConfig, NewTask, Periodic, Queue, RunningWorker, TaskContext, Worker, WorkerBuilder,
};
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const MINUTE: Duration = Duration::from_secs(60);

/// The fires that were handled, in minutes since the queue's clock was started.
#[derive(Default)]
struct Log(Mutex<Vec<i64>>);

impl Log {
    fn note(&self, fire: i64) {
        self.0.lock().unwrap().push(fire);
    }

    fn fires(&self) -> Vec<i64> {
        self.0.lock().unwrap().clone()
    }
}

async fn note(_: Number, cx: TaskContext, log: Data<Log>) {
    let fire: Timestamp = cx.metadata()["fire_at"].parse().unwrap();
    log.note((fire - ManualClock::default().now()).num_minutes());
}

/// Once a minute. The clock is started on the minute: the first fire is a minute later.
fn each_minute() -> Periodic {
    Periodic::every("count", MINUTE, Number { n: 1 }).unwrap()
}

fn builder(queue: &(impl Queue + Clone), log: &Arc<Log>) -> WorkerBuilder {
    Worker::builder(queue.clone()).data_arc(Arc::clone(log)).handler(note).periodic(each_minute())
}

fn start(queue: &(impl Queue + Clone), log: &Arc<Log>) -> RunningWorker {
    builder(queue, log).build().unwrap().start()
}

/// Removes finished tasks within a second, as a queue does that deletes what is completed.
fn start_removing(queue: &(impl Queue + Clone), log: &Arc<Log>) -> RunningWorker {
    let removes = MaintenanceConfig::default().retention(Duration::ZERO).cleanup_interval(SECOND);
    builder(queue, log).maintenance(removes).build().unwrap().start()
}

async fn stop(workers: impl IntoIterator<Item = RunningWorker>) {
    for worker in workers {
        worker.stop().await;
    }
}

fn minutes(range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test(start_paused = true)]
async fn three_workers_make_one_task_of_each_fire_and_one_that_starts_late_none_more() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let mut workers = vec![start(&queue, &log), start(&queue, &log)];
    tokio::time::sleep(MINUTE * 11 / 2).await;
    workers.push(start(&queue, &log));
    tokio::time::sleep(5 * MINUTE).await;

    assert_eq!(log.fires(), minutes(1..=10));
    assert_eq!((count(&queue, Status::Completed).await, count(&queue, Status::Pending).await), (10, 1));
    stop(workers).await;
}

#[tokio::test(start_paused = true)]
async fn no_fire_is_made_again_where_finished_tasks_are_removed() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let mut workers = vec![start_removing(&queue, &log), start_removing(&queue, &log)];
    tokio::time::sleep(5 * MINUTE + 3 * SECOND).await;
    assert_eq!(count(&queue, Status::Completed).await, 0, "the fifth is removed");
    workers.push(start_removing(&queue, &log));
    tokio::time::sleep(MINUTE * 11 / 2).await;

    assert_eq!(log.fires(), minutes(1..=10));
    stop(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_fire_is_in_the_queue_ahead_of_its_time_and_delayed_until_then() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let running = start(&queue, &log);
    let fire = ManualClock::default().now() + MINUTE;
    let expected = each_minute().task_at(fire);
    wait_until("it is in the queue", async || queue.get(expected.id).await.is_ok()).await;

    let ahead = queue.get(expected.id).await.unwrap();

    assert_eq!((ahead.status, ahead.scheduled_at, ahead.attempts), (Status::Pending, fire, 0));
    assert!(ahead.created_at < fire - MINUTE / 2);
    let done = support::wait_for_status(&queue, expected.id, Status::Completed).await;
    let late = (done.started_at.unwrap() - fire).num_milliseconds();
    assert!((0..=600).contains(&late), "it starts as soon as a delayed task does, not {late} ms late");
    running.stop().await;
}

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
async fn a_periodic_task_that_is_refused_does_not_hold_up_another() {
    let config = MemoryConfig { payload_bytes_max: 10, ..MemoryConfig::default() };
    let (queue, log) = (queue_with(config), Arc::new(Log::default()));
    let large = NewTask::json("letter", "too long for this queue").unwrap();
    let worker = builder(&queue, &log).periodic(Periodic::every("large", MINUTE, large).unwrap());
    let running = worker.build().unwrap().start();
    tokio::time::sleep(MINUTE * 7 / 2).await;
    assert_eq!(log.fires(), minutes(1..=3));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fire_whose_type_has_no_handler_here_is_anothers() {
    async fn letter(_: Letter) {}
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let only_enqueues = Worker::builder(queue.clone()).handler(letter).periodic(each_minute());
    let handles = Worker::builder(queue.clone()).data_arc(Arc::clone(&log)).handler(note);
    let workers = [only_enqueues.build().unwrap().start(), handles.build().unwrap().start()];
    tokio::time::sleep(MINUTE * 7 / 2).await;
    assert_eq!(log.fires(), minutes(1..=3));
    stop(workers).await;
}

#[tokio::test(start_paused = true)]
async fn the_fires_of_a_paused_type_wait_until_it_is_resumed() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let running = start(&queue, &log);
    queue.pause(&number_type()).await.unwrap();
    tokio::time::sleep(MINUTE * 7 / 2).await;
    assert!(log.fires().is_empty());
    queue.resume(&number_type()).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(log.fires(), minutes(1..=4));
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
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let task = NewTask::new(&Number { n: 1 }).unwrap().unique_key("count");
    let start = || {
        let worker = Worker::builder(queue.clone()).data_arc(Arc::clone(&log)).handler(slow);
        worker.periodic(Periodic::every("count", MINUTE, task.clone()).unwrap()).build().unwrap().start()
    };
    let workers = [start(), start()];
    tokio::time::sleep(MINUTE * 17 / 2).await;
    // The second runs until after the fifth minute has begun, the others for half a minute.
    assert_eq!(log.fires(), [1, 2, 6, 7, 8]);
    stop(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_neither_waits_for_fires_nor_enqueues_any_but_works_those_that_are_due() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    assert_eq!(builder(&queue, &log).build().unwrap().drain().await.completed, 0);
    assert_eq!(count(&queue, Status::Pending).await, 0);
    let running = start(&queue, &log);
    tokio::time::sleep(MINUTE / 2).await;
    running.stop().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(builder(&queue, &log).build().unwrap().drain().await.completed, 1);
    assert_eq!(queue.list(&TaskFilter::default()).await.unwrap().tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_a_fire_stops_at_once_and_enqueues_no_more() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let running = start(&queue, &log);
    tokio::time::sleep(MINUTE / 2).await;
    let asked_at = tokio::time::Instant::now();
    running.stop().await;
    assert!(asked_at.elapsed() < SECOND, "{:?}", asked_at.elapsed());
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(count(&queue, Status::Pending).await, 1);
}

/// Keeps what is logged on this thread, a line an event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn with(&self, text: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &Field, value: &dyn Debug| line.push_str(&format!(" {field}={value:?}")));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn the_next_fires_are_logged_once_and_a_failing_database_once_a_failure() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (spy, log) = (Spy::on(queue()), Arc::new(Log::default()));
    let yearly = Periodic::cron("yearly", "@yearly", Letter { c: 'a' }).unwrap();
    let running = builder(&spy, &log).periodic(yearly).build().unwrap().start();
    tokio::time::sleep(MINUTE / 2).await;
    for _ in 0..2 {
        spy.fail(Call::Enqueue, 10);
        tokio::time::sleep(2 * MINUTE).await;
    }

    let expected =
        "INFO message=periodic tasks next=\"count at 2026-01-01T00:01:00Z, yearly at 2027-01-01T00:00:00Z\"";
    assert_eq!(lines.with("periodic tasks"), [expected]);
    assert_eq!(lines.with("could not be enqueued").len(), 2, "{:?}", lines.with("WARN"));
    assert_eq!(lines.with("is enqueued again").len(), 2);
    running.stop().await;
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

#[tokio::test(start_paused = true)]
async fn only_the_worker_that_makes_a_fires_task_counts_it() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = ::metrics::set_default_local_recorder(&recorder);
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let workers = [(); 3].map(|()| start(&queue, &log));
    tokio::time::sleep(MINUTE * 7 / 2).await;
    stop(workers).await;

    let metrics = snapshotter.snapshot().into_vec();
    let found = metrics.iter().find(|(key, ..)| key.key().name() == "zapfs_taskqueue_tasks_enqueued_total");
    assert!(matches!(found, Some((.., DebugValue::Counter(4)))), "{found:?}");
}

#[tokio::test]
async fn two_periodic_tasks_of_one_name_are_refused() {
    let (queue, log) = (queue(), Arc::new(Log::default()));
    let hourly = Periodic::every("count", 60 * MINUTE, Letter { c: 'a' }).unwrap();
    let error = builder(&queue, &log).periodic(hourly).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("two periodic tasks of the name \"count\""), "{error}");
}
