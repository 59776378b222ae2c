//! A database for one test, dropped with it, and the short words that keep a test readable.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool};
pub(crate) use taskqueue_conformance::{assert_unavailable, wait_until, wait_until_ok};
use taskqueue_postgres::{
    Claim, ClaimRequest, NewTask, PostgresConfig, PostgresQueue, Queue, TaskType, WorkerId,
};

use crate::support::{direct, execute, prepares, say, server};

/// A database that is dropped with this value.
pub(crate) struct Scratch {
    name: String,
}

impl Scratch {
    /// An empty one.
    pub(crate) async fn new() -> Self {
        let scratch = Self { name: format!("taskqueue_scratch_{:016x}", rand::random::<u64>()) };
        execute(&direct(), format!("CREATE DATABASE {}", scratch.name))
            .await
            .expect("the user may create databases");
        scratch
    }

    /// One with a queue.
    pub(crate) async fn with_queue() -> (Self, PostgresQueue) {
        let scratch = Self::new().await;
        let queue = scratch.queue().await;
        queue.migrate().await.unwrap();
        (scratch, queue)
    }

    /// Where queues find it.
    pub(crate) fn options(&self) -> PgConnectOptions {
        server().database(&self.name)
    }

    /// A queue on a pool of eight.
    pub(crate) async fn queue(&self) -> PostgresQueue {
        queue_on(pool(self.options(), PATIENCE)).await
    }

    /// A queue on a pool of its own.
    pub(crate) async fn queue_by_url(&self) -> PostgresQueue {
        self.queue_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn queue_with(&self, set: impl FnOnce(&mut PostgresConfig)) -> PostgresQueue {
        let mut config = PostgresConfig::url(self.options().to_url_lossy().as_str()).unwrap();
        config.prepared_statements = prepares();
        set(&mut config);
        PostgresQueue::with_config(config).await.unwrap()
    }

    /// The same past any pooler.
    pub(crate) fn direct_options(&self) -> PgConnectOptions {
        direct().database(&self.name)
    }

    /// A session beside the queue's, past any pooler.
    pub(crate) async fn connect(&self) -> PgConnection {
        self.direct_options().connect().await.unwrap()
    }

    /// Sets something for the sessions that come.
    pub(crate) async fn set(&self, setting: &str) {
        execute(&direct(), format!("ALTER DATABASE {} SET {setting}", self.name)).await.unwrap();
    }

    /// Ends every other session.
    pub(crate) async fn end_sessions(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        say(&mut self.connect().await, end.to_owned()).await.unwrap();
    }
}

impl Drop for Scratch {
    /// On a thread and a runtime of its own, since the test's may be going down. The test's thread waits, so a test needs
    /// others: the server drops no database while somebody is logging in, and waits a minute for one who does not go on.
    fn drop(&mut self) {
        let drop_it = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("the host lets the test start a runtime").block_on(execute(&direct(), drop_it))
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("a database of this test stays behind");
        }
    }
}

/// A pool as the queue itself opens one.
pub(crate) fn pool(options: PgConnectOptions, acquire_timeout: Duration) -> PgPool {
    let cached = if prepares() { 100 } else { 0 };
    let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(acquire_timeout);
    pool.test_before_acquire(false).connect_lazy_with(options.statement_cache_capacity(cached))
}

/// How long a call waits for a connection where that is not what is tested: servers may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn queue_on(pool: PgPool) -> PostgresQueue {
    let mut config = PostgresConfig::pool(pool);
    config.prepared_statements = prepares();
    PostgresQueue::with_config(config).await.unwrap()
}

pub(crate) fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

pub(crate) fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

pub(crate) fn mail() -> TaskType {
    TaskType::new("mail").unwrap()
}

pub(crate) fn request(limit: usize) -> ClaimRequest {
    ClaimRequest::new(WorkerId::new("ada").unwrap(), [mail()], limit)
}

pub(crate) async fn claim_one(queue: &PostgresQueue) -> Claim {
    queue.dequeue_many(&request(1)).await.unwrap().pop().expect("a task is ready")
}
