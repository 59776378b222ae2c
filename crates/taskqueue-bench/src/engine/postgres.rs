//! PostgreSQL as an engine: each bed is a database, because a transaction holds back the horizon of its own database
//! only.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use taskqueue_core::{NewTask, Queue};
use taskqueue_postgres::{Completed, PostgresConfig, PostgresQueue, WakeUpMode};

use super::{Bed, Connections, Engine, Horizon, OnServer, Producer, Transactions, database, with_database};
use crate::bare::{Bare, postgres::BarePostgres};
use crate::connections;
use crate::servers::Server;

/// A server.
pub(super) struct Postgres(Arc<Server>);

impl Postgres {
    /// An engine on this server.
    pub(super) fn boxed(server: Server) -> Box<dyn Engine> {
        Box::new(Self(Arc::new(server)))
    }
}

#[async_trait]
impl Engine for Postgres {
    async fn bed(&self, name: &str) -> Result<Box<dyn Bed>> {
        let database = database(name);
        let client = connections::postgres(&self.0.url).await?;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
        client.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        let url = with_database(&self.0.url, &database)?;
        Ok(Box::new(PostgresBed { server: Arc::clone(&self.0), database, url }))
    }

    async fn lax_settings(&self) -> Result<Vec<String>> {
        let lax = "SELECT name || ' = ' || setting FROM pg_settings \
            WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'off' ORDER BY name";
        let rows = connections::postgres(&self.0.url).await?.query(lax, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

struct PostgresBed {
    server: Arc<Server>,
    database: String,
    url: String,
}

#[async_trait]
impl Bed for PostgresBed {
    async fn open(&self, connections: Connections) -> Result<Arc<dyn Queue>> {
        let mut config = PostgresConfig::url(&self.url)?;
        if let Connections::Most(most) = connections {
            config.connections_max = most;
        }
        let queue = PostgresQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    fn url(&self) -> Result<&str> {
        Ok(&self.url)
    }

    async fn bare(&self, connections: usize) -> Result<Arc<dyn Bare>> {
        Ok(Arc::new(BarePostgres::connect(&self.url, connections).await?))
    }

    async fn rest(&self) -> Result<()> {
        let client = connections::postgres(&self.url).await?;
        client.batch_execute("VACUUM (ANALYZE)").await?;
        Ok(client.batch_execute("CHECKPOINT").await?)
    }

    fn on_server(&self) -> Result<&dyn OnServer> {
        Ok(self)
    }

    async fn remove(self: Box<Self>) -> Result<()> {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database);
        Ok(connections::postgres(&self.server.url).await?.batch_execute(&drop).await?)
    }
}

#[async_trait]
impl OnServer for PostgresBed {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        let queue = PostgresQueue::connect(&self.url).await?;
        queue.migrate().await?;
        Ok(Arc::new(PostgresProducer(queue)))
    }

    async fn open_without_hint(&self) -> Result<Arc<dyn Queue>> {
        let mut config = PostgresConfig::url(&self.url)?;
        config.wake_up = WakeUpMode::Off;
        let queue = PostgresQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    async fn open_sharded(&self, shards: u16) -> Result<Arc<dyn Queue>> {
        let mut config = PostgresConfig::url(&self.url)?;
        config.shards = Some(shards);
        let queue = PostgresQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    async fn open_deleting(&self) -> Result<Arc<dyn Queue>> {
        let mut config = PostgresConfig::url(&self.url)?;
        config.options.completed = Completed::Delete;
        let queue = PostgresQueue::with_config(config).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    fn horizon(&self) -> Horizon {
        Horizon::Database
    }

    async fn pin(&self) -> Result<Box<dyn Any + Send>> {
        let client = connections::postgres(&self.url).await?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").await?;
        Ok(Box::new(client))
    }

    /// A backend reports what it did when it ends; closing is not waited for, so this waits for it.
    async fn transactions(&self) -> Result<Transactions> {
        let client = connections::postgres(&self.server.url).await?;
        let others = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = $1 AND backend_type = 'client backend'";
        let counts = "SELECT xact_commit + xact_rollback, deadlocks FROM pg_stat_database WHERE datname = $1";
        for _ in 0..100 {
            let busy: i64 = client.query_one(others, &[&self.database]).await?.get(0);
            if busy == 0 {
                let row = client.query_one(counts, &[&self.database]).await?;
                return Ok(Transactions { finished: row.get(0), deadlocks: row.get(1) });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("a closed queue keeps its connections")
    }

    async fn log_bytes(&self) -> Result<f64> {
        let written = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(connections::postgres(&self.url).await?.query_one(written, &[]).await?.get(0))
    }
}

struct PostgresProducer(PostgresQueue);

#[async_trait]
impl Producer for PostgresProducer {
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
