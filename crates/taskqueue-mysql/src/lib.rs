//! MySQL and MariaDB behind `taskqueue`: [`MysqlQueue`], which keeps the whole [`Queue`] contract in a database that
//! the service already has. It re-exports the core, so that a service depends on this crate alone.
//!
//! Guarantees: as [`Queue`] says. Leases follow the server's clock. [`enqueue_in`](MysqlQueue::enqueue_in) and
//! [`complete_in`](MysqlQueue::complete_in) commit or roll back with the caller's own rows;
//! `examples/transactional.rs` shows how.
//!
//! MySQL from 8.0, MariaDB from 10.6. With Galera or Group Replication, let workers talk to one node: locks are a
//! node's own, and conflicts between nodes cost a repeated transaction.

mod batch;
mod claim;
mod claiming;
mod config;
mod dialect;
mod error;
#[cfg(test)]
mod golden;
mod insert;
mod migrate;
#[cfg(all(test, feature = "server-tests"))]
mod plans;
mod wire;

pub use sqlx::MySqlConnection;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
pub use taskqueue_core::*;
use taskqueue_sql::{Dialect, SqlQueue, delegate_queue};
pub use taskqueue_sql::{Options, TableName};

pub use config::MysqlConfig;
use config::Source;
use dialect::MysqlDialect;

/// A durable queue in a MySQL or MariaDB database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MysqlQueue {
    sql: SqlQueue<MysqlDialect>,
}

impl MysqlQueue {
    /// Connects to the database of a `mysql://` URL, with the default settings.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is not one; `Unavailable` when the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::with_config(MysqlConfig::url(url)?).await
    }

    /// Connects with these settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `InvalidInput` naming a setting.
    pub async fn with_config(config: MysqlConfig) -> Result<Self> {
        config.validate()?;
        let pool = match &config.source {
            Source::Pool(pool) => pool.clone(),
            Source::Url(url) => open(&config, url).await?,
        };
        Ok(Self { sql: SqlQueue::new(MysqlDialect::new(pool, &config)) })
    }

    /// Brings the schema up to date. Idempotent; several processes may do it at once.
    ///
    /// # Errors
    /// What the database says. DDL commits by itself in these engines: a migration that was cut short is taken up
    /// again by the next call.
    pub async fn migrate(&self) -> Result<()> {
        migrate::migrate(self.pool(), &self.sql.dialect().options().table).await
    }

    /// The pool that the queue uses.
    pub fn pool(&self) -> &MySqlPool {
        self.sql.dialect().pool()
    }

    /// Enqueues inside the caller's own transaction: the task commits or rolls back with the caller's rows. Workers
    /// find it at their next poll after the commit.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]. The caller's transaction should then be rolled back.
    pub async fn enqueue_in(&self, connection: &mut MySqlConnection, task: impl IntoTask) -> Result<TaskId> {
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
    pub async fn complete_in(&self, connection: &mut MySqlConnection, lease: Lease) -> Result<()> {
        let id = lease.task_id;
        let answers = self.sql.settle_in(connection, vec![Settlement::new(lease, Outcome::done())]).await?;
        match answers.as_slice() {
            [Settled::Applied | Settled::Repeated] => Ok(()),
            _ => Err(Error::lease_lost("settle", id)),
        }
    }
}

delegate_queue!(MysqlQueue);

/// Sessions run READ COMMITTED (the statement, because the two engines name the variable differently), wait shortly
/// for locks, and refuse values that do not fit. A connection that a dropped future left inside a transaction is
/// rolled back before it is lent again.
async fn open(config: &MysqlConfig, url: &MySqlConnectOptions) -> Result<MySqlPool> {
    let session = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION innodb_lock_wait_timeout = {}, sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        config.lock_wait_timeout.as_secs()
    );
    let pool = MySqlPoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(session)).await.map(drop) })
        })
        .after_release(|connection, _| {
            Box::pin(async move { connection.execute("ROLLBACK").await.map(|_| true) })
        })
        .connect_with(url.clone());
    pool.await.map_err(|error| error::connect_failure(error).into_error("connect"))
}
