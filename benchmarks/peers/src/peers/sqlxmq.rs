//! `sqlxmq`. It deletes what is finished, and has no call for batches.

use anyhow::Result;
use async_trait::async_trait;
use sqlx08::PgPool;
use sqlx08::postgres::PgPoolOptions;
use sqlxmq::{CurrentJob, JobRegistry, job};
use taskqueue_bench::engine::Kind;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "sqlxmq",
    package: "sqlxmq",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            migrate(&pool).await?;
            Ok(Box::new(Sqlxmq(pool)) as Box<dyn Peer>)
        })
    },
};

/// In the function of an index. PostgreSQL builds indexes without a search path from version 17 on, where the first is
/// not found, so that its migrations end with an error.
const UNQUALIFIED: (&str, &str) =
    ("id IS NOT NULL AND id != uuid_nil()", "id IS NOT NULL AND id != public.uuid_nil()");

/// Its documents say to copy its migrations into one's own.
async fn migrate(pool: &PgPool) -> Result<()> {
    let is_there = "SELECT to_regclass('mq_msgs') IS NOT NULL";
    if sqlx08::query_scalar(is_there).fetch_one(pool).await? {
        return Ok(());
    }
    for sql in super::migrations("sqlxmq", "migrations", ".up.sql")? {
        sqlx08::raw_sql(&sql.replace(UNQUALIFIED.0, UNQUALIFIED.1)).execute(pool).await?;
    }
    Ok(())
}

#[job(channel_name = "photos")]
async fn handle(mut job: CurrentJob) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let photo: Photo = job.json()?.ok_or("a job without a payload")?;
    handled(&photo);
    job.complete().await?;
    Ok(())
}

struct Sqlxmq(PgPool);

#[async_trait]
impl Peer for Sqlxmq {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        handle.builder().set_json(&photo)?.spawn(&self.0).await?;
        Ok(())
    }

    fn has_batches(&self) -> bool {
        false
    }

    /// Tuned: claims as many at once as its documents say is more efficient, by a lower minimum.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let most = setting.concurrency;
        let least = if setting.is_tuned { most / 5 } else { most / 2 };
        let mut runner =
            JobRegistry::new(&[handle]).runner(&self.0).set_concurrency(least, most).run().await?;
        Ok(Box::pin(async move { runner.stop().await }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM mq_msgs WHERE id <> uuid_nil()";
        Ok(sqlx08::query_scalar(count).fetch_one(&self.0).await?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
