//! What a handler knows of its task: who it is, how far it got, and how it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use taskqueue_core::{
    Error, Heartbeat, Lease, Metadata, Queue, RawPayload, Result, Task, TaskId, TaskType, WorkerId,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::leases::Held;
use crate::pipe::Pipe;
use crate::{DataMap, TaskError, UndecodablePayload};

/// How long a heartbeat waits for a lock to go, from one try to the next: that of the worker's own is gone in a moment.
const LOCKED_WAITS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250)];

/// One attempt at a task, as its handler sees it. Cheap to clone.
///
/// ```
/// use taskqueue_worker::{Outcome, Payload, Result, TaskContext};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Copy {
///     files: Vec<String>,
/// }
/// impl Payload for Copy {
///     const TYPE: &'static str = "copy";
/// }
///
/// async fn copy(task: Copy, cx: TaskContext) -> Result<Outcome> {
///     for file in task.files {
///         if cx.cancelled().is_cancelled() {
///             return Ok(Outcome::Release); // the worker stops: somebody else begins anew
///         }
///         println!("attempt {} at {file}, fenced by {}", cx.attempt(), cx.lease_number());
///     }
///     cx.heartbeat().await?; // right before what must not be done for a task that was cancelled
///     Ok(Outcome::done())
/// }
/// # let _ = taskqueue_worker::Worker::builder(taskqueue_memory::MemoryQueue::new()).handler(copy);
/// ```
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) held: Arc<Held>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) pipe: Arc<Pipe>,
}

impl TaskContext {
    /// The task as it stood right after the claim.
    pub fn task(&self) -> &Task {
        &self.held.claim.task
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.held.claim.task.id
    }

    /// The task's type.
    pub fn task_type(&self) -> &TaskType {
        &self.held.claim.task.task_type
    }

    /// The payload as it was enqueued.
    pub fn payload(&self) -> &RawPayload {
        &self.held.claim.task.payload
    }

    /// Trace context and headers that came with the task.
    pub fn metadata(&self) -> &Metadata {
        &self.held.claim.task.metadata
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.held.claim.lease.attempt
    }

    /// How many attempts the task may have in total.
    pub fn max_retries(&self) -> u32 {
        self.held.claim.lease.max_retries
    }

    /// Whether a failure now is final.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.max_retries()
    }

    /// The number of this claim, rising with each claim of the task. Hand it to outside systems as a fence: one
    /// that has seen a higher number refuses a lower one.
    pub fn lease_number(&self) -> i64 {
        self.held.claim.lease.number
    }

    /// The right to settle this attempt, for a handler that does so itself: in its own transaction, with `complete_in` of
    /// the SQL backends. It then returns [`Outcome::settled`](crate::Outcome::settled), which says what follows.
    ///
    /// A heartbeat that finds the lease gone then looks up what became of the task: one that the handler has settled lets it
    /// go on for as long as it wants, unless another claim has followed; one that was lost in any way
    /// [cancels](Self::cancelled) it as ever.
    /// Settling with a lost lease fails with `LeaseLost`: roll the transaction back. [`heartbeat`](Self::heartbeat) says so
    /// before.
    ///
    /// A handler that fails after its commit changes nothing: its task is completed and stays so. The report then counts
    /// a lost lease in place of the completion. Settling through [`queue`](Self::queue) is for nobody: its metrics count such a
    /// completion, and the worker counts it again.
    pub fn lease(&self) -> Lease {
        self.held.give_to_handler();
        self.held.lease().clone()
    }

    /// When this attempt is stopped for taking too long, if its type has a timeout.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The worker that runs this attempt.
    pub fn worker_id(&self) -> &WorkerId {
        &self.pipe.worker_id
    }

    /// The queue that the task came from: to enqueue tasks that do not depend on this one's completion. Those
    /// that do belong in [`Outcome::then`](crate::Outcome::then).
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.pipe.queue
    }

    /// Cancelled when this attempt is to stop: its lease was lost (the task was cancelled, or another worker has
    /// it), its time is up, or the worker stops and the grace period has passed.
    pub fn cancelled(&self) -> &CancellationToken {
        self.held.stop.token()
    }

    /// Shared state, for handlers that are no plain function.
    pub fn data(&self) -> &DataMap {
        &self.pipe.data
    }

    /// The payload as a value, for handlers that are no plain function.
    ///
    /// # Errors
    /// It is not the JSON form of a `P`. The worker says whether that is permanent
    /// ([`undecodable_payload`](crate::WorkerBuilder::undecodable_payload)).
    pub fn decode<P: DeserializeOwned>(&self) -> Result<P, TaskError> {
        self.payload().decode().map_err(|error| match self.pipe.settings.undecodable {
            UndecodablePayload::DeadLetter => TaskError::permanent(error),
            UndecodablePayload::Retry => TaskError::from(error),
        })
    }

    /// Extends the lease now, to a visibility timeout (the worker's, else the queue's) from now. The worker does so by
    /// itself, often enough; call it right before a step that must not be taken by a worker that has lost the task. While
    /// another session keeps the task locked it tries three times more, within a third of a second.
    ///
    /// # Errors
    /// `LeaseLost` when the task is no longer this worker's: the token is cancelled then, but after [`lease`](Self::lease) only
    /// once it was looked up that the handler has not settled the task itself. `Unavailable` when another session
    /// keeps the task locked, `QueueClosed`, and what the database says.
    ///
    /// # Cancel safety
    /// Dropped, a call to the queue that is under way runs to completion; no further try follows it.
    pub async fn heartbeat(&self) -> Result<()> {
        let lease = self.held.lease();
        let mut waits = LOCKED_WAITS.into_iter();
        loop {
            match self.pipe.extend(vec![lease.clone()], ()).await?.first() {
                Some(Heartbeat::Extended) => return Ok(()),
                Some(Heartbeat::Locked) => {
                    let wait = waits.next().ok_or_else(|| Error::task_locked("heartbeat", lease.task_id))?;
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(Error::lease_lost("heartbeat", lease.task_id)),
            }
        }
    }
}

impl std::fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskContext")
            .field("id", &self.id())
            .field("task_type", self.task_type())
            .field("attempt", &self.attempt())
            .field("lease_number", &self.lease_number())
            .finish_non_exhaustive()
    }
}
