//! SQLite under the suite that every backend runs: a file of its own for each behaviour, a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_sqlite::{Clock, ManualClock, Queue, SqliteConfig, SqliteQueue, Timestamp};
use tempfile::TempDir;

struct Sqlite;

#[async_trait]
impl Harness for Sqlite {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let folder = tempfile::tempdir().expect("the host has a temporary folder");
        let clock = ManualClock::default();
        let path = folder.path().join("queue.db").to_str().expect("the path is UTF-8").to_owned();
        let config = SqliteConfig::new(&path)
            .expect("the path names a file")
            .visibility_timeout(options.visibility_timeout)
            .retry(options.retry)
            .payload_bytes_max(options.payload_bytes_max)
            .max_reclaims(options.max_reclaims)
            .clock(clock.clone());
        let queue = open(config.clone()).await;
        queue.migrate().await.expect("the file takes the tables");
        Box::new(SqliteFixture { queue: Arc::new(queue), config, clock, _folder: folder })
    }
}

struct SqliteFixture {
    queue: Arc<SqliteQueue>,
    config: SqliteConfig,
    clock: ManualClock,
    _folder: TempDir,
}

async fn open(config: SqliteConfig) -> SqliteQueue {
    SqliteQueue::with_config(config).await.expect("the file can be opened")
}

#[async_trait]
impl Fixture for SqliteFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(open(self.config.clone()).await))
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}

taskqueue_conformance::suite!(Sqlite);
