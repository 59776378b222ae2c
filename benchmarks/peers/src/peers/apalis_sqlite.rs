//! `apalis` with `apalis-sqlite`. It keeps what is finished.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BackendExt, BoxDynError, TaskSink, WorkerBuilder};
use apalis_sqlite::{Config, SqliteStorage};
use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use taskqueue_bench::engine::Kind;
use tokio::sync::oneshot;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "apalis-sqlite",
    package: "apalis-sqlite",
    kind: Kind::Sqlite,
    open: |path| {
        Box::pin(async move {
            let pool = connect(&path).await?;
            SqliteStorage::setup(&pool).await?;
            pool.close().await;
            Ok(Box::new(Apalis(connect(&path).await?)) as Box<dyn Peer>)
        })
    },
};

/// Every commit on the disk. Its set-up turns that off, but only for the connection that it gets.
async fn connect(path: &str) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    Ok(SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?)
}

/// Workers may not share a name.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

async fn handle(photo: Photo) -> Result<(), BoxDynError> {
    handled(&photo);
    Ok(())
}

struct Apalis(SqlitePool);

impl Apalis {
    fn storage(&self, config: Config) -> SqliteStorage<Photo> {
        SqliteStorage::new(&self.0).with_config(config.queue("photos"))
    }
}

#[async_trait]
impl Peer for Apalis {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        Ok(self.storage(Config::default()).push(photo).await?)
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        Ok(self.storage(Config::default()).push_bulk(photos).await?)
    }

    /// Tuned: it polls often, more tasks a claim.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let name = format!("worker-{}-{}", std::process::id(), WORKERS.fetch_add(1, Ordering::Relaxed));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            stopped.await.ok();
            Ok::<(), std::io::Error>(())
        };
        let builder = WorkerBuilder::new(name);
        let running = if setting.is_tuned {
            let config = Config::default().batch_size(setting.concurrency * 5);
            let storage = self.storage(config).poll_with_interval(Duration::from_millis(5));
            let worker = builder.backend(storage).concurrency(setting.concurrency).build(handle);
            tokio::spawn(worker.run_until(stopped))
        } else {
            let storage = self.storage(Config::default());
            let worker = builder.backend(storage).concurrency(setting.concurrency).build(handle);
            tokio::spawn(worker.run_until(stopped))
        };
        Ok(Box::pin(async move {
            stop.send(()).ok();
            running.await.ok();
        }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM Jobs WHERE status IN ('Pending', 'Queued', 'Running', 'Failed')";
        Ok(sqlx::query_scalar(count).fetch_one(&self.0).await?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
