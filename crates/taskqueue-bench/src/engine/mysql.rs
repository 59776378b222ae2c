//! MySQL and MariaDB as engines: each bed is a database.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, Row as _};
use taskqueue_core::{NewTask, Queue};
use taskqueue_mysql::{Completed, MysqlConfig, MysqlQueue};

use super::{Bed, Connections, Engine, Horizon, OnServer, Producer, Transactions, database, with_database};
use crate::bare::{Bare, mysql::BareMysql};
use crate::connections;
use crate::servers::Server;

/// How many undo records InnoDB has not purged.
const HISTORY: &str = "SELECT CAST(count AS SIGNED) FROM information_schema.innodb_metrics \
    WHERE name = 'trx_rseg_history_len'";
/// So few are as good as none: InnoDB keeps some.
const HISTORY_SHORT: i64 = 500;
/// Two minutes.
const PURGE_POLLS_MAX: usize = 1_200;

/// A server.
pub(super) struct Mysql(Arc<Server>);

impl Mysql {
    /// An engine on this server.
    pub(super) fn boxed(server: Server) -> Box<dyn Engine> {
        Box::new(Self(Arc::new(server)))
    }
}

#[async_trait]
impl Engine for Mysql {
    async fn bed(&self, name: &str) -> Result<Box<dyn Bed>> {
        let database = database(name);
        execute(&self.0.url, format!("DROP DATABASE IF EXISTS {database}")).await?;
        execute(&self.0.url, format!("CREATE DATABASE {database}")).await?;
        let url = with_database(&self.0.url, &database)?;
        Ok(Box::new(MysqlBed { server: Arc::clone(&self.0), database, url }))
    }

    /// A binary log that is off has nothing to sync.
    async fn lax_settings(&self) -> Result<Vec<String>> {
        let settings = "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog";
        let row = sqlx::query(settings).fetch_one(&mut connections::mysql(&self.0.url).await?).await?;
        let value = |place| row.try_get_unchecked::<i64, _>(place);
        let (flush, has_log, sync) = (value(0)?, value(1)?, value(2)?);
        let mut lax = Vec::new();
        if flush != 1 {
            lax.push(format!("innodb_flush_log_at_trx_commit = {flush}"));
        }
        if has_log != 0 && sync != 1 {
            lax.push(format!("sync_binlog = {sync}"));
        }
        Ok(lax)
    }
}

struct MysqlBed {
    server: Arc<Server>,
    database: String,
    url: String,
}

#[async_trait]
impl Bed for MysqlBed {
    async fn open(&self, connections: Connections) -> Result<Arc<dyn Queue>> {
        let mut config = MysqlConfig::url(&self.url)?;
        if let Connections::Most(most) = connections {
            config.connections_max = most;
        }
        let queue = MysqlQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    fn url(&self) -> Result<&str> {
        Ok(&self.url)
    }

    async fn bare(&self, connections: usize) -> Result<Arc<dyn Bare>> {
        Ok(Arc::new(BareMysql::connect(&self.url, connections).await?))
    }

    /// InnoDB purges in the background: waits until it has little left to purge.
    async fn rest(&self) -> Result<()> {
        let mut connection = connections::mysql(&self.url).await?;
        for _ in 0..PURGE_POLLS_MAX {
            let row = sqlx::query(HISTORY).fetch_one(&mut connection).await?;
            if row.try_get_unchecked::<i64, _>(0)? < HISTORY_SHORT {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("InnoDB does not purge: an old transaction is open")
    }

    fn on_server(&self) -> Result<&dyn OnServer> {
        Ok(self)
    }

    async fn remove(self: Box<Self>) -> Result<()> {
        execute(&self.server.url, format!("DROP DATABASE IF EXISTS {}", self.database)).await
    }
}

#[async_trait]
impl OnServer for MysqlBed {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        let queue = MysqlQueue::connect(&self.url).await?;
        queue.migrate().await?;
        Ok(Arc::new(MysqlProducer(queue)))
    }

    async fn pin(&self) -> Result<Box<dyn Any + Send>> {
        let mut connection = connections::mysql(&self.url).await?;
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        Ok(Box::new(connection))
    }

    async fn open_sharded(&self, shards: u16) -> Result<Arc<dyn Queue>> {
        let mut config = MysqlConfig::url(&self.url)?;
        config.shards = Some(shards);
        let queue = MysqlQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    async fn open_deleting(&self) -> Result<Arc<dyn Queue>> {
        let mut config = MysqlConfig::url(&self.url)?;
        config.options.completed = Completed::Delete;
        let queue = MysqlQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    fn horizon(&self) -> Horizon {
        Horizon::Server
    }

    async fn transactions(&self) -> Result<Transactions> {
        let mut connection = connections::mysql(&self.url).await?;
        let commits = status(&mut connection, "Com_commit").await?;
        let finished = commits + status(&mut connection, "Com_rollback").await?;
        Ok(Transactions { finished, deadlocks: 0 })
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    async fn log_bytes(&self) -> Result<f64> {
        Ok(status(&mut connections::mysql(&self.url).await?, "Innodb_os_log_written").await? as f64)
    }
}

/// A counter of the server's.
async fn status(connection: &mut MySqlConnection, name: &str) -> Result<i64> {
    let show = AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{name}'"));
    let row = sqlx::query(show).fetch_one(connection).await.with_context(|| format!("the status {name}"))?;
    Ok(row.try_get::<String, _>(1)?.parse()?)
}

struct MysqlProducer(MysqlQueue);

#[async_trait]
impl Producer for MysqlProducer {
    async fn enqueue(&self, task: NewTask) -> Result<()> {
        self.0.enqueue(task).await?;
        Ok(())
    }

    async fn enqueue_in_transaction(&self, task: NewTask) -> Result<()> {
        let mut transaction = self.0.pool().begin().await?;
        self.0.enqueue_in(&mut transaction, task).await?;
        Ok(transaction.commit().await?)
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.0.clone())
    }
}

async fn execute(url: &str, sql: String) -> Result<()> {
    let mut connection = connections::mysql(url).await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(connection.close().await?)
}
