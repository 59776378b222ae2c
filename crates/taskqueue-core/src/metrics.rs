//! Metric names, labels and buckets, and the handles that record them. Labels carry types and outcomes, never
//! ids. Nothing is recorded until the program installs a `metrics` recorder; install it before the first task.

mod describe;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::{QueueStats, TaskType};

/// The default namespace.
pub const NAMESPACE_DEFAULT: &str = "zapfs";
/// The subsystem: the second part of every name.
pub const SUBSYSTEM: &str = "taskqueue";
/// The buckets of every duration histogram, in seconds.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How a handled task ended, for `tasks_processed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processed {
    /// Its handler finished it.
    Completed,
    /// Its attempt failed.
    Failed,
    /// It was claimed, but no handler of its type is there.
    NoHandler,
}

/// The handles of one queue. Cheap to clone; clones share their handles.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    prefix: String,
    by_type: RwLock<HashMap<TaskType, TypeMetrics>>,
    /// The types whose dead letters the last sample showed.
    dead_types: Mutex<BTreeSet<TaskType>>,
}

/// The handles of one type, for whoever records many of its tasks: finding them costs a lock and a hash. Cheap to
/// clone.
#[derive(Clone)]
pub struct TypeMetrics(Arc<TypeHandles>);

struct TypeHandles {
    enqueued: Counter,
    completed: Counter,
    failed: Counter,
    no_handler: Counter,
    retries: Counter,
    processing: Histogram,
    wait: Histogram,
}

impl Metrics {
    /// Metrics named `<namespace>_taskqueue_…`; without a namespace `taskqueue_…`.
    pub fn new(namespace: &str) -> Self {
        let separator = if namespace.is_empty() { "" } else { "_" };
        Self(Arc::new(Inner {
            prefix: format!("{namespace}{separator}{SUBSYSTEM}_"),
            by_type: RwLock::default(),
            dead_types: Mutex::default(),
        }))
    }

    /// The full name of the metric `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.0.prefix)
    }

    /// The handles of a type. They record to the recorder that is installed when a type is first asked for.
    pub fn of_type(&self, task_type: &TaskType) -> TypeMetrics {
        let known = self.0.by_type.read().unwrap_or_else(PoisonError::into_inner).get(task_type).cloned();
        known.unwrap_or_else(|| {
            let mut by_type = self.0.by_type.write().unwrap_or_else(PoisonError::into_inner);
            by_type.entry(task_type.clone()).or_insert_with(|| self.register(task_type)).clone()
        })
    }

    /// Claims that failed.
    pub fn dequeue_error(&self) {
        self.counter("dequeue_errors_total").increment(1);
    }

    /// Transactions that the backend repeated.
    pub fn contention_retries(&self, transactions: u64) {
        self.counter("deadlock_retries_total").increment(transactions);
    }

    /// Leases that turned out to be lost at a settle or a heartbeat.
    pub fn leases_lost(&self, leases: u64) {
        self.counter("leases_lost_total").increment(leases);
    }

    /// Tasks taken back from dead workers.
    pub fn reclaimed(&self, tasks: u64) {
        self.counter("reclaims_total").increment(tasks);
    }

    /// The size of one settle batch.
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    pub fn settle_batch(&self, rows: usize) {
        histogram!(self.name("settle_batch_size")).record(rows as f64);
    }

    /// Counts a handler as at work in this process until the answer is dropped. Workers that share a namespace add up.
    pub fn worker_active(&self) -> ActiveWorker {
        let gauge = self.gauge("workers_active");
        gauge.increment(1.0);
        ActiveWorker(gauge)
    }

    /// A sample of what the queue holds.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn depth(&self, stats: &QueueStats) {
        for (status, depth) in
            [("pending", stats.pending), ("running", stats.running), ("failed", stats.failed)]
        {
            gauge!(self.name("queue_depth"), "status" => status).set(depth as f64);
        }
        self.dead_letters(&stats.dead_letter_by_type);
    }

    /// How long the ready task that has waited longest has been ready; `None` where that is not known at the moment.
    pub fn oldest_pending_age(&self, age: Option<Duration>) {
        if let Some(age) = age {
            self.gauge("oldest_pending_age_seconds").set(age.as_secs_f64());
        }
    }

    /// A type whose last dead letter has gone shows 0, not what it had.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    fn dead_letters(&self, by_type: &BTreeMap<TaskType, u64>) {
        let of_type =
            |task_type: &TaskType| gauge!(self.name("dead_letters"), "type" => task_type.to_string());
        let mut shown = self.0.dead_types.lock().unwrap_or_else(PoisonError::into_inner);
        for task_type in shown.iter().filter(|task_type| !by_type.contains_key(task_type)) {
            of_type(task_type).set(0.0);
        }
        for (task_type, tasks) in by_type {
            of_type(task_type).set(*tasks as f64);
        }
        *shown = by_type.keys().cloned().collect();
    }

    fn counter(&self, name: &str) -> Counter {
        counter!(self.name(name))
    }

    fn gauge(&self, name: &str) -> Gauge {
        gauge!(self.name(name))
    }

    fn register(&self, task_type: &TaskType) -> TypeMetrics {
        let label = task_type.to_string();
        let counter = |name: &str| counter!(self.name(name), "type" => label.clone());
        let processed = |status: &'static str| counter!(self.name("tasks_processed_total"), "type" => label.clone(), "status" => status);
        let duration = |name: &str| histogram!(self.name(name), "type" => label.clone());
        TypeMetrics(Arc::new(TypeHandles {
            enqueued: counter("tasks_enqueued_total"),
            completed: processed("completed"),
            failed: processed("failed"),
            no_handler: processed("no_handler"),
            retries: counter("task_retries_total"),
            processing: duration("task_processing_duration_seconds"),
            wait: duration("task_wait_duration_seconds"),
        }))
    }
}

impl TypeMetrics {
    /// Tasks came in.
    pub fn enqueued(&self, tasks: u64) {
        self.0.enqueued.increment(tasks);
    }

    /// Claims were settled.
    pub fn processed(&self, how: Processed, tasks: u64) {
        match how {
            Processed::Completed => self.0.completed.increment(tasks),
            Processed::Failed => self.0.failed.increment(tasks),
            Processed::NoHandler => self.0.no_handler.increment(tasks),
        }
    }

    /// Failed tasks will be tried again.
    pub fn retried(&self, tasks: u64) {
        self.0.retries.increment(tasks);
    }

    /// A handler ran this long.
    pub fn processing(&self, took: Duration) {
        self.0.processing.record(took);
    }

    /// A task waited this long from when it became ready to its start.
    pub fn waited(&self, waited: Duration) {
        self.0.wait.record(waited);
    }
}

/// A handler that is counted as at work for as long as this lives, however it ends.
#[must_use = "dropping it ends the count"]
pub struct ActiveWorker(Gauge);

impl Drop for ActiveWorker {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl std::fmt::Debug for ActiveWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActiveWorker")
    }
}

impl std::fmt::Debug for TypeMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TypeMetrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(NAMESPACE_DEFAULT)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics({}*)", self.0.prefix)
    }
}
