//! MySQL and MariaDB behind `taskqueue`: [`MysqlQueue`], which keeps the whole [`Queue`] contract in a database that
//! the service already has. It re-exports the core, so that a service depends on this crate alone.
//!
//! Guarantees: as [`Queue`] says. Leases follow the server's clock. [`enqueue_in`](MysqlQueue::enqueue_in) and
//! [`complete_in`](MysqlQueue::complete_in) commit or roll back with the caller's own rows;
//! `examples/transactional.rs` shows how.
//!
//! MySQL from 8.0.22, MariaDB from 10.6; [`Engine::Vitess`] has not been run. Nodes of Galera and of Group Replication are taken
//! as any server is: let a queue's address lead to one of them, and to another when that one is lost. Locks are a node's own, and
//! conflicts between nodes cost a repeated transaction.

mod answers;
mod batch;
mod beating;
mod burial;
mod calls;
mod claim;
mod claiming;
mod collision;
mod config;
mod detect;
mod dialect;
mod engine;
mod error;
mod flavour;
mod free;
#[cfg(test)]
mod golden;
mod insert;
mod join;
mod keys;
mod leases;
mod listing;
mod migrate;
mod oldest;
#[cfg(all(test, feature = "server-tests"))]
mod on_server;
mod packet;
mod pool;
mod promoting;
mod reclaiming;
mod run;
mod search;
mod settling;
mod transaction;
mod width;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use sqlx::MySqlConnection;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
pub use taskqueue_core::*;
#[doc(hidden)]
pub use taskqueue_sql::cursor::Scanning;
pub use taskqueue_sql::{Completed, Options, TableName};
use taskqueue_sql::{Dialect, Sharding, SqlQueue, Unsettled, comes_from_queue, kept_of};

pub use config::MysqlConfig;
use config::Source;
#[doc(hidden)]
pub use config::Testing;
use dialect::MysqlDialect;
pub use engine::Engine;
use engine::Server;
use pool::DriverPool;
use transaction::Connections;

/// A durable queue in a MySQL or MariaDB database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MysqlQueue {
    sql: SqlQueue<MysqlDialect>,
}

impl MysqlQueue {
    /// Connects to the database of a `mysql://` URL, with the default settings.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is not one; `Unavailable` when the server cannot be reached; `Backend` when it is
    /// too old, or its certificate is refused.
    ///
    /// # Cancel safety
    /// As [`with_config`](Self::with_config).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::with_config(MysqlConfig::url(url)?).await
    }

    /// Connects with these settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `InvalidInput` naming a setting.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing; the connections that it opened are closed.
    pub async fn with_config(mut config: MysqlConfig) -> Result<Self> {
        config.validate()?;
        let unsettled = Arc::<Unsettled>::default();
        let (connections, server) = match &config.source {
            Source::Pool(pool) => {
                let connections =
                    Connections::new(DriverPool(pool.clone()), 0, Arc::default(), config.statement_timeout);
                (connections, ask(pool, &config).await?)
            }
            Source::Url(url) => open(&config, url, Arc::clone(&unsettled)).await?,
        };
        config.options.payload_bytes_max = server.payload_bytes_max(config.options.payload_bytes_max);
        let sharding = Sharding::new(config.shards()?);
        let dialect = MysqlDialect::new(connections, server.engine, &config, sharding, unsettled);
        Ok(Self { sql: SqlQueue::new(dialect) })
    }

    /// Brings the schema up to date. Idempotent; several processes may do it at once. A new table gets the shards that
    /// the settings say, for good.
    ///
    /// # Errors
    /// What the database says, `Backend` when a newer program has migrated it already, and `InvalidInput` when the
    /// settings say another number of shards than the table has. DDL commits by itself in these engines: a migration that was cut short is taken up
    /// again by the next call.
    ///
    /// # Cancel safety
    /// Dropped, it ends at once; the server may go on with the statements that it was sent. A version may then be applied in part,
    /// which the next call applies again.
    pub async fn migrate(&self) -> Result<()> {
        let dialect = self.sql.dialect();
        let (table, sharding) = (&dialect.options().table, dialect.sharding());
        let recorded = migrate::migrate(
            &dialect.connections().pool().0,
            dialect.answers(),
            table,
            sharding.of_new_table(),
        )
        .await?;
        sharding.learn(table, Some(recorded)).map(drop).map_err(|failure| failure.into_error("migrate"))
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
    /// gives back to it, rolls back what dropped futures left open and turns autocommit on: a round trip more for each. On its own pool the server
    /// ends statements of the service, too, that take as long as [`statement_timeout`](MysqlConfig::statement_timeout). Closing
    /// the queue closes its own pool, and leaves one open that it was given.
    pub fn pool(&self) -> &MySqlPool {
        &self.sql.dialect().connections().lend().0
    }
}

delegate_queue!(MysqlQueue, |queue| queue.sql);

/// Asks the server what it is, by a connection that asks nothing of it that one of the engines refuses; then opens the
/// pool. A connection that the service may have left inside a transaction, or without autocommit, is reset before it is lent
/// again; the queue's own calls close theirs.
async fn open(
    config: &MysqlConfig,
    url: &MySqlConnectOptions,
    unsettled: Arc<Unsettled>,
) -> Result<(Connections, Server)> {
    let plain = url.clone().pipes_as_concat(false).no_engine_substitution(false).timezone(None);
    let asking = MySqlPoolOptions::new().max_connections(1).acquire_timeout(config.acquire_timeout);
    let asking = asking.connect_with(plain.clone()).await.map_err(|error| unreachable(error, url))?;
    let server = ask(&asking, config).await;
    asking.close().await;
    let server = server?;
    let session = server.engine.session(config);
    let reset = server.engine.reset();
    let is_lent = Arc::new(AtomicBool::new(false));
    let looks = Arc::clone(&is_lent);
    let pool = MySqlPoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            unsettled.connected();
            let session = session.clone();
            Box::pin(async move {
                for setting in session {
                    connection.execute(AssertSqlSafe(setting)).await?;
                }
                Ok(())
            })
        })
        .after_release(move |connection, _| {
            let may_be_open = looks.load(Ordering::Relaxed) && !comes_from_queue();
            Box::pin(async move { Ok(!may_be_open || connection.execute(reset).await.map(|_| true)?) })
        })
        .connect_with(if server.engine == Engine::Vitess { plain } else { url.clone() });
    let pool = DriverPool(pool.await.map_err(|error| unreachable(error, url))?);
    let keeps = kept_of(config.connections_max);
    Ok((Connections::new(pool, keeps, is_lent, config.statement_timeout), server))
}

/// What the server is; refuses one that is too old.
async fn ask(pool: &MySqlPool, config: &MysqlConfig) -> Result<Server> {
    let connection = pool.acquire().await;
    let mut connection = connection.map_err(|error| unreachable(error, &pool.connect_options()))?;
    let server = match detect::connected(&mut connection, config.engine, config.statement_timeout).await {
        Ok(server) => server,
        // Its answer may still be to come, for which the pool would wait.
        Err(failure) => {
            drop(connection.detach());
            return Err(failure.into_error("connect"));
        }
    };
    server.check()?;
    Ok(server)
}

fn unreachable(error: sqlx::Error, place: &MySqlConnectOptions) -> Error {
    error::connect_failure(error, place.get_socket().map(PathBuf::as_path)).into_error("connect")
}
