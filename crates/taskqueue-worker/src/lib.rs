//! The worker of `taskqueue`: one straight pipe of dispatch, execution and settling, with heartbeats, maintenance
//! and a graceful shutdown beside it. It works on any [`Queue`] and knows no database.
//!
//! A handler is a plain async function: the typed payload first, then any of [`Data`] and [`TaskContext`]. What
//! it returns says what becomes of the task.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use taskqueue_memory::MemoryQueue;
//! use taskqueue_worker::{Data, Payload, Queue, Worker};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Welcome {
//!     user: u64,
//! }
//! impl Payload for Welcome {
//!     const TYPE: &'static str = "welcome";
//! }
//!
//! struct Mailer;
//! impl Mailer {
//!     async fn send(&self, _user: u64) -> Result<(), std::io::Error> {
//!         Ok(())
//!     }
//! }
//!
//! async fn welcome(mail: Welcome, mailer: Data<Mailer>) -> Result<(), std::io::Error> {
//!     mailer.send(mail.user).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskqueue_worker::core::Result<()> {
//! let queue = MemoryQueue::new();
//! queue.enqueue(Welcome { user: 7 }).await?;
//! let report = Worker::builder(queue).data(Mailer).handler(welcome).build()?.drain().await;
//! assert_eq!(report.completed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Guarantees: a task is handled at least once; what a handler returned is settled only while its lease is the
//! live one; a panic or a timeout is a failed attempt, recorded with its text; a task whose type has no handler
//! here is never claimed; stopping hands unstarted tasks back at once.

mod apart;
mod batch;
mod builder;
mod context;
mod data;
mod dispatcher;
mod doubt;
mod escaped;
mod executor;
mod handler;
mod heartbeater;
mod leases;
mod maintenance;
mod named;
mod periodic;
mod pipe;
mod prefetch;
mod report;
mod settings;
mod settler;
mod settling;
mod shutdown;
mod slots;
mod span;
mod stop;
mod task_error;
mod task_fn;
pub mod testing;
mod timing;
mod worker;

pub use taskqueue_core as core;
pub use taskqueue_core::metrics::Metrics;
pub use taskqueue_core::{
    Error, NewTask, Outcome, Payload, Queue, Result, RetryPolicy, Task, TaskId, TaskType, WorkerId,
};
pub use tokio_util::sync::CancellationToken;

pub use async_trait::async_trait;

pub use builder::WorkerBuilder;
pub use context::TaskContext;
pub use data::{Data, DataMap};
pub use handler::{Configure, Configured, Handler, HandlerOptions};
pub use periodic::Periodic;
pub use report::Report;
pub use settings::{MaintenanceConfig, UndecodablePayload};
pub use task_error::{RetryHint, StdTaskError, TaskError};
pub use task_fn::{FromContext, IntoOutcome, TaskFn, handler_fn};
pub use worker::{RunningWorker, Worker};
