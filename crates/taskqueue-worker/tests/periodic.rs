//! Periodic tasks: one task a fire, however many workers there are, whoever comes late and whatever is refused.

#![allow(clippy::unwrap_used, reason = "these are tests, though partly outside a test function")]

mod support;

use std::sync::Arc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::fires::{Lines, Log, MINUTE, builder, each_minute, minutes, note, start, start_removing, stop};
use support::spy::{Call, Spy};
use support::{Letter, SECOND, count, number_type, queue, queue_with, wait_until};
use taskqueue_memory::MemoryConfig;
use taskqueue_worker::core::{Clock, ErrorKind, ManualClock, Status, TaskFilter};
use taskqueue_worker::{NewTask, Periodic, Queue, Worker};

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
