//! The worker as its owner sees it: start it, stop it, run it until something happens, or drain a queue.

use std::future::Future;
use std::sync::Arc;

use taskqueue_core::{Error, ErrorKind, Queue, Result, TaskType, WorkerId};
use tokio::task::JoinHandle;
use tracing::error;

use crate::dispatcher::Mode;
use crate::escaped::Escaped;
use crate::pipe::Pipe;
use crate::{Report, WorkerBuilder, shutdown};

/// Handles tasks of a queue: claims them, runs their handlers, settles what became of them.
///
/// Guarantees: a task whose type has no handler here is never claimed. At most `concurrency` handlers run at
/// once. A handler's outcome is settled only while its lease is the live one. When the worker is stopped, what
/// it has claimed and not started goes back to the queue at once.
///
/// Metrics are recorded by the worker itself: give it the bare queue, not an
/// [`Observed`](taskqueue_core::Observed) one, or each task counts twice.
#[must_use = "a worker does nothing until it is started"]
pub struct Worker {
    pub(crate) pipe: Arc<Pipe>,
}

impl Worker {
    /// Starts to build a worker of `queue`: any backend, or an `Arc<dyn Queue>`.
    pub fn builder(queue: impl Queue) -> WorkerBuilder {
        WorkerBuilder::new(Arc::new(queue))
    }

    pub(crate) fn new(pipe: Pipe) -> Self {
        Self { pipe: Arc::new(pipe) }
    }

    /// The worker's id: unique for each build.
    pub fn id(&self) -> &WorkerId {
        &self.pipe.worker_id
    }

    /// The queue, observed by this worker's metrics.
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.pipe.queue
    }

    /// The types that this worker handles, in the order in which their handlers were given.
    pub fn handler_types(&self) -> impl Iterator<Item = &TaskType> {
        self.pipe.handlers.iter().map(|handler| &handler.task_type)
    }

    /// Starts the worker in the background. Call it within a tokio runtime. Keep what it answers: dropping that stops the
    /// worker.
    ///
    /// ```
    /// # use taskqueue_worker::{RunningWorker, Worker};
    /// fn begin(worker: Worker) -> RunningWorker {
    ///     worker.start()
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// # #![deny(unused_must_use)]
    /// # use taskqueue_worker::{RunningWorker, Worker};
    /// fn begin(worker: Worker) {
    ///     worker.start(); // warning: unused `RunningWorker` that must be used: dropping it stops the worker
    /// }
    /// ```
    pub fn start(self) -> RunningWorker {
        self.start_in(Mode::Serve)
    }

    /// Starts in the background what [`drain`](Self::drain) does: the worker ends by itself, and can be stopped before.
    /// Call it within a tokio runtime.
    pub fn start_draining(self) -> RunningWorker {
        self.start_in(Mode::Drain)
    }

    fn start_in(self, mode: Mode) -> RunningWorker {
        let supervisor = tokio::spawn(shutdown::supervise(Arc::clone(&self.pipe), mode));
        RunningWorker { pipe: self.pipe, supervisor: Some(supervisor) }
    }

    /// Runs the worker until `shutdown` resolves, then stops it as [`RunningWorker::stop`] does.
    ///
    /// # Errors
    /// What ended the worker before that: the queue was closed.
    ///
    /// # Cancel safety
    /// When this future is dropped, the worker stops in the background.
    ///
    /// ```
    /// use taskqueue_worker::{Result, Worker};
    /// use tokio::sync::oneshot;
    ///
    /// /// `shutdown` may be any future, as one that waits for a signal.
    /// async fn serve(worker: Worker, shutdown: oneshot::Receiver<()>) -> Result<()> {
    ///     let report = worker.run_until(async { drop(shutdown.await) }).await?;
    ///     println!("{} completed", report.completed);
    ///     Ok(())
    /// }
    /// ```
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<Report> {
        let mut running = self.start();
        tokio::select! {
            ended = running.ended() => ended,
            () = shutdown => {
                running.pipe.tokens.stop.cancel();
                running.ended().await
            }
        }
    }

    /// Handles what is ready or due, tasks of workers that died and whose leases have ended, and what follows from it, until
    /// nothing is left; then stops. For tests and one-off runs: what waits for a later time (a delay, a retry, the end of a
    /// lease) stays in the queue. A database that refuses ends it
    /// early, which is logged; [`start_draining`](Self::start_draining) answers why.
    ///
    /// # Cancel safety
    /// When this future is dropped, the worker stops in the background, as [`RunningWorker::stop`] does.
    pub async fn drain(self) -> Report {
        let mut running = self.start_draining();
        if let Err(failure) = running.ended().await {
            error!(error = %Escaped(&failure), worker = %running.id(), "the drain ended early; tasks may be left");
        }
        running.report()
    }
}

/// A worker at work. Dropping it stops it in the background.
#[must_use = "dropping it stops the worker"]
pub struct RunningWorker {
    pipe: Arc<Pipe>,
    supervisor: Option<JoinHandle<Result<Report>>>,
}

impl RunningWorker {
    /// Stops the worker: nothing more is claimed, unstarted tasks are handed back, running handlers may go on
    /// for the grace period, then their tokens are cancelled, and those that still do not return within the
    /// cancel period are dropped and their tasks released. A handler that returns an error when it is cancelled
    /// spends an attempt; one that returns [`Outcome::Release`](crate::Outcome::Release) gives it back.
    ///
    /// A claim that is under way ends beside the handlers, and what it brings is handed back unstarted.
    ///
    /// Returns when all is settled. A store that does not answer is waited for ten seconds more in all, and a handler
    /// that blocks its thread is left behind; both kinds of task are handled again when their leases end, and counted as [`Report::unconfirmed`].
    ///
    /// # Cancel safety
    /// When this future is dropped, the worker goes on stopping in the background.
    pub async fn stop(mut self) -> Report {
        self.pipe.tokens.stop.cancel();
        let _ = self.ended().await;
        self.pipe.tally.report()
    }

    /// Waits until the worker has ended by itself: by a closed queue, or when all is drained.
    ///
    /// # Errors
    /// What ended it early: a closed queue; for a drain also a database that refuses.
    ///
    /// # Cancel safety
    /// Safe: the worker goes on.
    pub async fn ended(&mut self) -> Result<Report> {
        let Some(supervisor) = &mut self.supervisor else { return Ok(self.pipe.tally.report()) };
        let ended = supervisor.await;
        self.supervisor = None;
        ended.unwrap_or_else(|source| {
            Err(Error::new(ErrorKind::Backend, "worker", "the worker panicked").with_source(source))
        })
    }

    /// What the worker has done so far.
    pub fn report(&self) -> Report {
        self.pipe.tally.report()
    }

    /// The worker's id.
    pub fn id(&self) -> &WorkerId {
        &self.pipe.worker_id
    }

    /// The queue, observed by this worker's metrics.
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.pipe.queue
    }

    /// How many handlers are at work.
    pub fn active(&self) -> usize {
        self.pipe.slots.running()
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.pipe.tokens.stop.cancel();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("id", self.id())
            .field("settings", &self.pipe.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RunningWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningWorker")
            .field("id", self.id())
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}
