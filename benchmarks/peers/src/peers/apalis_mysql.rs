//! `apalis` with MySQL, as the last stable release has it. It keeps what is finished, and has no call for batches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use apalis_sql::Config;
use apalis_sql::mysql::MysqlStorage;
use apalis07::layers::WorkerBuilderExt;
use apalis07::prelude::{Error, Monitor, Storage, WorkerBuilder, WorkerFactoryFn};
use async_trait::async_trait;
use sqlx08::MySqlPool;
use sqlx08::mysql::MySqlPoolOptions;
use taskqueue_bench::engine::Kind;
use tokio::sync::oneshot;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "apalis-mysql",
    package: "apalis-sql",
    kind: Kind::Mysql,
    open: |url| {
        Box::pin(async move {
            let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            MysqlStorage::setup(&pool).await?;
            Ok(Box::new(Apalis(pool)) as Box<dyn Peer>)
        })
    },
};

/// Workers may not share a name.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

async fn handle(photo: Photo) -> Result<(), Error> {
    handled(&photo);
    Ok(())
}

struct Apalis(MySqlPool);

impl Apalis {
    fn storage(&self, config: Config) -> MysqlStorage<Photo> {
        MysqlStorage::new_with_config(self.0.clone(), config)
    }
}

fn config() -> Config {
    Config::new("photos")
}

#[async_trait]
impl Peer for Apalis {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.storage(config()).push(photo).await?;
        Ok(())
    }

    fn has_batches(&self) -> bool {
        false
    }

    /// Tuned: it polls often, more tasks a claim. It waits for a poll before each claim and each round of completions.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let name = format!("worker-{}-{}", std::process::id(), WORKERS.fetch_add(1, Ordering::Relaxed));
        let config = if setting.is_tuned {
            config().set_buffer_size(setting.concurrency * 5).set_poll_interval(Duration::from_millis(5))
        } else {
            config()
        };
        let worker = WorkerBuilder::new(name)
            .concurrency(setting.concurrency)
            .backend(self.storage(config))
            .build_fn(handle);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(Monitor::new().register(worker).run_with_signal(async move {
            stopped.await.ok();
            Ok(())
        }));
        Ok(Box::pin(async move {
            stop.send(()).ok();
            running.await.ok();
        }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM jobs WHERE status IN ('Pending', 'Scheduled', 'Running', 'Failed')";
        Ok(sqlx08::query_scalar(count).fetch_one(&self.0).await?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
