//! A queue whose claims are told to [`Health`]. It changes no call and no answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{
    Backend, Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Heartbeat, Lease, NewTask, Queue, QueueStats,
    Reclaimed, Redrive, Result, Settled, Settlement, Task, TaskFilter, TaskId, TaskPage, TaskType, Timestamp,
    WakeUp,
};

use super::health::Health;

/// A queue, and who is told of its claims.
pub(super) struct Watched {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) health: Arc<Health>,
}

#[async_trait]
impl Queue for Watched {
    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        let claim = self.health.begins();
        let answer = self.queue.dequeue_many(request).await;
        claim.ended(&answer);
        answer
    }

    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        self.queue.enqueue_many(tasks).await
    }
    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.queue.settle_many(settlements).await
    }
    async fn heartbeat_many(
        &self,
        leases: &[Lease],
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>> {
        self.queue.heartbeat_many(leases, visibility_timeout).await
    }
    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        self.queue.cancel(id).await
    }
    async fn get(&self, id: TaskId) -> Result<Task> {
        self.queue.get(id).await
    }
    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.queue.list(filter).await
    }
    async fn stats(&self) -> Result<QueueStats> {
        self.queue.stats().await
    }
    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64> {
        self.queue.cleanup(cleanup).await
    }
    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        self.queue.reclaim_stale(limit).await
    }
    async fn promote_due(&self, limit: usize) -> Result<u64> {
        self.queue.promote_due(limit).await
    }
    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        self.queue.redrive(redrive).await
    }
    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.queue.pause(task_type).await
    }
    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.queue.resume(task_type).await
    }
    async fn paused(&self) -> Result<Vec<TaskType>> {
        self.queue.paused().await
    }
    async fn backend(&self) -> Result<Backend> {
        self.queue.backend().await
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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::{Connection, SqliteConnection};
    use taskqueue_sqlite::{SqliteConfig, SqliteQueue};

    use super::*;

    #[tokio::test]
    async fn repeated_transactions_of_a_watched_queue_are_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").to_str().expect("the path is UTF-8").to_owned();
        let config = SqliteConfig::new(&path).expect("the path names a file").busy_timeout(Duration::ZERO);
        let queue = SqliteQueue::with_config(config).await.expect("the file can be opened");
        queue.migrate().await.expect("the file takes the tables");
        let watched =
            Watched { queue: Arc::new(queue), health: Arc::new(Health::new(Duration::from_secs(1))) };
        let mut other = SqliteConnection::connect(&path).await.expect("the file can be opened");
        let blocking = other.begin_with("BEGIN IMMEDIATE").await.expect("nobody else writes");

        let task = NewTask::raw("mail", "1").expect("a valid task");
        watched.enqueue_many(vec![task]).await.expect_err("another one writes");
        drop(blocking);

        assert!(watched.take_contention_retries() > 0);
    }
}
