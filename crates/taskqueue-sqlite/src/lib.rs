//! The SQLite backend of taskqueue: the embedded durable default. It owns the file, its connections and the SQL that
//! is SQLite's own; what a verb means is decided in `taskqueue-core` and `taskqueue-sql`.
//!
//! Guarantees: what an `Ok` says is on the disk (unless [`Durability::Normal`] is chosen); several processes on one
//! host may share a file; a crash at any moment leaves a consistent queue. The file must be on a local disk: SQLite's
//! locks do not hold on network file systems. Time is the host's clock.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskqueue_sqlite::Result<()> {
//! use taskqueue_sqlite::{NewTask, Queue, SqliteQueue, WorkerId};
//!
//! let queue = SqliteQueue::connect("sqlite::memory:").await?;
//! queue.migrate().await?;
//! let task = NewTask::raw("welcome", r#"{"user":7}"#)?;
//! let types = [task.task_type.clone()];
//! queue.enqueue(task).await?;
//!
//! let claim = queue.dequeue(&WorkerId::new("doc")?, &types).await?.expect("it was just enqueued");
//! assert_eq!(claim.task.payload.as_str(), r#"{"user":7}"#);
//! queue.complete(claim.lease).await?;
//! # Ok(())
//! # }
//! ```

mod calls;
mod claim;
mod claiming;
mod config;
mod dialect;
mod encode;
mod error;
mod join;
mod migrate;
#[cfg(test)]
mod plans;
mod query;
mod transaction;
mod watch;

use std::time::Duration;

pub use sqlx::SqliteConnection;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
pub use taskqueue_core::*;
pub use taskqueue_sql::{Completed, TABLE_CHARS_MAX, TABLE_DEFAULT, TableName, WakeUpMode};
use taskqueue_sql::{Failure, SqlQueue};

use crate::claim::Sql;
use crate::config::Place;
pub use crate::config::{BUSY_TIMEOUT_DEFAULT, Durability, READERS_DEFAULT, SqliteConfig};
use crate::dialect::SqliteDialect;
pub use crate::dialect::SqliteFlavour;
use crate::watch::Watch;

/// How long a call waits for a connection beside the busy timeout, which the calls before it may have to wait out.
const CONNECTION_WAIT: Duration = Duration::from_secs(60);
/// How often opening is repeated: two processes that switch a new file to WAL at once do not wait for each other.
const OPEN_REPEATS_MAX: u32 = 20;

/// A queue in an SQLite file. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct SqliteQueue {
    sql: SqlQueue<SqliteDialect>,
}

impl SqliteQueue {
    /// Opens a database with the defaults, and makes the file if there is none: `sqlite:PATH`, a plain path, or
    /// `sqlite::memory:`. Call [`migrate`](Self::migrate) before anything else.
    ///
    /// # Errors
    /// `InvalidInput` for what names no SQLite file; `Unavailable` or `Backend`, with the path, when it cannot be
    /// opened.
    ///
    /// # Cancel safety
    /// As [`with_config`](Self::with_config).
    pub async fn connect(database: &str) -> Result<Self> {
        Self::with_config(SqliteConfig::new(database)?).await
    }

    /// Opens a database.
    ///
    /// # Errors
    /// `InvalidInput` for a setting; else as [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropped, it may leave an empty file; its connections are closed.
    pub async fn with_config(config: SqliteConfig) -> Result<Self> {
        config.validate()?;
        let writer = open(&config, config.writer(), 1).await?;
        let readers = match config.place {
            // Another connection would open another, empty database.
            Place::Memory => writer.clone(),
            Place::File(_) => open(&config, config.reader(), config.readers).await?,
        };
        let sql = Sql::new(&config.options.table);
        let watch = (config.wake_up == WakeUpMode::Auto && config.place != Place::Memory).then(Watch::new);
        Ok(Self { sql: SqlQueue::new(SqliteDialect { config, writer, readers, sql, watch }) })
    }

    /// Makes or updates the tables. Safe to call at each start, also by several processes at once.
    ///
    /// # Errors
    /// What the database says, and `Backend` when a newer program has migrated it already.
    ///
    /// # Cancel safety
    /// It is done whole or not at all.
    pub async fn migrate(&self) -> Result<()> {
        let sql = self.sql.clone();
        let migration = tokio::spawn(async move { migrate::migrate(sql.dialect()).await });
        let done = migration.await.map_err(|stopped| {
            Error::new(ErrorKind::Backend, "migrate", format!("the migration was stopped: {stopped}"))
        })?;
        done.map_err(|failure| failure.into_error("migrate"))
    }

    /// The version of the schema that the database has; 0 where the queue's tables are not there. [`migrate`](Self::migrate)
    /// brings it to the newest one that this program knows.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    pub async fn schema_version(&self) -> Result<i64> {
        self.sql.schema_version().await
    }
}

delegate_queue!(SqliteQueue, |queue| queue.sql);

/// Opens a pool and its first connection.
async fn open(config: &SqliteConfig, options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool> {
    let mut repeats = 0;
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(CONNECTION_WAIT + config.busy_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None);
        let failure = match pool.connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) => error::open_failure(error, &config.shown()),
        };
        if !failure.is_contention() || repeats == OPEN_REPEATS_MAX {
            return Err(Failure::into_error(failure, "connect"));
        }
        repeats += 1;
        tokio::time::sleep(Duration::from_millis(u64::from(repeats) * 2)).await;
    }
}
