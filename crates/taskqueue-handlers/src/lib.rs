//! Ready-made handlers of `taskqueue`. They know no queue; each page says what a second run of the same task does.
//!
//! On object stores that speak S3 (feature `s3`; [`store::MemoryStore`] is one for tests): [`lifecycle`], [`cleanup`],
//! [`restore`], [`federation`] (discovery and ingest), [`replication`]. What happened is told by [`event`] (to webhooks and
//! files; features `nats`, `redis`, `kafka`), [`webhook`] and [`audit`]; [`exec`] runs a command for each task. What they look
//! up is kept by [`documents`], in a folder or a database (feature `sql`).
//!
//! ```
//! use taskqueue_handlers::event::{Durability, EventHandler, FileSink};
//! use taskqueue_handlers::webhook::{WebhookConfig, WebhookHandler, WebhookSender};
//! use taskqueue_memory::MemoryQueue;
//! use taskqueue_worker::{TaskType, Worker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("events.jsonl");
//! let sender = WebhookSender::new(WebhookConfig::default())?;
//! let worker = Worker::builder(MemoryQueue::new())
//!     .handle(TaskType::new("webhook")?, WebhookHandler::new(sender))
//!     .handle(TaskType::new("event")?, EventHandler::new(FileSink::open(path, Durability::Synced)?))
//!     .build()?;
//! # drop(worker);
//! # Ok(())
//! # }
//! ```

pub mod audit;
pub mod cleanup;
mod derived;
pub mod documents;
mod error;
pub mod event;
pub mod exec;
pub mod federation;
mod folder;
pub mod lifecycle;
mod metrics;
mod percent;
pub mod replication;
pub mod restore;
pub mod store;
mod transfer;
pub mod webhook;

pub use error::HandlerError;
pub use metrics::HandlerMetrics;
