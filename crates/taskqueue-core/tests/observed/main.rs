//! The metrics of an observed queue: names and labels exactly as the reference has them, and what moves them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod scripted;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use taskqueue_core::metrics::{Metrics, Processed};
use taskqueue_core::{
    ClaimRequest, Clock, Enqueued, Heartbeat, Lease, LeaseToken, ManualClock, NewTask, Observed, Outcome,
    Queue, QueueStats, Settled, Settlement, TaskId, TaskType, WorkerId,
};

use crate::scripted::Scripted;

/// What was recorded: `kind name{label=value}` and the value, a histogram's being the number of its samples.
fn recorded<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(test()));
    let series = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let kind = match key.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let value = match value {
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(samples) => samples.len() as f64,
        };
        (format!("{kind} {}{{{}}}", key.key().name(), labels.join(",")), value)
    });
    // Handles of a type are made together; those that never moved say nothing.
    series.filter(|(_, value)| *value != 0.0).collect()
}

fn assert_recorded(recorded: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    let expected: BTreeMap<String, f64> =
        expected.iter().map(|(series, value)| ((*series).to_owned(), *value)).collect();
    assert_eq!(recorded, &expected);
}

fn task(name: &str) -> NewTask {
    NewTask::raw(name, "{}").unwrap()
}

fn lease(name: &str, attempt: u32) -> Lease {
    Lease {
        task_id: TaskId::generate(),
        task_type: TaskType::new(name).unwrap(),
        token: LeaseToken::generate(),
        number: 1,
        attempt,
        max_retries: 3,
        claimed_at: ManualClock::default().now(),
        until: ManualClock::default().now(),
    }
}

#[test]
fn the_metrics_have_exactly_these_names_and_labels() {
    let recorded = recorded(|| async {
        let metrics = Metrics::default();
        let mail = TaskType::new("mail").unwrap();
        metrics.of_type(&mail).enqueued(2);
        metrics.of_type(&mail).processed(Processed::Completed, 1);
        metrics.of_type(&mail).processed(Processed::Failed, 1);
        metrics.of_type(&mail).processed(Processed::NoHandler, 1);
        metrics.of_type(&mail).retried(1);
        metrics.of_type(&mail).processing(Duration::from_millis(5));
        metrics.of_type(&mail).waited(Duration::from_millis(5));
        metrics.dequeue_error();
        metrics.contention_retries(3);
        metrics.leases_lost(1);
        metrics.reclaimed(1);
        metrics.settle_batch(10);
        std::mem::forget([(); 4].map(|()| metrics.worker_active()));
        drop(metrics.worker_active());
        let dead_letter_by_type = [(mail, 8)].into();
        let stats = QueueStats { pending: 5, running: 6, failed: 7, ..QueueStats::default() };
        metrics.depth(&QueueStats { dead_letter_by_type, ..stats });
        metrics.oldest_pending_age(Some(Duration::from_secs(9)));
    });
    assert_recorded(
        &recorded,
        &[
            // The reference's.
            ("counter zapfs_taskqueue_tasks_processed_total{type=mail,status=completed}", 1.0),
            ("counter zapfs_taskqueue_tasks_processed_total{type=mail,status=failed}", 1.0),
            ("counter zapfs_taskqueue_tasks_processed_total{type=mail,status=no_handler}", 1.0),
            ("counter zapfs_taskqueue_tasks_enqueued_total{type=mail}", 2.0),
            ("counter zapfs_taskqueue_task_retries_total{type=mail}", 1.0),
            ("counter zapfs_taskqueue_dequeue_errors_total{}", 1.0),
            ("counter zapfs_taskqueue_deadlock_retries_total{}", 3.0),
            ("histogram zapfs_taskqueue_task_processing_duration_seconds{type=mail}", 1.0),
            ("gauge zapfs_taskqueue_queue_depth{status=pending}", 5.0),
            ("gauge zapfs_taskqueue_queue_depth{status=running}", 6.0),
            ("gauge zapfs_taskqueue_queue_depth{status=failed}", 7.0),
            ("gauge zapfs_taskqueue_workers_active{}", 4.0),
            // Ours.
            ("histogram zapfs_taskqueue_task_wait_duration_seconds{type=mail}", 1.0),
            ("histogram zapfs_taskqueue_settle_batch_size{}", 1.0),
            ("counter zapfs_taskqueue_leases_lost_total{}", 1.0),
            ("counter zapfs_taskqueue_reclaims_total{}", 1.0),
            ("gauge zapfs_taskqueue_oldest_pending_age_seconds{}", 9.0),
            ("gauge zapfs_taskqueue_dead_letters{type=mail}", 8.0),
        ],
    );
}

#[test]
fn a_type_whose_dead_letters_have_gone_shows_none() {
    let recorded = recorded(|| async {
        let metrics = Metrics::default();
        let mut stats = QueueStats::default();
        for (name, tasks) in [("mail", 3), ("event", 2)] {
            stats.dead_letter_by_type.insert(TaskType::new(name).unwrap(), tasks);
        }
        metrics.depth(&stats);
        stats.dead_letter_by_type.remove(&TaskType::new("mail").unwrap());
        metrics.depth(&stats);
    });
    assert_recorded(&recorded, &[("gauge zapfs_taskqueue_dead_letters{type=event}", 2.0)]);
}

#[test]
fn the_age_of_the_oldest_task_is_by_the_queues_clock() {
    let recorded = recorded(|| async {
        let now = ManualClock::default().now();
        let oldest_pending = Some(now - chrono::TimeDelta::seconds(10));
        let stats = QueueStats { pending: 1, oldest_pending, ..QueueStats::default() };
        let queue = Observed::new(Scripted { stats, now: Some(now), ..Scripted::default() });
        queue.stats().await.unwrap();
    });
    let depth = ("gauge zapfs_taskqueue_queue_depth{status=pending}", 1.0);
    assert_recorded(&recorded, &[depth, ("gauge zapfs_taskqueue_oldest_pending_age_seconds{}", 10.0)]);
}

#[test]
fn statistics_are_answered_where_the_queue_does_not_say_its_time() {
    let recorded = recorded(|| async {
        let oldest_pending = Some(ManualClock::default().now());
        let stats = QueueStats { pending: 1, oldest_pending, ..QueueStats::default() };
        let queue = Observed::new(Scripted { stats: stats.clone(), now: None, ..Scripted::default() });
        assert_eq!(queue.stats().await.unwrap(), stats);
    });
    assert_recorded(&recorded, &[("gauge zapfs_taskqueue_queue_depth{status=pending}", 1.0)]);
}

#[test]
fn the_duration_buckets_are_those_of_the_reference() {
    let buckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    assert_eq!(taskqueue_core::metrics::DURATION_BUCKETS, buckets);
}

#[test]
fn the_namespace_can_be_changed() {
    assert_eq!(Metrics::new("shop").name("workers_active"), "shop_taskqueue_workers_active");
}

#[test]
fn only_tasks_that_were_created_count_as_enqueued() {
    let recorded = recorded(|| async {
        let id = TaskId::generate();
        let queue = Scripted {
            enqueued: vec![
                Enqueued::Created(id),
                Enqueued::Created(id),
                Enqueued::Repeated(id),
                Enqueued::Duplicate(id),
                Enqueued::Created(id),
            ]
            .into(),
            ..Scripted::default()
        };
        let tasks = ["a", "b", "a", "a", "a"].map(task).to_vec();
        Observed::new(queue).enqueue_many(tasks).await.unwrap();
    });
    assert_recorded(
        &recorded,
        &[
            ("counter zapfs_taskqueue_tasks_enqueued_total{type=a}", 2.0),
            ("counter zapfs_taskqueue_tasks_enqueued_total{type=b}", 1.0),
        ],
    );
}

#[test]
fn each_applied_settle_counts_by_what_became_of_the_task() {
    let recorded = recorded(|| async {
        let settlements = vec![
            Settlement::new(lease("a", 1), Outcome::done().then(task("next"))),
            Settlement::new(lease("a", 1), Outcome::fail("retried")),
            Settlement::new(lease("a", 3), Outcome::fail("its last attempt")),
            Settlement::new(lease("a", 1), Outcome::permanent("no use")),
            Settlement::new(lease("a", 1), Outcome::snooze(Duration::ZERO)),
            Settlement::new(lease("a", 1), Outcome::Release),
        ];
        let settled = vec![Settled::Applied; settlements.len()].into();
        Observed::new(Scripted { settled, ..Scripted::default() }).settle_many(settlements).await.unwrap();
    });
    assert_recorded(
        &recorded,
        &[
            ("counter zapfs_taskqueue_tasks_processed_total{type=a,status=completed}", 1.0),
            ("counter zapfs_taskqueue_tasks_processed_total{type=a,status=failed}", 3.0),
            ("counter zapfs_taskqueue_task_retries_total{type=a}", 1.0),
            ("counter zapfs_taskqueue_tasks_enqueued_total{type=next}", 1.0),
            ("histogram zapfs_taskqueue_settle_batch_size{}", 1.0),
        ],
    );
}

#[test]
fn settles_of_several_types_in_any_order_count_for_their_own() {
    let recorded = recorded(|| async {
        let names = ["a", "b", "a", "a", "b"];
        let settlements: Vec<Settlement> =
            names.iter().map(|name| Settlement::new(lease(name, 1), Outcome::done())).collect();
        let settled =
            vec![Settled::Applied, Settled::Applied, Settled::LeaseLost, Settled::Applied, Settled::Applied]
                .into();
        Observed::new(Scripted { settled, ..Scripted::default() }).settle_many(settlements).await.unwrap();
    });
    assert_recorded(
        &recorded,
        &[
            ("counter zapfs_taskqueue_tasks_processed_total{type=a,status=completed}", 2.0),
            ("counter zapfs_taskqueue_tasks_processed_total{type=b,status=completed}", 2.0),
            ("counter zapfs_taskqueue_leases_lost_total{}", 1.0),
            ("histogram zapfs_taskqueue_settle_batch_size{}", 1.0),
        ],
    );
}

#[test]
fn a_settle_that_was_repeated_or_refused_counts_no_task() {
    let recorded = recorded(|| async {
        let settlements = ["a", "a"].map(|name| Settlement::new(lease(name, 1), Outcome::done())).to_vec();
        let settled = vec![Settled::Repeated, Settled::LeaseLost].into();
        Observed::new(Scripted { settled, ..Scripted::default() }).settle_many(settlements).await.unwrap();
    });
    assert_recorded(
        &recorded,
        &[
            ("counter zapfs_taskqueue_leases_lost_total{}", 1.0),
            ("histogram zapfs_taskqueue_settle_batch_size{}", 1.0),
        ],
    );
}

#[test]
fn a_heartbeat_that_finds_a_lost_lease_counts_it() {
    let recorded = recorded(|| async {
        let heartbeats = vec![Heartbeat::Lost, Heartbeat::Extended, Heartbeat::Lost].into();
        let queue = Observed::new(Scripted { heartbeats, ..Scripted::default() });
        queue.heartbeat_many(&["a", "a", "a"].map(|name| lease(name, 1)), None).await.unwrap();
    });
    assert_recorded(&recorded, &[("counter zapfs_taskqueue_leases_lost_total{}", 2.0)]);
}

#[test]
fn a_claim_that_fails_and_a_reclaim_are_counted() {
    let recorded = recorded(|| async {
        let queue = Observed::new(Scripted::default());
        let worker = WorkerId::new("w").unwrap();
        let request = ClaimRequest::new(worker, [TaskType::new("a").unwrap()], 1);
        queue.dequeue_many(&request).await.unwrap_err();
        queue.reclaim_stale(10).await.unwrap();
    });
    assert_recorded(
        &recorded,
        &[
            ("counter zapfs_taskqueue_dequeue_errors_total{}", 1.0),
            ("counter zapfs_taskqueue_reclaims_total{}", 3.0),
        ],
    );
}

#[test]
fn the_depth_is_sampled_when_statistics_are_asked_for() {
    let recorded = recorded(|| async {
        let stats = QueueStats { pending: 3, completed: 100, ..QueueStats::default() };
        Observed::new(Scripted { stats, ..Scripted::default() }).stats().await.unwrap();
    });
    assert_recorded(&recorded, &[("gauge zapfs_taskqueue_queue_depth{status=pending}", 3.0)]);
}

#[test]
fn transactions_that_were_repeated_are_recorded_once_after_whichever_call_comes_next() {
    let recorded = recorded(|| async {
        let queue = Observed::new(Scripted { repeated: 5.into(), ..Scripted::default() });
        queue.enqueue_many(Vec::new()).await.unwrap();
        queue.promote_due(1).await.unwrap_err();
        queue.inner().repeated.store(2, Ordering::Relaxed);
        queue.promote_due(1).await.unwrap_err();
        queue.stats().await.unwrap();
        // What another instance repeats is added.
        let other = Observed::new(Scripted { repeated: 4.into(), ..Scripted::default() });
        other.stats().await.unwrap();
    });
    assert_recorded(&recorded, &[("counter zapfs_taskqueue_deadlock_retries_total{}", 11.0)]);
}
