//! PostgreSQL and CockroachDB behind `taskqueue`: [`PostgresQueue`], which keeps the whole [`Queue`] contract in a database that the
//! service already has. It re-exports the core, so that a service depends on this crate alone.
//!
//! Guarantees: as [`Queue`] says. Leases follow the server's clock. [`enqueue_in`](PostgresQueue::enqueue_in) and
//! [`complete_in`](PostgresQueue::complete_in) commit or roll back with the caller's own rows;
//! `examples/transactional.rs` shows how.

mod arguments;
mod calls;
mod claim;
mod claimed;
mod claiming;
mod cleaning;
mod cleanup;
mod cockroach;
mod config;
mod detect;
mod dialect;
mod due;
mod error;
mod flavour;
#[cfg(test)]
mod golden;
mod inserting;
mod join;
mod leases;
mod listen;
mod migrate;
mod moment;
#[cfg(all(test, feature = "server-tests"))]
mod on_server;
mod pool;
mod promoting;
mod query;
mod ready;
mod reclaiming;
mod rehearsal;
mod session;
mod settling;
mod stats;
mod totalling;
mod totals;
mod turns;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
pub use taskqueue_core::*;
#[doc(hidden)]
pub use taskqueue_sql::cursor::Scanning;
pub use taskqueue_sql::{Completed, Options, TableName, WakeUpMode};
use taskqueue_sql::{Dialect as _, Sharding, SqlQueue, Unsettled, comes_from_queue, kept_of};

use claim::{Literal, Memory};
use config::Source;
#[doc(hidden)]
pub use config::Testing;
pub use config::{Engine, Pooler, PostgresConfig};
use detect::Found;
use dialect::{Opened, PostgresDialect};
use listen::Wakes;
use pool::DriverPool;
use session::Connections;

/// A durable queue in a PostgreSQL database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresQueue {
    sql: SqlQueue<PostgresDialect>,
    engine: Engine,
}

impl PostgresQueue {
    /// Connects to the database of a `postgres://` URL, with the default settings.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is not one; `Unavailable` when the server cannot be reached.
    ///
    /// # Cancel safety
    /// As [`with_config`](Self::with_config).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::with_config(PostgresConfig::url(url)?).await
    }

    /// Connects with these settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), `InvalidInput` naming a setting, and `Backend` for a server that is too old.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing; the connections that it opened are closed.
    pub async fn with_config(mut config: PostgresConfig) -> Result<Self> {
        config.validate()?;
        config.options.table = config.table()?;
        let found = detect::detect(&config).await?;
        let (engine, is_pooled) = (found.engine, found.pooler.shares_servers());
        if is_pooled && config.pooler == Pooler::Detect {
            tracing::warn!(
                "a pooler in transaction mode stands before PostgreSQL: statements are not prepared, and tasks that \
                 other processes enqueue are found by polling"
            );
        }
        config.prepared_statements &= found.pooler != Pooler::Transaction;
        let unsettled = Arc::<Unsettled>::default();
        let (connections, memory) = connect(&config, found, &unsettled).await?;
        let runs_single_statements = learn_habits(&mut config, &connections).await?;
        let table = &config.options.table;
        let wakes = (config.wake_up == WakeUpMode::Auto && engine == Engine::Postgres)
            .then(|| Wakes::new(connections.clone(), table, !is_pooled));
        let literal = match engine {
            Engine::Postgres => Literal::new(table, config.rank(), memory),
            Engine::Cockroach => cockroach::literal(table, !config.testing.is_on_postgres),
        };
        let sharding = Sharding::new(config.shards()?);
        let opened = Opened { connections, unsettled, runs_single_statements };
        let dialect = PostgresDialect::new(opened, engine, wakes, &config, literal, sharding);
        Ok(Self { sql: SqlQueue::new(dialect), engine })
    }

    /// Creates or upgrades the schema. Idempotent; several processes may do it at once. A new table gets the shards
    /// that the settings say, for good.
    ///
    /// # Errors
    /// What the database says; then nothing was changed. `Backend` when it is newer than this program; `InvalidInput`
    /// when the settings say another number of shards than the table has.
    ///
    /// # Cancel safety
    /// Dropped, the migration goes on to its end.
    pub async fn migrate(&self) -> Result<()> {
        let dialect = self.sql.dialect();
        let (pool, table) = (dialect.connections().pool().0.clone(), dialect.options().table.clone());
        let shards = dialect.sharding().of_new_table();
        let recorded = migrate::migrate(pool, self.engine, table.clone(), shards).await?;
        let learned = dialect.sharding().learn(&table, Some(recorded));
        learned.map(drop).map_err(|failure| failure.into_error("migrate"))
    }

    /// The version of the schema that the database has; 0 where the queue's tables are not there. [`migrate`](Self::migrate)
    /// brings it to the newest one that this program knows.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    pub async fn schema_version(&self) -> Result<i64> {
        self.sql.schema_version().await
    }

    /// The pool that the queue uses. Once it was asked for, the queue's own pool looks at each connection that the service
    /// gives back to it and closes those with an open transaction, which dropped `begin` futures leave: a round trip more
    /// for each. On the queue's own pool the service's statements, too, wait no longer for a lock than
    /// [`lock_wait_timeout`](PostgresConfig::lock_wait_timeout).
    pub fn pool(&self) -> &PgPool {
        &self.sql.dialect().connections().lend().0
    }

    /// Rouses the workers that wait for this queue, here and in other processes: for callers of
    /// [`enqueue_in`](Self::enqueue_in), after their commit. A hint; returns at once.
    pub fn wake(&self) {
        self.sql.wake();
    }
}

delegate_queue!(PostgresQueue, |queue| queue.sql);

/// The connections, and how far what the queue remembers of its settles can be relied on: nobody tells it of the new connections
/// of a pool that is not its own, or of those behind a pooler.
async fn connect(
    config: &PostgresConfig,
    found: Found,
    unsettled: &Arc<Unsettled>,
) -> Result<(Connections, Memory)> {
    let is_lent = Arc::<AtomicBool>::default();
    let (pool, keeps, memory) = match &config.source {
        Source::Pool(pool) => (pool.clone(), 0, Memory::Doubted),
        Source::Url(url) => {
            let pool = open(config, found, url, Arc::clone(&is_lent), Arc::clone(unsettled)).await?;
            match found.pooler.shares_servers() {
                true => (pool, 0, Memory::Doubted),
                false => (pool, kept_of(config.connections_max), Memory::Trusted),
            }
        }
    };
    Ok((Connections::new(DriverPool(pool), keeps, is_lent, config.statement_timeout), memory))
}

/// Prepares no statements where the sessions keep none; answers whether single statements need no transaction of their own. A pooler
/// may part a statement that is not prepared from its execution, unless a transaction holds them.
async fn learn_habits(config: &mut PostgresConfig, connections: &Connections) -> Result<bool> {
    if !config.prepared_statements {
        return Ok(false);
    }
    let habits = session::habits(connections, config.statement_timeout).await?;
    config.prepared_statements = habits.keeps_statements;
    Ok(habits.keeps_statements && habits.is_read_committed)
}

/// The queue's own calls run to their ends in tasks of their own, so that they leave no transaction behind: looking for
/// one costs a third of the rate of single enqueues, and is done only once the service can have left one.
async fn open(
    config: &PostgresConfig,
    found: Found,
    url: &PgConnectOptions,
    is_lent: Arc<AtomicBool>,
    unsettled: Arc<Unsettled>,
) -> Result<PgPool> {
    let url = if config.prepared_statements { url.clone() } else { url.clone().statement_cache_capacity(0) };
    // Behind a pooler the settings would stay with a connection that others get.
    let is_own = config.prepared_statements && !found.pooler.shares_servers();
    let set_up: Option<Arc<str>> =
        is_own.then(|| session::set_up(found.engine, config.lock_wait_timeout).into());
    let pool = PgPoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            unsettled.connected();
            let set_up = set_up.clone();
            Box::pin(async move {
                let Some(set_up) = set_up else { return Ok(()) };
                session::set(connection, &set_up).await
            })
        })
        .after_release(move |connection, _| {
            let may_be_open = is_lent.load(Ordering::Relaxed) && !comes_from_queue();
            Box::pin(async move { Ok(!may_be_open || session::is_clean(connection, found.engine).await?) })
        });
    pool.connect_with(url).await.map_err(|error| error::connect_failure(error).into_error("connect"))
}
