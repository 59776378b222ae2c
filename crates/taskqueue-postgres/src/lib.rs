//! PostgreSQL behind `taskqueue`: [`PostgresQueue`], which keeps the whole [`Queue`] contract in a database that the
//! service already has. It re-exports the core, so that a service depends on this crate alone.
//!
//! Guarantees: as [`Queue`] says. Leases follow the server's clock. [`enqueue_in`](PostgresQueue::enqueue_in) and
//! [`complete_in`](PostgresQueue::complete_in) commit or roll back with the caller's own rows;
//! `examples/transactional.rs` shows how.

mod claim;
mod config;
mod dialect;
mod error;
mod migrate;
mod wire;

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
pub use taskqueue_core::*;
use taskqueue_sql::{Dialect as _, SqlQueue, delegate_queue};
pub use taskqueue_sql::{Options, TableName};

pub use config::PostgresConfig;
use config::Source;
use dialect::PostgresDialect;

/// A durable queue in a PostgreSQL database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresQueue {
    sql: SqlQueue<PostgresDialect>,
}

impl PostgresQueue {
    /// Connects to the database of a `postgres://` URL, with the default settings.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is not one; `Unavailable` when the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::with_config(PostgresConfig::url(url)?).await
    }

    /// Connects with these settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `InvalidInput` naming a setting.
    pub async fn with_config(config: PostgresConfig) -> Result<Self> {
        config.validate()?;
        let pool = match &config.source {
            Source::Pool(pool) => pool.clone(),
            Source::Url(url) => open(&config, url).await?,
        };
        Ok(Self { sql: SqlQueue::new(PostgresDialect::new(pool, &config)) })
    }

    /// Brings the schema up to date. Idempotent; several processes may do it at once.
    ///
    /// # Errors
    /// What the database says; then nothing was changed.
    pub async fn migrate(&self) -> Result<()> {
        migrate::migrate(self.pool(), &self.sql.dialect().options().table).await
    }

    /// The pool that the queue uses.
    pub fn pool(&self) -> &PgPool {
        self.sql.dialect().pool()
    }

    /// Enqueues inside the caller's own transaction: the task commits or rolls back with the caller's rows. Workers
    /// find it at their next poll after the commit.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]. The caller's transaction should then be rolled back.
    pub async fn enqueue_in(&self, connection: &mut PgConnection, task: impl IntoTask) -> Result<TaskId> {
        let mut answers = self.sql.enqueue_in(connection, vec![task.into_task()?]).await?;
        match answers.pop() {
            Some(Enqueued::Duplicate(existing)) => Err(Error::duplicate_unique("enqueue", existing)),
            Some(Enqueued::Created(id) | Enqueued::Repeated(id)) => Ok(id),
            None => Err(Error::new(ErrorKind::Backend, "enqueue", "the database did not answer one for one")),
        }
    }

    /// Completes a claim inside the caller's own transaction.
    ///
    /// # Errors
    /// As [`Queue::complete`]. The caller's transaction should then be rolled back.
    pub async fn complete_in(&self, connection: &mut PgConnection, lease: Lease) -> Result<()> {
        let id = lease.task_id;
        let answers = self.sql.settle_in(connection, vec![Settlement::new(lease, Outcome::done())]).await?;
        match answers.as_slice() {
            [Settled::Applied | Settled::Repeated] => Ok(()),
            _ => Err(Error::lease_lost("settle", id)),
        }
    }
}

delegate_queue!(PostgresQueue);

async fn open(config: &PostgresConfig, url: &sqlx::postgres::PgConnectOptions) -> Result<PgPool> {
    let url = if config.prepared_statements { url.clone() } else { url.clone().statement_cache_capacity(0) };
    let pool = PgPoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .connect_with(url);
    pool.await.map_err(|error| error::connect_failure(error).into_error("connect"))
}
