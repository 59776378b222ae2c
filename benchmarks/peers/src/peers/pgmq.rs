//! `pgmq`. It has no worker: this is the loop around its calls that an application writes. Finished messages are
//! deleted.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use pgmq::{Message, PGMQueueExt};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use taskqueue_bench::engine::Kind;
use tokio::task::JoinSet;

use crate::ledger::handled;
use crate::peer::{CONNECTIONS, Entry, Peer, Photo, Setting, Working};

const QUEUE: &str = "photos";
const VISIBILITY_SECONDS: i32 = 30;

pub(super) const ENTRY: Entry = Entry {
    name: "pgmq",
    package: "pgmq",
    kind: Kind::Postgres,
    open: |url| {
        Box::pin(async move {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
            let queue = PGMQueueExt::new_with_pool(pool.clone()).await;
            queue.install_sql_from_embedded().await?;
            queue.create(QUEUE).await?;
            Ok(Box::new(Pgmq { pool, queue }) as Box<dyn Peer>)
        })
    },
};

struct Pgmq {
    pool: PgPool,
    queue: PGMQueueExt,
}

#[async_trait]
impl Peer for Pgmq {
    async fn enqueue(&self, photo: Photo) -> Result<()> {
        self.queue.send(QUEUE, &photo).await?;
        Ok(())
    }

    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        self.queue.send_batch(QUEUE, &photos).await?;
        Ok(())
    }

    /// As it comes: a loop for each task at once, which reads and deletes one message. Tuned: two loops that read and
    /// delete many, and poll often.
    async fn work(&self, setting: Setting) -> Result<Working> {
        let (loops, batch, poll) = if setting.is_tuned {
            (2, i32::try_from(setting.concurrency)? * 5, Some(Duration::from_millis(5)))
        } else {
            (setting.concurrency, 1, None)
        };
        let mut running = JoinSet::new();
        for _ in 0..loops {
            running.spawn(consume(PGMQueueExt::new_with_pool(self.pool.clone()).await, batch, poll));
        }
        Ok(Box::pin(async move { running.shutdown().await }))
    }

    async fn unfinished(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM pgmq.q_photos").fetch_one(&self.pool).await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

async fn consume(queue: PGMQueueExt, batch: i32, poll: Option<Duration>) -> Result<()> {
    loop {
        let messages: Vec<Message<Photo>> = queue
            .read_batch_with_poll(
                QUEUE,
                pgmq::types::VisibilityTimeoutOffset::new(VISIBILITY_SECONDS),
                batch,
                None,
                poll,
            )
            .await?;
        for message in &messages {
            handled(&message.message);
        }
        match messages.as_slice() {
            [] => {}
            [message] => drop(queue.delete(QUEUE, message.msg_id).await?),
            messages => {
                let ids: Vec<i64> = messages.iter().map(|message| message.msg_id).collect();
                queue.delete_batch(QUEUE, &ids).await?;
            }
        }
    }
}
