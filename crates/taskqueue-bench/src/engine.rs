//! The engines that are measured. An engine makes beds: empty databases in which queues are opened. It measures
//! nothing.

mod memory;
mod mysql;
mod postgres;
mod sqlite;

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;
use clap::ValueEnum;
use taskqueue_core::{NewTask, Queue};
use taskqueue_mysql::MysqlQueue;
use taskqueue_postgres::PostgresQueue;
use taskqueue_sqlite::Durability;

use crate::bare::Bare;
use crate::servers;
pub(crate) use sqlite::{open as open_sqlite, path as sqlite_path};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This process's memory.
    Memory,
    /// An SQLite file, each commit on the disk.
    Sqlite,
    /// PostgreSQL at `TASKQUEUE_POSTGRES_URL`, or in a container.
    Postgres,
    /// MySQL at `TASKQUEUE_MYSQL_URL`, or in a container.
    Mysql,
    /// MariaDB at `TASKQUEUE_MARIADB_URL`, or in a container.
    Mariadb,
}

impl Kind {
    /// Every engine.
    pub const ALL: [Self; 5] = [Self::Memory, Self::Sqlite, Self::Postgres, Self::Mysql, Self::Mariadb];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        })
    }
}

/// Finds an engine; `directory` is where files go. `None`: it needs a server and there is none.
///
/// # Errors
/// When its container does not become ready.
pub fn find(kind: Kind, directory: &Path) -> Result<Option<Box<dyn Engine>>> {
    let server = |variable, image| servers::find(&kind.to_string(), variable, image);
    Ok(match kind {
        Kind::Memory => Some(Box::new(memory::Memory)),
        Kind::Sqlite => Some(Box::new(sqlite::Sqlite::new(directory))),
        Kind::Postgres => server("TASKQUEUE_POSTGRES_URL", "postgres:17")?.map(postgres::Postgres::boxed),
        Kind::Mysql => server("TASKQUEUE_MYSQL_URL", "mysql:9.7")?.map(mysql::Mysql::boxed),
        Kind::Mariadb => server("TASKQUEUE_MARIADB_URL", "mariadb:11.8")?.map(mysql::Mysql::boxed),
    })
}

/// The engine's name and version, as it reports them.
///
/// # Errors
/// What the engine says.
pub async fn version(engine: &dyn Engine) -> Result<String> {
    let bed = engine.bed("version").await?;
    let queue = bed.open(Connections::Default).await?;
    let backend = queue.backend().await?;
    queue.close().await;
    bed.remove().await?;
    Ok(format!("{} {}", backend.name, backend.version))
}

/// Opens the queue in a migrated database that another process made, with nothing configured.
///
/// # Errors
/// What the engine says; when it is in another process's memory.
pub(crate) async fn connect(kind: Kind, url: &str) -> Result<Arc<dyn Queue>> {
    Ok(match kind {
        Kind::Memory => bail!("memory is one process's"),
        Kind::Sqlite => Arc::new(open_sqlite(url, Durability::Full).await?),
        Kind::Postgres => Arc::new(PostgresQueue::connect(url).await?),
        Kind::Mysql | Kind::Mariadb => Arc::new(MysqlQueue::connect(url).await?),
    })
}

/// How many connections a queue may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// What the backend opens when nothing is configured.
    Default,
    /// At most so many.
    Most(u32),
}

/// An engine that can be measured on this machine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Makes an empty database of this name, removing what had it.
    ///
    /// # Errors
    /// What the engine says.
    async fn bed(&self, name: &str) -> Result<Box<dyn Bed>>;

    /// Settings with which a commit may not survive a power cut, so that figures say nothing; as `name = value`.
    ///
    /// # Errors
    /// What the engine says.
    async fn lax_settings(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// A database of an engine, made for one comparison.
#[async_trait]
pub trait Bed: Send + Sync {
    /// Opens an instance of the queue, migrated. Instances of one bed share their tasks, but for memory's.
    ///
    /// # Errors
    /// What the engine says.
    async fn open(&self, connections: Connections) -> Result<Arc<dyn Queue>>;

    /// Opens an instance for filling `queue` faster than it may be worked, where there is such a thing.
    ///
    /// # Errors
    /// What the engine says.
    async fn open_to_fill(&self, queue: &Arc<dyn Queue>) -> Result<Arc<dyn Queue>> {
        Ok(Arc::clone(queue))
    }

    /// Its URL, for another process or another library.
    ///
    /// # Errors
    /// When nothing else can open it.
    fn url(&self) -> Result<&str> {
        bail!("only this process has it")
    }

    /// The bare program on an empty table of its own, with so many connections.
    ///
    /// # Errors
    /// What the engine says; where there is none.
    async fn bare(&self, connections: usize) -> Result<Arc<dyn Bare>> {
        bail!("there is no bare program with {connections} connections for this engine")
    }

    /// Does what the engine does in the background, so that it does not do it while something is timed.
    ///
    /// # Errors
    /// What the engine says.
    async fn rest(&self) -> Result<()> {
        Ok(())
    }

    /// What only a server's database can do.
    ///
    /// # Errors
    /// When this is none.
    fn on_server(&self) -> Result<&dyn OnServer> {
        bail!("this engine has no server")
    }

    /// Removes it with all it holds, whoever is connected.
    ///
    /// # Errors
    /// What the engine says.
    async fn remove(self: Box<Self>) -> Result<()>;
}

/// What a server's database can do beside holding a queue.
#[async_trait]
pub trait OnServer: Send + Sync {
    /// Opens the queue as an application does that configures nothing, for single enqueues.
    ///
    /// # Errors
    /// What the backend says.
    async fn producer(&self) -> Result<Arc<dyn Producer>>;

    /// Opens the queue so that its workers are not told of what other processes enqueue, and only poll.
    ///
    /// # Errors
    /// What the backend says; where it never tells.
    async fn open_without_hint(&self) -> Result<Arc<dyn Queue>> {
        bail!("this server gives no hints")
    }

    /// Opens the queue with its tasks spread over so many shards.
    ///
    /// # Errors
    /// What the backend says.
    async fn open_sharded(&self, shards: u16) -> Result<Arc<dyn Queue>>;

    /// Opens the queue so that a task's row is deleted when it is completed.
    ///
    /// # Errors
    /// What the backend says.
    async fn open_deleting(&self) -> Result<Arc<dyn Queue>>;

    /// How far an old transaction holds back what the server can forget.
    fn horizon(&self) -> Horizon;

    /// Holds a transaction open that sees what is there now, until what is answered is dropped.
    ///
    /// # Errors
    /// What the server says.
    async fn pin(&self) -> Result<Box<dyn Any + Send>>;

    /// How many transactions its clients have finished, and how many deadlocks there were, up to now; once every
    /// queue on it is closed.
    ///
    /// # Errors
    /// What the server says.
    async fn transactions(&self) -> Result<Transactions>;

    /// Bytes of the write-ahead or redo log so far, of all databases.
    ///
    /// # Errors
    /// What the server says.
    async fn log_bytes(&self) -> Result<f64>;
}

/// How far an old transaction holds back what the server can forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Horizon {
    /// In its own database.
    Database,
    /// In all of them.
    Server,
}

/// What a server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transactions {
    /// Committed or rolled back.
    pub finished: i64,
    /// Deadlocks that it broke.
    pub deadlocks: i64,
}

/// A queue as a producer sees it: through its backend's own type, whose `enqueue` may do more than the trait's.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Enqueues one task.
    ///
    /// # Errors
    /// As the queue's.
    async fn enqueue(&self, task: NewTask) -> Result<()>;

    /// Enqueues one task inside a transaction of the caller's, and commits it.
    ///
    /// # Errors
    /// As the queue's.
    async fn enqueue_in_transaction(&self, task: NewTask) -> Result<()>;

    /// The queue.
    fn queue(&self) -> Arc<dyn Queue>;
}

/// The database that a bed of this name has.
fn database(name: &str) -> String {
    format!("taskqueue_bench_{name}")
}

/// The URL of another database of the same server.
///
/// # Errors
/// When the URL has no authority. Its text is not repeated.
fn with_database(url: &str, database: &str) -> Result<String> {
    let Some((scheme, rest)) = url.split_once("://") else { bail!("a server's URL has no ://") };
    let (place, parameters) =
        rest.split_once('?').map_or((rest, None), |(place, given)| (place, Some(given)));
    let authority = place.split('/').next().unwrap_or(place);
    let parameters = parameters.map(|given| format!("?{given}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{database}{parameters}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_keeps_the_rest_of_the_url() {
        let moved = |url| with_database(url, "b").expect("a URL");
        assert_eq!(
            moved("postgres://u:p@h:5432/a?sslmode=disable"),
            "postgres://u:p@h:5432/b?sslmode=disable"
        );
        assert_eq!(moved("mysql://u@h"), "mysql://u@h/b");
        assert!(with_database("nothing", "b").is_err());
    }
}
