//! A queue that is told what to answer. It knows nothing of metrics.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{
    Backend, Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Error, ErrorKind, Heartbeat, Lease, NewTask,
    Queue, QueueStats, Reclaimed, Redrive, Result, Settled, Settlement, Task, TaskFilter, TaskId, TaskPage,
    TaskType, Timestamp, WakeUp,
};

/// A queue that answers what it was told to answer next.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) enqueued: Mutex<Vec<Enqueued>>,
    pub(crate) settled: Mutex<Vec<Settled>>,
    pub(crate) heartbeats: Mutex<Vec<Heartbeat>>,
    pub(crate) stats: QueueStats,
    pub(crate) now: Option<Timestamp>,
    /// Transactions that were repeated and not asked for yet.
    pub(crate) repeated: AtomicU64,
}

fn take<T>(answers: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut answers.lock().unwrap())
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "test", "scripted")
}

#[async_trait]
impl Queue for Scripted {
    async fn enqueue_many(&self, _tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        Ok(take(&self.enqueued))
    }
    async fn dequeue_many(&self, _request: &ClaimRequest) -> Result<Vec<Claim>> {
        Err(unavailable())
    }
    async fn settle_many(&self, _settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        Ok(take(&self.settled))
    }
    async fn heartbeat_many(&self, _: &[Lease], _: Option<Duration>) -> Result<Vec<Heartbeat>> {
        Ok(take(&self.heartbeats))
    }
    async fn cancel(&self, _id: TaskId) -> Result<Cancelled> {
        Err(unavailable())
    }
    async fn get(&self, _id: TaskId) -> Result<Task> {
        Err(unavailable())
    }
    async fn holder(&self, _task_type: &TaskType, _unique_key: &str) -> Result<Option<Task>> {
        Err(unavailable())
    }
    async fn list(&self, _filter: &TaskFilter) -> Result<TaskPage> {
        Err(unavailable())
    }
    async fn stats(&self) -> Result<QueueStats> {
        Ok(self.stats.clone())
    }
    async fn cleanup(&self, _cleanup: Cleanup) -> Result<u64> {
        Err(unavailable())
    }
    async fn reclaim_stale(&self, _limit: usize) -> Result<Reclaimed> {
        Ok(Reclaimed { released: 2, dead_lettered: 1 })
    }
    async fn promote_due(&self, _limit: usize) -> Result<u64> {
        Err(unavailable())
    }
    async fn run_now(&self, _ids: &[TaskId]) -> Result<u64> {
        Err(unavailable())
    }
    async fn redrive(&self, _redrive: &Redrive) -> Result<u64> {
        Err(unavailable())
    }
    async fn pause(&self, _task_type: &TaskType) -> Result<()> {
        Err(unavailable())
    }
    async fn resume(&self, _task_type: &TaskType) -> Result<()> {
        Err(unavailable())
    }
    async fn paused(&self) -> Result<Vec<TaskType>> {
        Err(unavailable())
    }
    async fn backend(&self) -> Result<Backend> {
        Err(unavailable())
    }
    async fn now(&self) -> Result<Timestamp> {
        self.now.ok_or_else(unavailable)
    }
    async fn close(&self) {}
    fn visibility_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn wake_up(&self) -> WakeUp {
        WakeUp::new()
    }
    fn take_contention_retries(&self) -> u64 {
        self.repeated.swap(0, Ordering::Relaxed)
    }
}
