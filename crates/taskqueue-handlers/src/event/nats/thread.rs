//! A thread that a client runs on, and whoever must have seen what the client was told so far. It knows no NATS.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Polls what it runs in the order in which it was woken there: tokio's runtime of one thread has a queue for that, first
/// in first out (`tokio::runtime`, "Current thread runtime"). One of several threads has no such order; the last one woken
/// often comes first. The thread ends with its last clone.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    handle: Handle,
    _alive: Arc<oneshot::Sender<Infallible>>,
}

impl Thread {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        let run = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("taskqueue-nats".to_owned()).spawn(run)?;
        Ok(Self { handle, _alive: Arc::new(alive) })
    }

    /// Runs it there, unless this future is dropped before.
    pub(super) async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let running = AbortOnDropHandle::new(self.handle.spawn(future));
        running.await.expect("it does not panic, and the thread is there as long as this is")
    }
}
