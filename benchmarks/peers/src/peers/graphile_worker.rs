//! `graphile_worker`. It deletes what is finished.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions, WorkerUtils,
};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use taskqueue_bench::engine::Kind;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

const SCHEMA: &str = "graphile_worker";

pub(super) const ENTRY: Entry = Entry {
    name: "graphile_worker",
    package: "graphile_worker",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            // Migrates, and registers the task.
            options(&pool).init().await?;
            let utils = WorkerUtils::new(pool.clone(), SCHEMA);
            Ok(Box::new(Graphile { pool, utils }) as Box<dyn Peer>)
        })
    },
};

impl TaskHandler for Photo {
    const IDENTIFIER: &'static str = "photo";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        handled(&self);
    }
}

fn options(pool: &PgPool) -> WorkerOptions {
    WorkerOptions::default()
        .schema(SCHEMA)
        .pg_pool(pool.clone())
        .listen_os_shutdown_signals(false)
        .define_job::<Photo>()
}

struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

#[async_trait]
impl Peer for Graphile {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.utils.add_job(photo, JobSpec::default()).await?;
        Ok(())
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<_> = photos.into_iter().map(|photo| (photo, &spec)).collect();
        self.utils.add_jobs(&jobs).await?;
        Ok(())
    }

    /// Tuned: the "throughput-oriented worker" of its documents, with a local queue that suits the concurrency.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let options = options(&self.pool).concurrency(setting.concurrency);
        let options = if setting.is_tuned {
            options
                .complete_job_batch_delay(Duration::from_millis(5))
                .fail_job_batch_delay(Duration::from_millis(5))
                .poll_interval(Duration::from_millis(500))
                .local_queue(LocalQueueConfig::default().with_size(setting.concurrency.max(20) * 5))
        } else {
            options
        };
        let worker = Arc::new(options.init().await?);
        let running = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.run().await }
        });
        Ok(Box::pin(async move {
            worker.request_shutdown();
            running.await.ok();
        }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM graphile_worker._private_jobs";
        Ok(sqlx::query_scalar(count).fetch_one(&self.pool).await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
