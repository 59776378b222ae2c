//! `Observed<Q>`: any queue, with metrics and spans. Backends carry none themselves.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use tracing::field::{Empty, debug};
use tracing::{Instrument, Span, debug_span};

use crate::metrics::{Metrics, Processed};
use crate::{
    Backend, Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Heartbeat, Lease, NewTask, Outcome, Queue,
    QueueStats, Reclaimed, Redrive, Result, Retry, Settled, Settlement, Task, TaskFilter, TaskId, TaskPage,
    TaskType, Timestamp, WakeUp,
};

/// A queue whose calls are counted by the metrics of the reference: tasks enqueued, processed and retried, claims
/// that failed, leases lost, reclaims, transactions that were repeated, and the depth at each [`stats`](Queue::stats).
///
/// Each call has a span of level debug by the names of OpenTelemetry's conventions for messaging: its operation, and how
/// many tasks it is about where it carries a batch; never ids or payloads. One that is not wanted costs a look at a flag.
///
/// It sees what goes through it: tasks of a backend's `enqueue_in` and completions of its `complete_in` do not.
#[derive(Debug, Clone)]
pub struct Observed<Q> {
    queue: Q,
    metrics: Metrics,
}

impl<Q: Queue> Observed<Q> {
    /// Watches `queue` under the default namespace.
    pub fn new(queue: Q) -> Self {
        Self::with_metrics(queue, Metrics::default())
    }

    /// Watches `queue` with these metrics.
    pub fn with_metrics(queue: Q, metrics: Metrics) -> Self {
        Self { queue, metrics }
    }

    /// The metrics that are recorded.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The queue itself.
    pub fn inner(&self) -> &Q {
        &self.queue
    }

    /// How long ago that was by the queue's clock, which it was counted from. Statistics are answered without it.
    async fn age_of(&self, oldest: Option<Timestamp>) -> Option<Duration> {
        let Some(oldest) = oldest else { return Some(Duration::ZERO) };
        let now = self.queue.now().await.ok()?;
        Some((now - oldest).to_std().unwrap_or_default())
    }

    /// Runs a call in its span, and records what the queue has repeated since the last one.
    async fn watch<T>(&self, span: Span, call: impl Future<Output = Result<T>>) -> Result<T> {
        let result = call.instrument(span.clone()).await;
        let repeated = self.queue.take_contention_retries();
        if repeated > 0 {
            self.metrics.contention_retries(repeated);
        }
        if let Err(error) = &result {
            span.record("error.type", debug(error.kind())).record("otel.status_code", "ERROR");
        }
        result
    }
}

/// The span of a call: its operation and OpenTelemetry's type of it, and how many tasks a batch has.
macro_rules! span {
    ($operation:literal) => {
        span!($operation, Empty, Empty, "client")
    };
    ($operation:literal, $type:expr, $tasks:expr) => {
        span!($operation, $type, $tasks, "client")
    };
    ($operation:literal, $type:expr, $tasks:expr, $kind:literal) => {
        debug_span!(
            $operation,
            otel.kind = $kind,
            otel.status_code = Empty,
            messaging.system = "taskqueue",
            messaging.operation.name = $operation,
            "messaging.operation.type" = $type,
            messaging.batch.message_count = $tasks,
            "error.type" = Empty,
        )
    };
}

/// What is needed of a settlement after it has been consumed.
struct Settling {
    task_type: TaskType,
    how: Option<Processed>,
    retried: bool,
    follow_ups: Vec<TaskType>,
}

impl Settling {
    fn of(settlement: &Settlement) -> Self {
        let lease = &settlement.lease;
        let (how, retried) = match &settlement.outcome {
            Outcome::Complete { .. } => (Some(Processed::Completed), false),
            Outcome::Fail { retry, .. } => {
                (Some(Processed::Failed), *retry != Retry::Never && lease.attempt < lease.max_retries)
            }
            Outcome::Snooze { .. } | Outcome::Release | Outcome::Settled => (None, false),
        };
        let follow_ups = match &settlement.outcome {
            Outcome::Complete { follow_ups } => {
                follow_ups.iter().map(|task| task.task_type.clone()).collect()
            }
            _ => Vec::new(),
        };
        Self { task_type: lease.task_type.clone(), how, retried, follow_ups }
    }

    /// Records settles that were applied. A batch is of few types: their handles are looked up once for each run of
    /// one type, and its settles counted together.
    fn record(applied: &[&Self], metrics: &Metrics) {
        for run in applied.chunk_by(|one, next| one.task_type == next.task_type) {
            let of_type = metrics.of_type(&run[0].task_type);
            let count =
                |counts: fn(&Self) -> bool| run.iter().filter(|settling| counts(settling)).count() as u64;
            of_type.processed(
                Processed::Completed,
                count(|settling| settling.how == Some(Processed::Completed)),
            );
            of_type.processed(Processed::Failed, count(|settling| settling.how == Some(Processed::Failed)));
            of_type.retried(count(|settling| settling.retried));
        }
        for task_type in applied.iter().flat_map(|settling| &settling.follow_ups) {
            metrics.of_type(task_type).enqueued(1);
        }
    }
}

#[async_trait]
impl<Q: Queue> Queue for Observed<Q> {
    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        let types: Vec<TaskType> = tasks.iter().map(|task| task.task_type.clone()).collect();
        let span = span!("enqueue", "send", tasks.len(), "producer");
        let answers = self.watch(span, self.queue.enqueue_many(tasks)).await?;
        let mut created: HashMap<&TaskType, u64> = HashMap::new();
        for (task_type, answer) in types.iter().zip(&answers) {
            if matches!(answer, Enqueued::Created(_)) {
                *created.entry(task_type).or_default() += 1;
            }
        }
        for (task_type, tasks) in created {
            self.metrics.of_type(task_type).enqueued(tasks);
        }
        Ok(answers)
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        let span = span!("dequeue", "receive", Empty);
        let claims = self.watch(span.clone(), self.queue.dequeue_many(request)).await;
        let claims = claims.inspect_err(|_| self.metrics.dequeue_error())?;
        span.record("messaging.batch.message_count", claims.len());
        Ok(claims)
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        let settling: Vec<Settling> = settlements.iter().map(Settling::of).collect();
        self.metrics.settle_batch(settlements.len());
        let span = span!("settle", "settle", settlements.len());
        let answers = self.watch(span, self.queue.settle_many(settlements)).await?;
        let answered = settling.iter().zip(&answers);
        let applied =
            answered.filter(|(_, answer)| **answer == Settled::Applied).map(|(settling, _)| settling);
        Settling::record(&applied.collect::<Vec<_>>(), &self.metrics);
        let lost = answers.iter().filter(|answer| **answer == Settled::LeaseLost).count();
        self.metrics.leases_lost(lost as u64);
        Ok(answers)
    }

    async fn heartbeat_many(
        &self,
        leases: &[Lease],
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>> {
        let span = span!("heartbeat", Empty, leases.len());
        let answers = self.watch(span, self.queue.heartbeat_many(leases, visibility_timeout)).await?;
        let lost = answers.iter().filter(|answer| **answer == Heartbeat::Lost).count();
        self.metrics.leases_lost(lost as u64);
        Ok(answers)
    }

    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        self.watch(span!("cancel"), self.queue.cancel(id)).await
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        self.watch(span!("get"), self.queue.get(id)).await
    }

    async fn holder(&self, task_type: &TaskType, unique_key: &str) -> Result<Option<Task>> {
        self.watch(span!("holder"), self.queue.holder(task_type, unique_key)).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.watch(span!("list"), self.queue.list(filter)).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        let stats = self.watch(span!("stats"), self.queue.stats()).await?;
        self.metrics.depth(&stats);
        self.metrics.oldest_pending_age(self.age_of(stats.oldest_pending).await);
        // The series is there from the first sample on.
        self.metrics.contention_retries(0);
        Ok(stats)
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64> {
        self.watch(span!("cleanup"), self.queue.cleanup(cleanup)).await
    }

    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        let reclaimed = self.watch(span!("reclaim"), self.queue.reclaim_stale(limit)).await?;
        self.metrics.reclaimed(reclaimed.total());
        Ok(reclaimed)
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        self.watch(span!("promote"), self.queue.promote_due(limit)).await
    }

    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        self.watch(span!("run_now", Empty, ids.len()), self.queue.run_now(ids)).await
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        self.watch(span!("redrive"), self.queue.redrive(redrive)).await
    }

    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.watch(span!("pause"), self.queue.pause(task_type)).await
    }

    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.watch(span!("resume"), self.queue.resume(task_type)).await
    }

    async fn paused(&self) -> Result<Vec<TaskType>> {
        self.watch(span!("paused"), self.queue.paused()).await
    }

    async fn backend(&self) -> Result<Backend> {
        self.watch(span!("backend"), self.queue.backend()).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.queue.now().await
    }

    async fn close(&self) {
        self.queue.close().await;
    }

    fn visibility_timeout(&self) -> Duration {
        self.queue.visibility_timeout()
    }

    fn wake_up(&self) -> WakeUp {
        self.queue.wake_up()
    }

    fn contention_retries(&self) -> u64 {
        self.queue.contention_retries()
    }

    fn take_contention_retries(&self) -> u64 {
        self.queue.take_contention_retries()
    }
}
