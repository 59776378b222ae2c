//! MySQL and MariaDB as engines: each bed is a database.

use std::any::Any;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, Row as _};
use taskqueue_core::{NewTask, Queue};
use taskqueue_mysql::{MysqlConfig, MysqlQueue};

use super::{Bed, Connections, Engine, OnServer, Producer, Transactions, database, with_database};
use crate::bare::{Bare, mysql::BareMysql};
use crate::servers::Server;

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
        let row = sqlx::query(settings).fetch_one(&mut connect(&self.0.url).await?).await?;
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

    fn on_server(&self) -> Result<&dyn OnServer> {
        Ok(self)
    }

    async fn remove(self: Box<Self>) -> Result<()> {
        execute(&self.server.url, format!("DROP DATABASE IF EXISTS {}", self.database)).await
    }
}

#[async_trait]
impl OnServer for MysqlBed {
    fn url(&self) -> &str {
        &self.url
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        let queue = MysqlQueue::connect(&self.url).await?;
        queue.migrate().await?;
        Ok(Arc::new(MysqlProducer(queue)))
    }

    async fn bare(&self, connections: usize) -> Result<Arc<dyn Bare>> {
        Ok(Arc::new(BareMysql::connect(&self.url, connections).await?))
    }

    async fn pin(&self) -> Result<Box<dyn Any + Send>> {
        let mut connection = connect(&self.url).await?;
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        Ok(Box::new(connection))
    }

    /// InnoDB purges all the time.
    async fn rest(&self) -> Result<()> {
        Ok(())
    }

    async fn transactions(&self) -> Result<Transactions> {
        let mut connection = connect(&self.url).await?;
        let mut count = async |name: &str| -> Result<i64> {
            let row = sqlx::query(AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{name}'")))
                .fetch_one(&mut connection)
                .await?;
            Ok(row.try_get::<String, _>(1)?.parse()?)
        };
        let finished = count("Com_commit").await? + count("Com_rollback").await?;
        Ok(Transactions { finished, deadlocks: 0 })
    }
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

/// A connection whose transactions are READ COMMITTED, as the queue's are.
///
/// # Errors
/// What the server says.
pub(crate) async fn connect(url: &str) -> Result<MySqlConnection> {
    let mut connection = MySqlConnection::connect(url).await.context("connect to MySQL")?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    Ok(connection)
}

async fn execute(url: &str, sql: String) -> Result<()> {
    let mut connection = connect(url).await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(connection.close().await?)
}
