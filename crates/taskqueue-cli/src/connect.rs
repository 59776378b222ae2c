//! From the database's options to a queue. It owns which backends this build has, and when tables may be made: a
//! SQLite file that is not there yet is created with its tables; a server's tables are made only on demand.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{ErrorKind, Queue};
use taskqueue_migrations::Engine;
use taskqueue_sql::TableName;
use tokio::time::Instant;

use crate::failure::{Code, Failure, Outcome};
use crate::target::{Place, Target};

/// How long a command waits for a server to answer; it may be starting.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const SERVER_WAIT: Duration = Duration::from_secs(10);
/// How long a new SQLite file may have no tables: another program that started at the same time is making them.
const NEW_FILE_WAIT: Duration = Duration::from_secs(2);
const NEW_FILE_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is done about the tables when a queue is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// They must be there.
    Expected,
    /// They must be there, or another program is making them: the file may be new.
    Awaited,
    /// They are created or upgraded; new ones get so many shards.
    Migrated { shards: Option<u16> },
}

/// A queue, and what its tables were before.
pub(crate) struct Opened {
    pub(crate) queue: Arc<dyn Queue>,
    /// The version of the schema before it was migrated, 0 where there was none. None where nothing was to be migrated.
    pub(crate) version_before: Option<i64>,
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl Tables {
    /// What is asked for. Else a queue goes by what its table was made with.
    fn shards(self) -> Option<u16> {
        match self {
            Self::Expected | Self::Awaited => None,
            Self::Migrated { shards } => shards,
        }
    }
}

/// The queue in a database that is there.
pub(crate) async fn existing(target: &Target) -> Outcome<Arc<dyn Queue>> {
    if is_missing(&target.place()?) {
        let hint = "enqueue something, run `taskqueue migrate`, or name another --database";
        return Err(Failure::new(Code::NotFound, format!("there is no database at {target}: {hint}")));
    }
    open(target, Tables::Expected).await
}

/// The queue in a database; a SQLite file that is not there yet is created with its tables. One that is there is
/// another's until `migrate` was run on it, and so is a server's database: then it is left as it is.
pub(crate) async fn existing_or_new(target: &Target) -> Outcome<Arc<dyn Queue>> {
    let tables = match target.place()? {
        place if is_missing(&place) => Tables::Migrated { shards: None },
        Place::File(_) => Tables::Awaited,
        Place::Server(_) => Tables::Expected,
    };
    open(target, tables).await
}

/// The queue in a database, its tables created or upgraded; also the file, if it is a SQLite file. New tables get so
/// many shards; with none said, one.
pub(crate) async fn migrated(target: &Target, shards: Option<u16>) -> Outcome<Opened> {
    let engine = target.engine()?;
    if shards.is_some() && !engine.has_shards() {
        return Err(Failure::usage(format!("--shards is for servers; {engine} keeps all tasks in one")));
    }
    opened(target, Tables::Migrated { shards }).await
}

/// Whether there is nothing yet: no file, or an empty one.
fn is_missing(place: &Place) -> bool {
    match place {
        Place::File(path) => std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0),
        Place::Server(_) => false,
    }
}

async fn open(target: &Target, tables: Tables) -> Outcome<Arc<dyn Queue>> {
    opened(target, tables).await.map(|opened| opened.queue)
}

async fn opened(target: &Target, tables: Tables) -> Outcome<Opened> {
    let engine = target.engine()?;
    let table = target.table(engine)?;
    let opened = match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => sqlite(target.url(), table, tables).await,
        #[cfg(feature = "postgres")]
        Engine::Postgres | Engine::Cockroach => postgres(target.url(), table, tables).await,
        #[cfg(feature = "mysql")]
        Engine::Mysql => mysql(target.url(), table, tables).await,
        #[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mysql")))]
        engine => return Err(not_built(engine)),
    };
    let opened = opened.map_err(|error| Failure::from(error).context(target))?;
    // The cheapest question that needs the tables: without them, say so now and not at each claim of a worker.
    let asked = match tables {
        Tables::Migrated { .. } => return Ok(opened),
        Tables::Expected => opened.queue.paused().await,
        Tables::Awaited => once_migrated(|| opened.queue.paused()).await,
    };
    asked.map_err(|error| Failure::opening(error).context(target))?;
    Ok(opened)
}

/// Asks until the tables are there, or for as long as they may be in the making.
async fn once_migrated<T, Answer>(ask: impl Fn() -> Answer) -> taskqueue_core::Result<T>
where
    Answer: Future<Output = taskqueue_core::Result<T>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.kind() == ErrorKind::NotMigrated && started.elapsed() < NEW_FILE_WAIT => {
                tokio::time::sleep(NEW_FILE_LOOK_INTERVAL).await;
            }
            asked => return asked,
        }
    }
}

#[cfg(feature = "sqlite")]
async fn sqlite(url: &str, table: TableName, tables: Tables) -> taskqueue_core::Result<Opened> {
    use taskqueue_sqlite::{SqliteConfig, SqliteQueue};
    let config = SqliteConfig::new(url)?.table(table);
    let queue = SqliteQueue::with_config(config).await?;
    let mut version_before = None;
    if matches!(tables, Tables::Migrated { .. }) {
        version_before = Some(queue.schema_version().await?);
        queue.migrate().await?;
    }
    Ok(Opened { queue: Arc::new(queue), version_before })
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, table: TableName, tables: Tables) -> taskqueue_core::Result<Opened> {
    use taskqueue_postgres::{PostgresConfig, PostgresQueue};
    let mut config = PostgresConfig::url(url)?;
    config.options.table = table;
    config.acquire_timeout = SERVER_WAIT;
    config.shards = tables.shards();
    let queue = PostgresQueue::with_config(config).await?;
    let mut version_before = None;
    if matches!(tables, Tables::Migrated { .. }) {
        version_before = Some(queue.schema_version().await?);
        queue.migrate().await?;
    }
    Ok(Opened { queue: Arc::new(queue), version_before })
}

#[cfg(feature = "mysql")]
async fn mysql(url: &str, table: TableName, tables: Tables) -> taskqueue_core::Result<Opened> {
    use taskqueue_mysql::{MysqlConfig, MysqlQueue};
    let mut config = MysqlConfig::url(url)?;
    config.options.table = table;
    config.acquire_timeout = SERVER_WAIT;
    config.shards = tables.shards();
    let queue = MysqlQueue::with_config(config).await?;
    let mut version_before = None;
    if matches!(tables, Tables::Migrated { .. }) {
        version_before = Some(queue.schema_version().await?);
        queue.migrate().await?;
    }
    Ok(Opened { queue: Arc::new(queue), version_before })
}

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("choose a backend: --features sqlite, postgres or mysql");

#[cfg(any(test, not(all(feature = "sqlite", feature = "postgres", feature = "mysql"))))]
fn not_built(engine: Engine) -> Failure {
    let feature = engine.name();
    Failure::usage(format!(
        "this build cannot open {engine} databases: it was built without the feature `{feature}`; \
         `cargo install --path crates/taskqueue-cli` installs one with every backend, \
         `--no-default-features --features {feature}` one with this backend alone"
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use taskqueue_core::Error;

    use super::*;

    /// Asks for tables that are there from the question of this number on. Answers how that went, and the questions.
    async fn asked(there_from: u32, missing: ErrorKind) -> (Option<ErrorKind>, u32) {
        let questions = Cell::new(0);
        let ask = || async {
            questions.set(questions.get() + 1);
            let is_there = questions.get() >= there_from;
            if is_there { Ok(()) } else { Err(Error::new(missing, "paused", "no table tasks")) }
        };
        let failed = once_migrated(ask).await.err().map(|error| error.kind());
        (failed, questions.get())
    }

    #[tokio::test(start_paused = true)]
    async fn tables_that_another_program_is_making_are_waited_for() {
        assert_eq!(asked(3, ErrorKind::NotMigrated).await, (None, 3));
        let (failed, questions) = asked(u32::MAX, ErrorKind::NotMigrated).await;
        assert!(failed == Some(ErrorKind::NotMigrated) && questions > 9, "{failed:?}, {questions}");
        assert_eq!(asked(3, ErrorKind::Backend).await, (Some(ErrorKind::Backend), 1));
    }

    #[test]
    fn a_build_without_a_backend_says_which_feature_brings_it() {
        let failure = not_built(Engine::Postgres);
        assert_eq!(failure.code(), Code::Usage);
        assert!(failure.message().is_some_and(|text| text.contains("the feature `postgres`")), "{failure:?}");
    }
}
