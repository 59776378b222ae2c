//! The contract of every backend. The batch forms are the primitive; the single forms are written once, here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::wake::WakeUp;
use crate::{
    Cancelled, Claim, ClaimRequest, Cleanup, Error, Heartbeat, IntoTask, Lease, NewTask, Outcome, QueueStats,
    Reclaimed, Redrive, Result, Settled, Settlement, Task, TaskFilter, TaskId, TaskPage, TaskType, Timestamp,
    WorkerId,
};

/// How many due tasks a single [`Queue::dequeue`] promotes when it finds nothing ready.
const PROMOTE_ON_EMPTY_LIMIT: usize = 100;

/// What became of one task of an enqueued batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Enqueued {
    /// It is in the queue now, under this id.
    Created(TaskId),
    /// A task with this id was there before; nothing changed.
    Repeated(TaskId),
    /// An unfinished task of its type holds its unique key: this one. Nothing changed.
    Duplicate(TaskId),
}

impl Enqueued {
    /// The task that now stands for the request.
    pub fn id(self) -> TaskId {
        match self {
            Self::Created(id) | Self::Repeated(id) | Self::Duplicate(id) => id,
        }
    }
}

/// Which engine is behind a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `memory`, `sqlite`, `postgres`, `cockroach`, `mysql`, `mariadb` or `vitess`.
    pub name: &'static str,
    /// The version as the engine reports it.
    pub version: String,
}

/// A durable task queue.
///
/// Guarantees, on every backend: a task whose enqueue returned `Ok` is handled at least once or dead-lettered;
/// at most one lease of a task can settle it; enqueue is idempotent by id; a failed call leaves the queue as it
/// was, and its error says whether trying again can help.
///
/// # Cancel safety
/// Dropping a call's future never corrupts the queue and never leaks a transaction: the call either happened or
/// did not, and enqueue and settle can be repeated safely.
///
/// # How to take one
/// `&impl Queue` where the caller's type is known, `Arc<dyn Queue>` where the database is chosen at run time: it is a queue itself,
/// as `Box<dyn Queue>` is. `&dyn Queue` has the batch forms only. [`delegate_queue!`](crate::delegate_queue) puts a type of your
/// own around a queue.
///
/// ```
/// use taskqueue_core::{Outcome, Queue, Result, TaskType, WorkerId};
///
/// /// Works what is ready, one task after the other, as a worker does that also sends heartbeats.
/// async fn work(queue: &impl Queue, mail: TaskType) -> Result<()> {
///     let worker = WorkerId::unique("shell")?;
///     while let Some(claim) = queue.dequeue(&worker, std::slice::from_ref(&mail)).await? {
///         println!("attempt {} at {}", claim.lease.attempt, claim.task.payload.as_str());
///         queue.settle(claim.lease, Outcome::done()).await?; // or `Outcome::fail("no such address")`
///     }
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Enqueues all tasks or, on an error, none. Answers one a task, in order. After an error of the database, where its
    /// answer was lost or came too late, tasks may be in all the same: the call can be repeated with the same ids.
    ///
    /// # Errors
    /// `InvalidInput` (also for more than [`BATCH_MAX`](crate::BATCH_MAX) tasks or payloads of more than
    /// [`BATCH_PAYLOAD_BYTES_MAX`](crate::BATCH_PAYLOAD_BYTES_MAX) together), `InvalidPayload` (before anything is stored),
    /// `QueueFull`, `QueueClosed`, and what the database says. A taken unique key is not an error here but [`Enqueued::Duplicate`].
    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>>;

    /// Claims up to `limit` ready tasks of the given types: higher priority first, then the time at which they
    /// became ready, then insertion order. With one worker that order is strict within a type and priority;
    /// with several, claims start in it. Each claim counts an attempt. Tasks that are delayed or wait for a
    /// retry become ready through [`promote_due`](Queue::promote_due). Only a claim that is
    /// [extra](ClaimRequest::is_extra) may be answered with nothing while tasks are ready.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>>;

    /// Settles claims, each only if its lease is the live one. Answers one a settlement, in order. All that
    /// are applied, and their follow-up tasks, commit together.
    ///
    /// # Errors
    /// `InvalidInput` or `InvalidPayload` (then nothing was applied; follow-ups have the limits of
    /// [`enqueue_many`](Queue::enqueue_many), all of a call together), `QueueFull` for follow-ups, `QueueClosed`,
    /// and what the database says. A lost lease is not an error here but [`Settled::LeaseLost`].
    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>>;

    /// Extends leases to a visibility timeout from now, by the queue's clock. Answers one a lease, in order.
    /// A lease that has ended but was not yet reclaimed is live again.
    ///
    /// # Errors
    /// `InvalidInput` for a timeout shorter than a millisecond or too many leases, `QueueClosed`, and what the database says.
    async fn heartbeat_many(
        &self,
        leases: &[Lease],
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>>;

    /// Cancels a task that is not finished: pending, failed or running. A running one's lease is lost.
    ///
    /// # Errors
    /// `TaskNotFound`, `QueueClosed`, and what the database says.
    async fn cancel(&self, id: TaskId) -> Result<Cancelled>;

    /// The task with this id.
    ///
    /// # Errors
    /// `TaskNotFound`, `QueueClosed`, and what the database says.
    async fn get(&self, id: TaskId) -> Result<Task>;

    /// The unfinished task of this type (pending, running or failed) that holds this unique key, at this moment; none where nobody
    /// does. It is found by what keeps keys unique, however many tasks there are.
    ///
    /// ```
    /// use taskqueue_core::{Cancelled, Queue, Result, TaskType};
    ///
    /// /// Cancels by key. Whoever takes the key meanwhile has another id, and stays.
    /// async fn cancel_holder(queue: &dyn Queue, mail: &TaskType, key: &str) -> Result<Option<Cancelled>> {
    ///     let Some(holder) = queue.holder(mail, key).await? else { return Ok(None) };
    ///     queue.cancel(holder.id).await.map(Some)
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a key that no task can have, as [`enqueue_many`](Queue::enqueue_many) says it; `QueueClosed`, and what
    /// the database says.
    async fn holder(&self, task_type: &TaskType, unique_key: &str) -> Result<Option<Task>>;

    /// A page of the tasks that pass the filter, by id from the highest to the lowest.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage>;

    /// What the queue holds. Its cost grows with the unfinished tasks, not with the finished ones.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn stats(&self) -> Result<QueueStats>;

    /// Removes finished tasks of the given statuses (completed, dead letter, cancelled) that finished longer ago than
    /// an age, at most `limit`. Answers how many. Which of them go first is the engine's choice.
    ///
    /// A call looks at no fewer than [`CLEANUP_LOOK`](crate::CLEANUP_LOOK) tasks, or at all if there are fewer; the
    /// next one goes on where it stopped. So an answer below `limit` says that nothing is left only if the queue
    /// holds no more than that; in a larger one, call again.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64>;

    /// Takes back running tasks whose lease has ended, at most `limit`: ready again, or dead letter when their
    /// attempts are used up or they were reclaimed too often.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed>;

    /// Makes delayed and failed tasks ready whose time has come, earliest first, at most `limit`. Answers how
    /// many.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn promote_due(&self, limit: usize) -> Result<u64>;

    /// Makes these tasks ready that wait for a time, delayed or for their retry, as if it had come: behind those of their
    /// priority that are ready already, in the order of the ids. Attempts, unique key and the rest stay; a
    /// [`scheduled_at`](Task::scheduled_at) that lies ahead becomes now. What does not wait is passed over: ready, running and
    /// finished tasks, dead letters, and ids that nobody knows. Answers how many were made ready.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`BATCH_MAX`](crate::BATCH_MAX) ids (then nothing has changed), `QueueClosed`, and what the
    /// database says.
    async fn run_now(&self, ids: &[TaskId]) -> Result<u64>;

    /// Makes dead letters ready again with no attempts and no reclaims counted. One whose unique key is taken
    /// by now stays a dead letter. Answers how many were redriven.
    ///
    /// # Errors
    /// `InvalidInput`, `QueueClosed`, and what the database says.
    async fn redrive(&self, redrive: &Redrive) -> Result<u64>;

    /// Stops claims of a type, for every worker, until [`resume`](Queue::resume). Running tasks go on. A no-op
    /// when it is paused already.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn pause(&self, task_type: &TaskType) -> Result<()>;

    /// Lets a paused type be claimed again. A no-op when it is not paused.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn resume(&self, task_type: &TaskType) -> Result<()>;

    /// The paused types, in order.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn paused(&self) -> Result<Vec<TaskType>>;

    /// Which engine this is.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn backend(&self) -> Result<Backend>;

    /// The current time by the queue's clock: the one that leases, delays and retries follow.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    async fn now(&self) -> Result<Timestamp>;

    /// Closes this instance: every later call fails with `QueueClosed`. What is stored stays, and so does a pool that is
    /// the service's. Idempotent.
    async fn close(&self);

    /// How long leases last unless a claim says otherwise.
    fn visibility_timeout(&self) -> Duration;

    /// The signal that is raised when tasks may have become ready: by enqueue, settle, promote, reclaim,
    /// redrive and run now through this instance, and by a listener where the engine has one.
    fn wake_up(&self) -> WakeUp;

    // Here the methods with a default begin. `delegate_queue!` forwards them by name, as it does those above.

    /// How often this instance repeated a transaction after a deadlock, a serialization failure or a lock
    /// timeout.
    fn contention_retries(&self) -> u64 {
        0
    }

    /// How many of these have not been answered by this call yet. Clones of an instance share the count, so that what
    /// records it, as [`Observed`](crate::Observed) does after each call, records each once.
    fn take_contention_retries(&self) -> u64 {
        0
    }

    /// Enqueues one task: a payload, or a [`NewTask`]. The id of one that was enqueued before is answered again, and nothing is
    /// added: a clone of a [`NewTask`] is the same task ([`NewTask::copy_with_new_id`]).
    ///
    /// # Errors
    /// As [`enqueue_many`](Queue::enqueue_many), and `DuplicateUnique` when its unique key is taken.
    async fn enqueue<T>(&self, task: T) -> Result<TaskId>
    where
        Self: Sized,
        T: IntoTask + Send,
    {
        let task = task.into_task()?;
        match only("enqueue", self.enqueue_many(vec![task]).await?)? {
            Enqueued::Created(id) | Enqueued::Repeated(id) => Ok(id),
            Enqueued::Duplicate(existing) => Err(Error::duplicate_unique("enqueue", existing)),
        }
    }

    /// Claims the next task of the types, or none. When nothing is ready, what is due is promoted first, so
    /// that a plain loop of dequeue and settle needs no maintenance but [`reclaim_stale`](Queue::reclaim_stale).
    ///
    /// # Errors
    /// As [`dequeue_many`](Queue::dequeue_many).
    async fn dequeue(&self, worker_id: &WorkerId, types: &[TaskType]) -> Result<Option<Claim>> {
        let request = ClaimRequest::new(worker_id.clone(), types, 1);
        let mut claims = self.dequeue_many(&request).await?;
        if claims.is_empty() && self.promote_due(PROMOTE_ON_EMPTY_LIMIT).await? > 0 {
            claims = self.dequeue_many(&request).await?;
        }
        Ok(claims.pop())
    }

    /// Settles one claim.
    ///
    /// # Errors
    /// As [`settle_many`](Queue::settle_many), and `LeaseLost`.
    async fn settle(&self, lease: Lease, outcome: Outcome) -> Result<()> {
        let id = lease.task_id;
        match only("settle", self.settle_many(vec![Settlement::new(lease, outcome)]).await?)? {
            Settled::Applied | Settled::Repeated => Ok(()),
            Settled::LeaseLost => Err(Error::lease_lost("settle", id)),
        }
    }

    /// Settles a claim as finished.
    ///
    /// # Errors
    /// As [`settle`](Queue::settle).
    async fn complete(&self, lease: Lease) -> Result<()> {
        self.settle(lease, Outcome::done()).await
    }

    /// Settles a claim as failed; retried by the queue's policy while attempts remain, else dead letter.
    ///
    /// # Errors
    /// As [`settle`](Queue::settle).
    async fn fail(&self, lease: Lease, error: &str) -> Result<()> {
        self.settle(lease, Outcome::fail(error)).await
    }

    /// Puts a claim off by `delay`; the attempt is given back.
    ///
    /// # Errors
    /// As [`settle`](Queue::settle).
    async fn snooze(&self, lease: Lease, delay: Duration) -> Result<()> {
        self.settle(lease, Outcome::Snooze { delay }).await
    }

    /// Hands a claim back unstarted; the attempt is given back.
    ///
    /// # Errors
    /// As [`settle`](Queue::settle).
    async fn release(&self, lease: Lease) -> Result<()> {
        self.settle(lease, Outcome::Release).await
    }

    /// Extends one lease by the queue's visibility timeout.
    ///
    /// # Errors
    /// As [`heartbeat_many`](Queue::heartbeat_many), `LeaseLost`, and `Unavailable` where another session has locked the task.
    async fn heartbeat(&self, lease: &Lease) -> Result<()> {
        match only("heartbeat", self.heartbeat_many(std::slice::from_ref(lease), None).await?)? {
            Heartbeat::Extended => Ok(()),
            Heartbeat::Locked => Err(Error::task_locked("heartbeat", lease.task_id)),
            Heartbeat::Lost => Err(Error::lease_lost("heartbeat", lease.task_id)),
        }
    }
}

/// The one answer to a batch of one.
fn only<T>(operation: &'static str, mut answers: Vec<T>) -> Result<T> {
    let answer = answers.pop().filter(|_| answers.is_empty());
    answer.ok_or_else(|| {
        Error::new(crate::ErrorKind::Backend, operation, "the backend did not answer one for one")
    })
}

crate::delegate_queue!(Arc<Q>, |queue| **queue, generic [Q: Queue + ?Sized]);
crate::delegate_queue!(Box<Q>, |queue| **queue, generic [Q: Queue + ?Sized]);
