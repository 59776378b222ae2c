//! What a worker does for the queue on timers, and what it counts.

mod support;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, enqueue_numbers, number_type, queue, wait_until};
use taskqueue_worker::core::{ErrorKind, Redrive, Status};
use taskqueue_worker::{
    Configure, MaintenanceConfig, NewTask, Outcome, Queue, RetryPolicy, TaskContext, TaskError, Worker,
    WorkerId,
};

#[tokio::test(start_paused = true)]
async fn delayed_tasks_and_retries_start_when_they_are_due() {
    async fn second_time_lucky(_: Number, cx: TaskContext) -> anyhow::Result<()> {
        anyhow::ensure!(cx.attempt() == 2, "not yet");
        Ok(())
    }
    let queue = queue();
    let id = queue.enqueue(NewTask::new(&Number { n: 1 }).unwrap().delay(60 * SECOND)).await.unwrap();
    let handler = second_time_lucky.retry(RetryPolicy::fixed(30 * SECOND));
    let running = Worker::builder(queue.clone()).handler(handler).build().unwrap().start();

    let task = support::wait_for_status(&queue, id, Status::Completed).await;

    assert_eq!(task.attempts, 2);
    let took = (task.completed_at.unwrap() - task.created_at).num_milliseconds();
    assert!((90_000..=90_600).contains(&took), "due after 60 s and again after 30 s; it took {took} ms");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_a_dead_worker_are_taken_back_and_handled() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(1);
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let dead = WorkerId::new("dead").unwrap();
    let claim = queue.dequeue(&dead, &[number_type()]).await.unwrap();
    assert!(claim.is_some());
    let running = Worker::builder(queue.clone()).data_arc(gate).handler(at_gate).build().unwrap().start();

    let task = support::wait_for_status(&queue, id, Status::Completed).await;

    assert_eq!((task.attempts, task.reclaims), (2, 1));
    assert_eq!(task.worker_id.as_ref(), Some(running.id()));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn finished_tasks_are_kept_unless_a_retention_is_set_and_then_removed_past_it() {
    async fn quick(_: Number) {}
    let queue = queue();
    let ids = enqueue_numbers(&queue, 3).await;
    let keeping = Worker::builder(queue.clone()).handler(quick).build().unwrap().start();
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(support::count(&queue, Status::Completed).await, 3);
    keeping.stop().await;
    let later = queue.enqueue(Number { n: 4 }).await.unwrap();

    let retention = MaintenanceConfig::default().retention(600 * SECOND);
    let removing =
        Worker::builder(queue.clone()).handler(quick).maintenance(retention).build().unwrap().start();
    let is_gone = async |id| queue.get(id).await.is_err_and(|error| error.kind() == ErrorKind::TaskNotFound);
    wait_until("the old ones are gone", async || is_gone(ids[2]).await).await;

    assert_eq!(queue.get(later).await.unwrap().status, Status::Completed);
    removing.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_outlive_the_retention_and_go_past_their_own() {
    async fn never(_: Number) -> Result<(), TaskError> {
        Err(TaskError::permanent("no"))
    }
    let queue = queue();
    let id = enqueue_numbers(&queue, 1).await[0];
    let work = |maintenance| {
        Worker::builder(queue.clone()).handler(never).maintenance(maintenance).build().unwrap().start()
    };
    let retention = MaintenanceConfig::default().retention(SECOND);
    let keeping = work(retention.clone());
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(queue.get(id).await.unwrap().status, Status::DeadLetter);
    keeping.stop().await;
    let later = enqueue_numbers(&queue, 1).await[0];

    let removing = work(retention.dead_letter_retention(600 * SECOND));
    let is_gone = async |id| queue.get(id).await.is_err_and(|error| error.kind() == ErrorKind::TaskNotFound);
    wait_until("the old one is gone", async || is_gone(id).await).await;

    assert_eq!(queue.get(later).await.unwrap().status, Status::DeadLetter);
    removing.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_maintenance_is_off_promotes_nothing() {
    async fn quick(_: Number) {}
    let queue = queue();
    let id = queue.enqueue(NewTask::new(&Number { n: 1 }).unwrap().delay(SECOND)).await.unwrap();
    let builder = Worker::builder(queue.clone()).handler(quick).maintenance(MaintenanceConfig::off());

    let running = builder.build().unwrap().start();
    tokio::time::sleep(3600 * SECOND).await;

    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn samples_of_the_depth_take_a_twentieth_of_the_time_at_most() {
    async fn quick(_: Number) {}
    let spy = Spy::with_slow_stats(queue(), 10 * SECOND);
    let running = Worker::builder(std::sync::Arc::new(spy.clone())).handler(quick).build().unwrap().start();

    tokio::time::sleep(3600 * SECOND).await;

    let samples = spy.calls(Call::Stats).len();
    assert!(
        (17..=18).contains(&samples),
        "one of 10 s each 200 s, not each 25 s; there were {samples} in an hour"
    );
    running.stop().await;
}

/// By how much the gauge of handlers at work has changed since the last look: a snapshot takes what it reads.
fn active_change(snapshotter: &Snapshotter) -> f64 {
    let metrics = snapshotter.snapshot().into_vec();
    let gauge = metrics.iter().find(|(key, ..)| key.key().name() == "zapfs_taskqueue_workers_active");
    match gauge {
        Some((.., DebugValue::Gauge(level))) => level.into_inner(),
        _ => 0.0,
    }
}

#[test]
fn workers_of_one_process_add_up_to_the_handlers_at_work_and_idle_ones_count_none() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (queue, gate) = (queue(), Gate::closed());
            let worker = || {
                let builder = Worker::builder(queue.clone()).data_arc(std::sync::Arc::clone(&gate));
                builder.handler(at_gate).concurrency(2).prefetch(0).build().unwrap().start()
            };
            enqueue_numbers(&queue, 3).await;
            let workers = [worker(), worker()];
            gate.wait_for(3).await;
            assert_eq!(active_change(&snapshotter), 3.0);

            gate.open_for(1);
            let settled = async || workers.iter().map(|worker| worker.report().completed).sum::<u64>();
            wait_until("one is done", async || settled().await == 1).await;
            assert_eq!(active_change(&snapshotter), -1.0);

            gate.open_for(2);
            wait_until("all are done", async || settled().await == 3).await;
            assert_eq!(active_change(&snapshotter), -2.0);
            drop(workers);
        });
    });
}

#[test]
fn a_redriven_task_waited_from_its_redrive() {
    async fn quick(_: Number) {}
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let queue = queue();
            let id = enqueue_numbers(&queue, 1).await[0];
            let claim = queue.dequeue(&WorkerId::new("ada").unwrap(), &[number_type()]).await.unwrap();
            queue.settle(claim.unwrap().lease, Outcome::permanent("no")).await.unwrap();
            tokio::time::sleep(7 * 24 * 3600 * SECOND).await;
            queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap();
            let running = Worker::builder(queue).handler(quick).build().unwrap().start();
            tokio::time::sleep(SECOND).await;
            running.stop().await;
        });
    });

    let waits = snapshotter.snapshot().into_vec().into_iter().filter_map(|(key, .., value)| match value {
        DebugValue::Histogram(samples) if key.key().name().ends_with("_task_wait_duration_seconds") => {
            Some(samples.into_iter().map(f64::from).collect::<Vec<f64>>())
        }
        _ => None,
    });
    let waits: Vec<f64> = waits.flatten().collect();
    assert!(matches!(waits[..], [wait] if wait < 1.0), "not the week since it was enqueued: {waits:?}");
}

#[test]
fn each_settled_task_is_counted_once_and_timed_by_its_type() {
    async fn third_fails(number: Number) -> anyhow::Result<()> {
        anyhow::ensure!(number.n != 3, "three");
        Ok(())
    }
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let queue = queue();
            enqueue_numbers(&queue, 5).await;
            let running = Worker::builder(queue).handler(third_fails).build().unwrap().start();
            tokio::time::sleep(SECOND).await;
            running.stop().await;
        });
    });

    let metrics = snapshotter.snapshot().into_vec();
    let value = |name: &str, label: &str| {
        let found = metrics.iter().find(|(key, ..)| {
            let is_labelled = label.is_empty() || key.key().labels().any(|of_key| of_key.value() == label);
            key.key().name() == name && is_labelled
        });
        found.map(|(.., value)| match value {
            DebugValue::Counter(count) => *count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(level) => level.into_inner() as u64,
        })
    };
    assert_eq!(value("zapfs_taskqueue_tasks_processed_total", "completed"), Some(4));
    assert_eq!(value("zapfs_taskqueue_tasks_processed_total", "failed"), Some(1));
    assert_eq!(value("zapfs_taskqueue_task_retries_total", "number"), Some(1));
    assert_eq!(value("zapfs_taskqueue_task_processing_duration_seconds", "number"), Some(5));
    assert_eq!(value("zapfs_taskqueue_task_wait_duration_seconds", "number"), Some(5));
    assert_eq!(value("zapfs_taskqueue_workers_active", ""), Some(0));
}

#[tokio::test(start_paused = true)]
async fn maintenance_that_fails_is_tried_ever_less_often_until_it_works_again() {
    async fn quick(_: Number) {}
    let spy = Spy::deaf(queue());
    let running = Worker::builder(spy.clone()).handler(quick).build().unwrap().start();
    let promotions = async |seconds: u32| {
        let before = spy.calls(Call::Promote).len();
        tokio::time::sleep(seconds * SECOND).await;
        spy.calls(Call::Promote).len() - before
    };
    spy.refuse(Call::Promote, usize::MAX);

    let (first, later) = (promotions(60).await, promotions(600).await);
    spy.refuse(Call::Promote, 0);
    promotions(6).await;
    let after = promotions(60).await;

    assert!(
        (12..=25).contains(&first) && (120..=150).contains(&later),
        "{first} in a minute, then {later} in ten"
    );
    assert!((240..=300).contains(&after), "{after} in a minute when it worked again");
    running.stop().await;
}
