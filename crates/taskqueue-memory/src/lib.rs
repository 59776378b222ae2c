//! The in-memory queue: every promise of [`Queue`] but durability. It is the oracle that the other backends are
//! compared with, the queue of tests, and a queue for real where tasks may die with their process.
//!
//! It keeps what is finished until a cleanup, so that it grows with each task that it has handled: about a kilobyte and
//! the payload. For long use set [`MemoryConfig::completed`] to [`Completed::Delete`], or a retention at the worker;
//! [`MemoryConfig::capacity`] bounds what is not finished.
//!
//! This file owns the lock, the clock and the async face; what a call does is in the plain structures under it.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use taskqueue_memory::{MemoryQueue, NewTask, Queue, TaskType, WorkerId};
//!
//! let queue = MemoryQueue::new();
//! queue.enqueue(NewTask::raw("welcome", r#"{"user":7}"#)?).await?;
//!
//! let worker = WorkerId::unique("doc")?;
//! let claim = queue.dequeue(&worker, &[TaskType::new("welcome")?]).await?.expect("one task is ready");
//! assert_eq!(claim.task.payload.as_str(), r#"{"user":7}"#);
//! queue.complete(claim.lease).await?;
//! # taskqueue_memory::Result::<()>::Ok(())
//! # }).unwrap();
//! ```

mod config;
mod index;
mod look;
mod maintain;
mod rising;
mod row;
mod rows;
mod store;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::backend::{Decision, check_visibility_timeout, decide_batch};
use taskqueue_core::batches::{check_batch, check_limit, prepare_batch};
use taskqueue_core::new_task::check_unique_key;
pub use taskqueue_core::*;

pub use crate::config::MemoryConfig;
use crate::row::ClaimTerms;
use crate::store::Store;

/// A queue in this process's memory. Clones share it, and close together. Every call is done when its future is
/// first polled; none waits for anything but a short lock.
#[derive(Clone)]
pub struct MemoryQueue(Arc<Instance>);

struct Instance {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

struct Shared {
    config: MemoryConfig,
    store: Mutex<Store>,
    wake_up: WakeUp,
}

impl MemoryQueue {
    /// An empty queue with the default settings. Finished tasks stay in memory until [`cleanup`](Queue::cleanup) removes
    /// them, which a worker does where its maintenance has a `retention`: a queue that runs for long needs that, or
    /// [`completed`](MemoryConfig::completed) set to [`Completed::Delete`].
    pub fn new() -> Self {
        Self::with_config(MemoryConfig::default()).expect("the defaults are valid")
    }

    /// An empty queue with these settings.
    ///
    /// # Errors
    /// As [`MemoryConfig::validate`].
    pub fn with_config(config: MemoryConfig) -> Result<Self> {
        config.validate()?;
        let store = Mutex::new(Store::new(config.capacity, config.completed));
        let wake_up = WakeUp::new();
        // There are no others.
        wake_up.set_hears_others(true);
        Ok(Self::over(Arc::new(Shared { config, store, wake_up })))
    }

    /// Another instance over the same tasks, as a second process has over the same database: it is open even if
    /// this one is closed.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::over(Arc::clone(&self.0.shared))
    }

    fn over(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Instance { shared, closed: AtomicBool::new(false) }))
    }

    fn config(&self) -> &MemoryConfig {
        &self.0.shared.config
    }

    fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.0.closed.load(Ordering::Acquire) { Err(Error::closed(operation)) } else { Ok(()) }
    }

    /// The store and the time, which is read under the lock: times rise in the order of the calls.
    fn lock(&self) -> (MutexGuard<'_, Store>, Timestamp) {
        // Under the lock only a caller's clock could panic, and it is read before anything changes.
        let store = self.0.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.config().clock.now();
        (store, now)
    }

    fn rouse_if(&self, tasks_may_be_ready: bool) {
        if tasks_may_be_ready {
            self.0.shared.wake_up.notify();
        }
    }
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("config", self.config()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue_many(&self, mut tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        self.check_open("enqueue")?;
        prepare_batch(&mut tasks, self.config().payload_bytes_max)?;
        let (mut store, now) = self.lock();
        let answers = store.enqueue(tasks, now)?;
        drop(store);
        self.rouse_if(answers.iter().any(|answer| !matches!(answer, Enqueued::Duplicate(_))));
        Ok(answers)
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        self.check_open("dequeue")?;
        request.validate()?;
        if request.is_extra {
            return Ok(Vec::new());
        }
        let timeout = request.visibility_timeout.unwrap_or(self.config().visibility_timeout);
        let token = LeaseToken::generate();
        let (mut store, now) = self.lock();
        let worker_id = request.worker_id.clone();
        let terms = ClaimTerms { worker_id, token, now, until: clock::add(now, timeout) };
        Ok(store.claim(&request.types, request.limit, &terms))
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.check_open("settle")?;
        let decisions = decide_batch(settlements, &self.config().retry, self.config().payload_bytes_max)?;
        let may_ready = |decision: &Decision| {
            decision.transition.state() == State::Ready || !decision.follow_ups.is_empty()
        };
        let tasks_may_be_ready = decisions.iter().any(may_ready);
        let (mut store, now) = self.lock();
        let answers = store.settle(decisions, now)?;
        drop(store);
        self.rouse_if(tasks_may_be_ready);
        Ok(answers)
    }

    async fn heartbeat_many(
        &self,
        leases: &[Lease],
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>> {
        self.check_open("heartbeat")?;
        check_batch("heartbeat", leases.len())?;
        let timeout = visibility_timeout.unwrap_or(self.config().visibility_timeout);
        check_visibility_timeout("heartbeat", timeout)?;
        let (mut store, now) = self.lock();
        Ok(store.heartbeat(leases, clock::add(now, timeout)))
    }

    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        self.check_open("cancel")?;
        let (mut store, now) = self.lock();
        let cancelled = store.cancel(id, now)?;
        drop(store);
        if cancelled == Cancelled::From(Status::Running) {
            self.0.shared.wake_up.notify_cancelled(id);
        }
        Ok(cancelled)
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        self.check_open("get")?;
        self.lock().0.get(id)
    }

    async fn holder(&self, task_type: &TaskType, unique_key: &str) -> Result<Option<Task>> {
        self.check_open("holder")?;
        check_unique_key("holder", task_type, unique_key)?;
        Ok(self.lock().0.holder(task_type, unique_key))
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.check_open("list")?;
        filter.validate()?;
        Ok(self.lock().0.list(filter))
    }

    async fn stats(&self) -> Result<QueueStats> {
        self.check_open("stats")?;
        Ok(self.lock().0.stats())
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64> {
        self.check_open("cleanup")?;
        check_limit("cleanup", cleanup.limit)?;
        let (mut store, now) = self.lock();
        Ok(store.cleanup(cleanup.statuses, clock::subtract(now, cleanup.older_than), cleanup.limit))
    }

    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        self.check_open("reclaim")?;
        check_limit("reclaim", limit)?;
        let (mut store, now) = self.lock();
        let reclaimed = store.reclaim(limit, self.config().max_reclaims, now);
        drop(store);
        self.rouse_if(reclaimed.released > 0);
        Ok(reclaimed)
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        self.check_open("promote")?;
        check_limit("promote", limit)?;
        let (mut store, now) = self.lock();
        let promoted = store.promote(limit, now);
        drop(store);
        self.rouse_if(promoted > 0);
        Ok(promoted)
    }

    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        self.check_open("run_now")?;
        check_batch("run_now", ids.len())?;
        let (mut store, now) = self.lock();
        let made_ready = store.run_now(ids, now);
        drop(store);
        self.rouse_if(made_ready > 0);
        Ok(made_ready)
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        self.check_open("redrive")?;
        redrive.validate()?;
        let (mut store, now) = self.lock();
        let redriven = store.redrive(redrive, now);
        drop(store);
        self.rouse_if(redriven > 0);
        Ok(redriven)
    }

    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.check_open("pause")?;
        self.lock().0.paused.insert(task_type.clone());
        Ok(())
    }

    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.check_open("resume")?;
        let was_paused = self.lock().0.paused.remove(task_type);
        self.rouse_if(was_paused);
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<TaskType>> {
        self.check_open("paused")?;
        Ok(self.lock().0.paused.iter().cloned().collect())
    }

    async fn backend(&self) -> Result<Backend> {
        self.check_open("backend")?;
        Ok(Backend { name: "memory", version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    async fn now(&self) -> Result<Timestamp> {
        self.check_open("now")?;
        Ok(self.config().clock.now())
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.shared.wake_up.notify();
    }

    fn visibility_timeout(&self) -> Duration {
        self.config().visibility_timeout
    }

    fn wake_up(&self) -> WakeUp {
        self.0.shared.wake_up.clone()
    }
}
