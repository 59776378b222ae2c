//! `underway`: its queue and worker without the steps of its jobs. It keeps what is finished.

use anyhow::Result;
use async_trait::async_trait;
use jiff::Span;
use sqlx08::postgres::PgPoolOptions;
use sqlx08::{PgPool, Postgres, Transaction};
use taskqueue_bench::engine::Kind;
use tokio_util::sync::CancellationToken;
use underway::{Queue, Task, Worker};

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

pub(super) const ENTRY: Entry = Entry {
    name: "underway",
    package: "underway",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            super::in_place(underway::run_migrations(&pool))?;
            let queue = Queue::builder().name("photos").pool(pool.clone()).build().await?;
            Ok(Box::new(Underway { pool, queue }) as Box<dyn Peer>)
        })
    },
};

#[derive(Clone)]
struct Handle;

impl Task for Handle {
    type Input = Photo;
    type Output = ();

    async fn execute(&self, _: Transaction<'_, Postgres>, photo: Photo) -> underway::task::Result<()> {
        handled(&photo);
        Ok(())
    }
}

struct Underway {
    pool: PgPool,
    queue: Queue<Handle>,
}

#[async_trait]
impl Peer for Underway {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.queue.enqueue(&self.pool, &Handle, &photo).await?;
        Ok(())
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        self.queue.enqueue_multi(&self.pool, &Handle, &photos).await?;
        Ok(())
    }

    /// Tuned: it polls often, because it starts no more than one more loop a poll or notification.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let token = CancellationToken::new();
        let mut worker = Worker::new(self.queue.clone().into(), Handle);
        worker.set_concurrency_limit(setting.concurrency);
        worker.set_shutdown_token(token.clone());
        let running = tokio::spawn(async move {
            if setting.is_tuned {
                worker.run_every(Span::new().milliseconds(10)).await
            } else {
                worker.run().await
            }
        });
        Ok(Box::pin(async move {
            token.cancel();
            running.await.ok();
        }))
    }

    async fn unfinished(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM underway.task WHERE state IN ('pending', 'in_progress')";
        Ok(sqlx08::query_scalar(count).fetch_one(&self.pool).await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
