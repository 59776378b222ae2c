//! `taskqueue`: ours, on each engine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use taskqueue_bench::engine::Kind;
use taskqueue_core::{NewTask, Payload, Queue};
use taskqueue_mysql::MysqlQueue;
use taskqueue_postgres::PostgresQueue;
use taskqueue_sqlite::{Durability, SqliteConfig, SqliteQueue};
use taskqueue_worker::Worker;

use crate::ledger::handled;
use crate::peer::{Entry, Peer, Photo, Setting, Working};

pub(super) const POSTGRES: Entry = Entry {
    name: super::OURS,
    package: "taskqueue-postgres",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let queue = PostgresQueue::connect(&url).await?;
            queue.migrate().await?;
            Ok(peer(queue))
        })
    },
};

pub(super) const MYSQL: Entry = Entry {
    name: super::OURS,
    package: "taskqueue-mysql",
    kind: Kind::Mysql,
    open: |url| {
        Box::pin(async move {
            let queue = MysqlQueue::connect(&url).await?;
            queue.migrate().await?;
            Ok(peer(queue))
        })
    },
};

pub(super) const SQLITE: Entry = Entry {
    name: super::OURS,
    package: "taskqueue-sqlite",
    kind: Kind::Sqlite,
    open: |path| {
        Box::pin(async move {
            let config = SqliteConfig::new(&path)?.durability(Durability::Full);
            let queue = SqliteQueue::with_config(config).await?;
            queue.migrate().await?;
            Ok(peer(queue))
        })
    },
};

fn peer(queue: impl Queue) -> Box<dyn Peer> {
    Box::new(Taskqueue(Arc::new(queue)))
}

impl Payload for Photo {
    const TYPE: &'static str = "photo";
}

async fn handle(photo: Photo) {
    handled(&photo);
}

struct Taskqueue(Arc<dyn Queue>);

#[async_trait]
impl Peer for Taskqueue {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.0.enqueue(NewTask::new(&photo)?).await?;
        Ok(())
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        let tasks: taskqueue_core::Result<_> = photos.iter().map(NewTask::new).collect();
        self.0.enqueue_many(tasks?).await?;
        Ok(())
    }

    async fn work(&self, setting: Setting) -> Result<Working> {
        let builder = Worker::builder(Arc::clone(&self.0)).concurrency(setting.concurrency).handler(handle);
        let builder = if setting.is_tuned {
            builder.prefetch(4_000).poll_interval(Duration::from_millis(5))
        } else {
            builder
        };
        let running = builder.build()?.start();
        Ok(Box::pin(async move {
            running.stop().await;
        }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let stats = self.0.stats().await?;
        Ok(i64::try_from(stats.pending + stats.running + stats.failed)?)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
