//! The model as a queue, so that the suite can be run on its own specification. One lock, no durability.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{
    Backend, Cancelled, Claim, ClaimRequest, Cleanup, Clock, Enqueued, Error, Heartbeat, Lease, LeaseToken,
    ManualClock, NewTask, Queue, QueueStats, Reclaimed, Redrive, Result, Settled, Settlement, Status, Task,
    TaskFilter, TaskId, TaskPage, TaskType, Timestamp, WakeUp,
};

use crate::model::Model;
use crate::{Fixture, Harness, Options};

/// A queue whose storage is the model.
#[derive(Debug)]
pub struct ModelQueue {
    model: Arc<Mutex<Model>>,
    clock: ManualClock,
    closed: AtomicBool,
    wake_up: WakeUp,
}

impl ModelQueue {
    /// An empty queue on this clock.
    pub fn new(options: Options, clock: ManualClock) -> Self {
        Self::on(Arc::new(Mutex::new(Model::new(options))), clock)
    }

    fn on(model: Arc<Mutex<Model>>, clock: ManualClock) -> Self {
        Self { model, clock, closed: AtomicBool::new(false), wake_up: WakeUp::new() }
    }

    /// Another instance on the same storage.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::on(self.model.clone(), self.clock.clone())
    }

    /// The model under its lock, unless this instance is closed. A panic in a caller's retry policy leaves the
    /// model as it was, so that a poisoned lock is no reason to stop.
    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, Model>> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed(operation));
        }
        Ok(self.model.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queue for ModelQueue {
    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        let answers = self.open("enqueue")?.enqueue_many(self.clock.now(), tasks)?;
        self.wake_up.notify();
        Ok(answers)
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        request.validate()?;
        let mut model = self.open("dequeue")?;
        let chosen = model.candidates(request).into_iter().take(request.limit);
        Ok(chosen.map(|(_, id)| model.claim(self.clock.now(), request, id, LeaseToken::generate())).collect())
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        let answers = self.open("settle")?.settle_many(self.clock.now(), settlements)?;
        self.wake_up.notify();
        Ok(answers)
    }

    async fn heartbeat_many(&self, leases: &[Lease], timeout: Option<Duration>) -> Result<Vec<Heartbeat>> {
        self.open("heartbeat")?.heartbeat_many(self.clock.now(), leases, timeout)
    }

    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        let cancelled = self.open("cancel")?.cancel(self.clock.now(), id)?;
        if cancelled == Cancelled::From(Status::Running) {
            self.wake_up.notify_cancelled(id);
        }
        Ok(cancelled)
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        self.open("get")?.get(id)
    }

    async fn holder(&self, task_type: &TaskType, unique_key: &str) -> Result<Option<Task>> {
        self.open("holder")?.holder(task_type, unique_key)
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.open("list")?.list(filter)
    }

    async fn stats(&self) -> Result<QueueStats> {
        Ok(self.open("stats")?.stats())
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64> {
        self.open("cleanup")?.cleanup(self.clock.now(), cleanup)
    }

    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        let reclaimed = self.open("reclaim")?.reclaim_stale(self.clock.now(), limit)?;
        self.wake_up.notify();
        Ok(reclaimed)
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        let promoted = self.open("promote")?.promote_due(self.clock.now(), limit)?;
        self.wake_up.notify();
        Ok(promoted)
    }

    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        let made_ready = self.open("run_now")?.run_now(self.clock.now(), ids)?;
        self.wake_up.notify();
        Ok(made_ready)
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        let redriven = self.open("redrive")?.redrive(self.clock.now(), redrive)?;
        self.wake_up.notify();
        Ok(redriven)
    }

    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.open("pause")?.pause(task_type);
        Ok(())
    }

    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.open("resume")?.resume(task_type);
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<TaskType>> {
        Ok(self.open("paused")?.paused())
    }

    async fn backend(&self) -> Result<Backend> {
        drop(self.open("backend")?);
        Ok(Backend { name: "model", version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    async fn now(&self) -> Result<Timestamp> {
        drop(self.open("now")?);
        Ok(self.clock.now())
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn visibility_timeout(&self) -> Duration {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).options.visibility_timeout
    }

    fn wake_up(&self) -> WakeUp {
        self.wake_up.clone()
    }
}

/// Makes queues whose storage is the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelHarness;

struct ModelFixture {
    queue: Arc<ModelQueue>,
}

#[async_trait]
impl Harness for ModelHarness {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        Box::new(ModelFixture { queue: Arc::new(ModelQueue::new(options, ManualClock::default())) })
    }

    fn supports_capacity(&self) -> bool {
        true
    }
}

#[async_trait]
impl Fixture for ModelFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(self.queue.reopen()))
    }

    async fn now(&self) -> Timestamp {
        self.queue.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.queue.clock.advance(by);
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}
