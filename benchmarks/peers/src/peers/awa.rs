//! `awa`. It keeps what is finished.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use awa::{Client, InsertOpts, JobArgs, JobResult, QueueConfig};
use sqlx08::PgPool;
use sqlx08::postgres::PgPoolOptions;
use taskqueue_bench::engine::Kind;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "awa",
    package: "awa",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            super::in_place(awa::migrations::run(&pool))?;
            Ok(Box::new(Awa(pool)) as Box<dyn Peer>)
        })
    },
};

impl JobArgs for Photo {
    fn kind() -> &'static str {
        "photo"
    }
}

struct Awa(PgPool);

#[async_trait]
impl Peer for Awa {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        awa::insert(&self.0, &photo).await?;
        Ok(())
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        let job = |photo| {
            let args = serde_json::to_value(photo)?;
            Ok(awa::InsertParams { kind: Photo::kind().to_owned(), args, opts: InsertOpts::default() })
        };
        let jobs: Result<Vec<_>> = photos.iter().map(job).collect();
        awa::insert_many_copy_from_pool(&self.0, &jobs?).await?;
        Ok(())
    }

    /// Tuned: claims by two loops, and polls often.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let config =
            QueueConfig { max_workers: u32::try_from(setting.concurrency)?, ..QueueConfig::default() };
        let config = if setting.is_tuned {
            QueueConfig { claimers: 2, poll_interval: Duration::from_millis(20), ..config }
        } else {
            config
        };
        let client = Client::builder(self.0.clone())
            .queue("default", config)
            .register::<Photo, _, _>(|photo, _| async move {
                handled(&photo);
                Ok(JobResult::Completed)
            })
            .build()?;
        client.start().await?;
        Ok(Box::pin(async move { client.shutdown(Duration::from_secs(5)).await }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM awa.jobs \
            WHERE state IN ('scheduled', 'available', 'running', 'retryable')";
        Ok(sqlx08::query_scalar(count).fetch_one(&self.0).await?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
