//! A queue whose claims are told to [`Health`]. It changes no call and no answer.

use std::sync::Arc;

use taskqueue_core::{Claim, ClaimRequest, Queue, Result, delegate_queue};

use super::health::Health;

/// A queue, and who is told of its claims.
pub(super) struct Watched {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) health: Arc<Health>,
}

delegate_queue!(Watched, |watched| watched.queue, except dequeue_many);

impl Watched {
    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        let claim = self.health.begins();
        let answer = self.queue.dequeue_many(request).await;
        claim.ended(&answer);
        answer
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use sqlx::{Connection, SqliteConnection};
    use taskqueue_core::NewTask;
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
