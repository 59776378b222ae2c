//! A web dashboard for a task queue: pages that show what it holds and, where that is allowed, cancel, run now, redrive, pause
//! and resume; the same as JSON; and the metrics page of whoever gives one. An axum router over any [`Queue`], for a service
//! to nest where it likes.
//!
//! Guarantees:
//! - It changes nothing unless [`Actions::Allowed`] is given, and then only for a POST that comes from its own pages or
//!   carries the bearer token.
//! - A request waits for the database no longer than its [time limit](DashboardBuilder::query_timeout), after which a page
//!   says that it was too slow; one that acts on many tasks begins no other query after five seconds.
//! - At most three views and one action are under way at once, so that viewers leave the pool to the workers. One that
//!   nobody waits for any more counts until the database has ended it.
//! - Statistics and the workers are read once for all viewers, not once for each.
//! - What a task carries is escaped wherever it stands, and the browser is told to run no script and load nothing but the
//!   dashboard's own files.
//! - What the database says of its failures goes to the log, never to a page: it may name hosts and users.
//!
//! It knows no database, installs no recorder of metrics, and listens nowhere by itself.
//!
//! ```
//! use axum::Router;
//! use taskqueue_dashboard::{Actions, Dashboard, Payloads};
//! use taskqueue_memory::MemoryQueue;
//!
//! # fn main() -> taskqueue_memory::Result<()> {
//! let dashboard = Dashboard::builder(MemoryQueue::new())
//!     .password("a long password")
//!     .actions(Actions::Allowed)
//!     .payloads(Payloads::Redacted(vec!["email".to_owned()]))
//!     .build()?;
//! let service: Router = Router::new().nest_service("/queue", dashboard.router::<()>());
//! # drop(service);
//! # Ok(())
//! # }
//! ```

mod access;
mod actions;
mod api;
mod asked;
mod assets;
mod builder;
mod chart;
mod failure;
mod filter;
mod listed;
mod pages;
mod payloads;
mod place;
mod redrive;
mod router;
mod served;
mod shared;
mod shown;
mod statistics;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
pub use taskqueue_core::Queue;

pub use crate::access::{Actions, Hosts};
pub use crate::builder::{
    DashboardBuilder, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PASSWORD_BYTES_MIN, QUERY_TIMEOUT_DEFAULT,
};
pub use crate::payloads::Payloads;
use crate::served::Served;

/// A dashboard over one queue. Clones share what they have read.
#[derive(Debug, Clone)]
pub struct Dashboard {
    served: Arc<Served>,
}

impl Dashboard {
    /// A dashboard over `queue`, which may be an `Arc<dyn Queue>` that others use as well.
    pub fn builder(queue: impl Queue) -> DashboardBuilder {
        DashboardBuilder::over(Arc::new(queue))
    }

    /// Its pages, to be served at any path: `Router::nest_service("/queue", dashboard.router::<()>())`, or alone. With
    /// `nest` instead, `/queue/` is left to the outer router. Every link is relative, so that a proxy may serve it at another
    /// path; one that hides the path altogether must keep a slash at its end.
    pub fn router<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        router::router(Arc::clone(&self.served))
    }

    /// The longest time that an answer may take, from the request to the answer's first byte: how long a server that is told to
    /// stop should wait for those that it owes.
    pub fn answer_max(&self) -> Duration {
        self.served.asked.answer_max()
    }
}
