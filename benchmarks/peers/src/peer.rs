//! What a queue must be able to do to be measured. It measures nothing.

use anyhow::Result;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use serde::{Deserialize, Serialize};
use taskqueue_bench::engine::Kind;

/// Connections that each peer may open for its work, but for those that listen. More only wait for the server's cores.
pub(crate) const CONNECTIONS: u32 = 20;
/// Clients that fill a queue that takes one task a call.
const FILLERS: usize = 16;
/// What the serial number of a photo starts at, so that it has six digits.
const FIRST: usize = 100_000;

/// The payload of every task, as a handler takes it: 200 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Photo {
    bucket: String,
    key: String,
    size: usize,
    etag: String,
    content_type: String,
    owner: String,
    region: String,
    parts: u32,
}

impl Photo {
    /// The photo of this number. It has the same length as each other one.
    pub(crate) fn new(number: usize) -> Self {
        Self {
            bucket: "photos".to_owned(),
            key: "2026/01/01/holidays/IMG_0001.jpeg".to_owned(),
            size: FIRST + number,
            etag: "9e107d9d372bb6826bd81d3542a419d6".to_owned(),
            content_type: "image/jpeg".to_owned(),
            owner: "a.lovelace".to_owned(),
            region: "eu-central-1".to_owned(),
            parts: 1,
        }
    }

    /// Its number.
    pub(crate) fn number(&self) -> usize {
        self.size - FIRST
    }
}

/// How a worker is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// How many tasks run at once.
    pub(crate) concurrency: usize,
    /// As the peer's documents recommend for throughput; else as it comes.
    pub(crate) is_tuned: bool,
}

/// A worker that runs. Awaited, it stops the worker.
pub(crate) type Working = BoxFuture<'static, ()>;

/// A queue of another crate's, or ours, in a database of its own. Its handlers call [`crate::ledger::handled`].
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Adds a task, as an application does.
    async fn enqueue(&self, photo: Photo) -> Result<()>;

    /// Whether one call can add many tasks.
    fn has_batches(&self) -> bool {
        true
    }

    /// Adds tasks, by the call that is made for it where there is one.
    async fn enqueue_many(&self, photos: Vec<Photo>) -> Result<()> {
        let photos = stream::iter(photos.into_iter().map(anyhow::Ok));
        photos.try_for_each_concurrent(FILLERS, |photo| self.enqueue(photo)).await
    }

    /// Starts its worker.
    async fn work(&self, setting: Setting) -> Result<Working>;

    /// How many tasks are not finished, running ones included.
    async fn unfinished(&self) -> Result<i64>;

    /// Closes its connections.
    async fn close(&self);
}

/// A peer that can be opened.
pub(crate) struct Entry {
    /// Its name, which its feature has as well.
    pub(crate) name: &'static str,
    /// The package that is measured.
    pub(crate) package: &'static str,
    /// On which engine.
    pub(crate) kind: Kind,
    /// Migrates the database at this URL and opens the queue in it.
    pub(crate) open: fn(String) -> BoxFuture<'static, Result<Box<dyn Peer>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_have_the_size_that_figures_name() {
        for number in [0, 1, 899_999] {
            assert_eq!(serde_json::to_string(&Photo::new(number)).expect("it is JSON").len(), 200);
        }
    }
}
