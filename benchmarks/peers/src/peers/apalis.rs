//! `apalis` with `apalis-postgres`. It keeps what is finished.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BackendExt, BoxDynError, TaskSink, WorkerBuilder};
use apalis_postgres::{Config, PostgresStorage};
use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use taskqueue_bench::engine::Kind;
use tokio::sync::oneshot;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "apalis",
    package: "apalis-postgres",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            PostgresStorage::setup(&pool).await?;
            Ok(Box::new(Apalis(pool)) as Box<dyn Peer>)
        })
    },
};

/// Workers may not share a name.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

async fn handle(photo: Photo) -> Result<(), BoxDynError> {
    handled(&photo);
    Ok(())
}

struct Apalis(PgPool);

impl Apalis {
    fn storage(&self, config: Config) -> PostgresStorage<Photo> {
        PostgresStorage::new(&self.0).with_config(config.queue("photos"))
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

    /// Tuned: woken by the server, more tasks a claim.
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
            let storage = self.storage(config).with_pubsub().poll_with_interval(Duration::from_secs(1));
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
        let count =
            "SELECT count(*) FROM apalis.jobs WHERE status IN ('Pending', 'Queued', 'Running', 'Failed')";
        Ok(sqlx::query_scalar(count).fetch_one(&self.0).await?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
