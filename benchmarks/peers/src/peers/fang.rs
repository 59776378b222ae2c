//! `fang`, its asynchronous workers. It deletes what is finished, and has no call for batches.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use fang::asynk::async_runnable::AsyncRunnable;
use fang::asynk::async_worker_pool::AsyncWorkerPool;
use fang::{FangError, SleepParams, typetag};
use sqlx08::PgPool;
use sqlx08::postgres::PgPoolOptions;
use taskqueue_bench::engine::Kind;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "fang",
    package: "fang",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
            migrate(&pool).await?;
            let queue = connect(&url).await?;
            Ok(Box::new(Fang { url, queue, pool }) as Box<dyn Peer>)
        })
    },
};

/// Its migrations run themselves only with another client library: its documents also say to apply them by hand.
async fn migrate(pool: &PgPool) -> Result<()> {
    let is_there = "SELECT to_regclass('fang_tasks') IS NOT NULL";
    if sqlx08::query_scalar(is_there).fetch_one(pool).await? {
        return Ok(());
    }
    for sql in super::migrations("fang", "postgres_migrations", "up.sql")? {
        sqlx08::raw_sql(&sql).execute(pool).await?;
    }
    Ok(())
}

async fn connect(url: &str) -> Result<AsyncQueue> {
    let mut queue = AsyncQueue::builder().uri(url).max_pool_size(CONNECTIONS).build();
    queue.connect().await?;
    Ok(queue)
}

#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Photo {
    async fn run(&self, _: &dyn AsyncQueueable) -> Result<(), FangError> {
        handled(self);
        Ok(())
    }
}

struct Fang {
    url: String,
    queue: AsyncQueue,
    /// Its own pool cannot be asked.
    pool: PgPool,
}

#[async_trait]
impl Peer for Fang {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.queue.insert_task(&photo).await?;
        Ok(())
    }

    fn has_batches(&self) -> bool {
        false
    }

    /// Tuned: it polls often. Its workers cannot be stopped, so that they have a runtime of their own, which can.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let often = Duration::from_millis(5);
        let sleep = SleepParams {
            sleep_period: often,
            max_sleep_period: often,
            min_sleep_period: often,
            sleep_step: Duration::ZERO,
        };
        let sleep_params = if setting.is_tuned { sleep } else { SleepParams::default() };
        let (workers, url) = (u32::try_from(setting.concurrency)?, self.url.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.spawn(async move {
            let queue = connect(&url).await?;
            let builder = AsyncWorkerPool::<AsyncQueue>::builder().number_of_workers(workers).queue(queue);
            builder.sleep_params(sleep_params).build().start().await;
            anyhow::Ok(())
        });
        Ok(Box::pin(async move { runtime.shutdown_background() }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM fang_tasks WHERE state IN ('new', 'in_progress', 'retried')";
        Ok(sqlx08::query_scalar(count).fetch_one(&self.pool).await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
