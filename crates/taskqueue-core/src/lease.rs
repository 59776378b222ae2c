//! Claims and leases: the proof that a worker may settle a task.

use std::cmp::Reverse;
use std::time::Duration;

use crate::batches::check_limit;
use crate::{Error, Result, Task, TaskId, TaskType, Timestamp, WorkerId};

/// How long a lease lasts unless configured otherwise.
pub const VISIBILITY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The random token of one claim. It is drawn anew for each claim and never derived from a counter, which two
/// workers could share after a failover to a lagging replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(i64);

impl LeaseToken {
    /// A new token; never 0, which stored rows use for "no lease".
    pub fn generate() -> Self {
        loop {
            let token: i64 = rand::random();
            if token != 0 {
                return Self(token);
            }
        }
    }

    /// A token that a backend stored.
    pub fn from_stored(token: i64) -> Self {
        Self(token)
    }

    /// The stored form.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// The proof of a claim. Settling consumes it; a copy kept for a retry after a lost reply settles nothing twice.
/// Backends make leases; nobody else has a reason to.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The claimed task.
    pub task_id: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// The token that every settle and heartbeat names.
    pub token: LeaseToken,
    /// The number of this claim, rising with each claim of the task: hand it to outside systems as a fence.
    pub number: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many attempts the task may have in total.
    pub max_retries: u32,
    /// When the task was claimed, by the queue's clock. How long it ran is counted from here.
    pub claimed_at: Timestamp,
    /// When the lease ends unless a heartbeat extends it, by the queue's clock.
    pub until: Timestamp,
}

/// A claimed task and its lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task as it stands after the claim: running, with the attempt counted.
    pub task: Task,
    /// The right to settle it.
    pub lease: Lease,
    /// When the task became ready last, by the queue's clock: its time at the enqueue, or when it was promoted, run now,
    /// released, taken back or redriven. How long it waited is counted from here. It may be later by a microsecond for
    /// each other task of the call that made it ready.
    pub ready_at: Timestamp,
}

impl Claim {
    /// What two claims brought, as one would have: by priority, by time, and by id, which rises where the queue makes it.
    /// What each brought stays in its order, which also knows of retries.
    pub fn merge(one: Vec<Self>, other: Vec<Self>) -> impl Iterator<Item = Self> {
        let place = |claim: &Self| (Reverse(claim.task.priority), claim.task.scheduled_at, claim.task.id);
        let (mut one, mut other) = (one.into_iter(), other.into_iter());
        std::iter::from_fn(move || match (one.as_slice(), other.as_slice()) {
            ([first, ..], [earlier, ..]) if place(earlier) < place(first) => other.next(),
            ([], _) => other.next(),
            _ => one.next(),
        })
    }
}

/// What to claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// Who claims.
    pub worker_id: WorkerId,
    /// The types that the worker handles; at least one. Paused types are passed over.
    pub types: Vec<TaskType>,
    /// The most tasks to claim, in `1..=BATCH_MAX`.
    pub limit: usize,
    /// How long the leases last, a millisecond at least; `None`: the queue's visibility timeout.
    pub visibility_timeout: Option<Duration>,
    /// Whether the same worker makes another claim at the same time, so that the store is busy with one while the other
    /// waits for its commit. A store answers such a claim with nothing where it would gain nothing: where other
    /// workers do the same, as claims at once walk over each other's rows, and where one writer goes after the other.
    pub is_extra: bool,
}

impl ClaimRequest {
    /// A request for at most `limit` tasks of `types`, with the queue's visibility timeout.
    pub fn new(worker_id: WorkerId, types: impl Into<Vec<TaskType>>, limit: usize) -> Self {
        Self { worker_id, types: types.into(), limit, visibility_timeout: None, is_extra: false }
    }

    /// Sets how long the leases last.
    #[must_use]
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.visibility_timeout = Some(timeout);
        self
    }

    /// Makes it a claim beside another one of the same worker, which may be answered with nothing.
    #[must_use]
    pub fn extra(mut self) -> Self {
        self.is_extra = true;
        self
    }

    /// Checks the request; every backend calls this first.
    ///
    /// # Errors
    /// `InvalidInput` for no types, a limit outside `1..=BATCH_MAX`, or a visibility timeout shorter than a
    /// millisecond.
    pub fn validate(&self) -> Result<()> {
        if self.types.is_empty() {
            return Err(Error::invalid_input("dequeue", "no task types: name at least one"));
        }
        check_limit("dequeue", self.limit)?;
        self.visibility_timeout.map_or(Ok(()), |timeout| check_visibility_timeout("dequeue", timeout))
    }
}

/// Checks a visibility timeout, wherever one is given.
///
/// # Errors
/// `InvalidInput` when it is shorter than a millisecond.
pub fn check_visibility_timeout(operation: &'static str, timeout: Duration) -> Result<()> {
    if timeout < Duration::from_millis(1) {
        let message = format!("visibility timeout {timeout:?} is shorter than 1ms");
        return Err(Error::invalid_input(operation, message));
    }
    Ok(())
}

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease was live and now lasts a visibility timeout from now.
    Extended,
    /// The lease is live still, but its task is locked by another session, as by a transaction of the service's that
    /// completes it. Nothing changed: the lease ends when it would have ended, unless a later heartbeat extends it.
    Locked,
    /// The lease is no longer the live one: stop the work.
    Lost,
}
