//! For tests of handlers and workers: a clock whose time follows tokio's, so that paused time moves both, and the context of a task
//! that no worker runs.

use std::sync::Arc;

use taskqueue_core::{
    Claim, ClaimRequest, Clock, Error, IntoTask, Queue, Result, TaskType, Timestamp, WorkerId, clock,
};
use tokio::time::Instant;

use crate::leases::Held;
use crate::{TaskContext, Worker};

/// Enqueues the task in `queue`, claims it, and answers the context that its handler would be given: for the call of a handler that
/// takes one, without a worker.
///
/// Nobody extends the lease but the handler, and nobody settles what it returns. A token that the test cancels tells it to stop; it
/// has no deadline. The queue should hold no other task of the type, and the task is to be due.
///
/// ```
/// use taskqueue_memory::MemoryQueue;
/// use taskqueue_worker::{Outcome, Payload, TaskContext, testing};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Import {
///     page: u32,
/// }
/// impl Payload for Import {
///     const TYPE: &'static str = "import";
/// }
///
/// async fn import(task: Import, cx: TaskContext) -> Outcome {
///     if cx.cancelled().is_cancelled() {
///         return Outcome::Release;
///     }
///     Outcome::done().then(Import { page: task.page + 1 })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskqueue_worker::Result<()> {
/// let first = Import { page: 1 };
/// let cx = testing::context(MemoryQueue::new(), &first).await?;
/// assert!(matches!(import(first.clone(), cx.clone()).await, Outcome::Complete { .. }));
/// cx.cancelled().cancel();
/// assert_eq!(import(first, cx).await, Outcome::Release);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the queue says, and `InvalidInput` where another task, or none, is claimed.
pub async fn context(queue: impl Queue, task: impl IntoTask) -> Result<TaskContext> {
    let task = task.into_task()?;
    let (id, task_type) = (task.id, task.task_type.clone());
    queue.enqueue_many(vec![task]).await?;
    let pipe = Arc::new(Worker::builder(queue).name("test").pipe(Vec::new())?);
    let claimed_at = Instant::now();
    let claim = claim(&*pipe.unobserved, &pipe.worker_id, task_type).await?;
    if claim.task.id != id {
        let message =
            format!("the queue has another task of type {} that is due before", claim.task.task_type);
        return Err(Error::invalid_input("testing", message).task(id));
    }
    let held = Held::new(claim, claimed_at);
    pipe.leases.add(std::slice::from_ref(&held));
    Ok(TaskContext { held, deadline: None, pipe })
}

async fn claim(queue: &dyn Queue, worker_id: &WorkerId, task_type: TaskType) -> Result<Claim> {
    let message = format!("no task of type {task_type} is due");
    let claims = queue.dequeue_many(&ClaimRequest::new(worker_id.clone(), [task_type], 1)).await?;
    claims.into_iter().next().ok_or_else(|| Error::invalid_input("testing", message))
}

/// A [`Clock`] that stands at 2026-01-01T00:00:00Z when it is made, and from then on moves with tokio's time:
/// under `#[tokio::test(start_paused = true)]` leases, delays and retries pass as fast as timers do.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_worker::core::Clock;
/// use taskqueue_worker::testing::TokioClock;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = TokioClock::new();
/// let start = clock.now();
/// tokio::time::sleep(Duration::from_secs(3600)).await; // returns at once, as time is paused
/// assert_eq!((clock.now() - start).num_seconds(), 3600);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
    start: Timestamp,
}

impl TokioClock {
    /// A clock that starts now. Call it within a tokio runtime.
    pub fn new() -> Self {
        Self { origin: Instant::now(), start: taskqueue_core::ManualClock::default().now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        clock::truncate(clock::add(self.start, self.origin.elapsed()))
    }
}
