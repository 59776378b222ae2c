//! What operators ask of a queue: listings, statistics, cleanup, redrive.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batches::{check_batch, check_limit};
use crate::new_task::check_region;
use crate::{Result, State, Status, Task, TaskId, TaskType, Timestamp};

/// How many tasks a listing returns unless it says otherwise.
pub const LIST_LIMIT_DEFAULT: usize = 100;

/// Which tasks to list. Fields that are `None` let every task through.
///
/// ```
/// use taskqueue_core::{Queue, Result, Status, Task, TaskFilter};
///
/// async fn dead_letters(queue: &impl Queue) -> Result<Vec<Task>> {
///     let mut filter = TaskFilter { status: Some(Status::DeadLetter), ..TaskFilter::default() };
///     let mut tasks = Vec::new();
///     loop {
///         let page = queue.list(&filter).await?;
///         tasks.extend(page.tasks);
///         filter.after = page.next;
///         if filter.after.is_none() {
///             return Ok(tasks);
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFilter {
    /// Only this type.
    pub task_type: Option<TaskType>,
    /// Only this status.
    pub status: Option<Status>,
    /// Only this region.
    pub region: Option<String>,
    /// The most tasks to return, in `1..=BATCH_MAX`.
    pub limit: usize,
    /// How many matching tasks to pass over first. Costs their reading: prefer `after`.
    pub offset: usize,
    /// Only tasks that come after this id in the listing: `next` of the page before.
    pub after: Option<TaskId>,
}

impl Default for TaskFilter {
    fn default() -> Self {
        Self {
            task_type: None,
            status: None,
            region: None,
            limit: LIST_LIMIT_DEFAULT,
            offset: 0,
            after: None,
        }
    }
}

impl TaskFilter {
    /// Checks the filter; every backend calls this first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit outside `1..=BATCH_MAX`, an offset over `i64::MAX`, or a malformed region.
    pub fn validate(&self) -> Result<()> {
        check_limit("list", self.limit)?;
        if i64::try_from(self.offset).is_err() {
            return Err(crate::Error::invalid_input("list", format!("offset {} is too large", self.offset)));
        }
        self.region.as_deref().map_or(Ok(()), |region| check_region("list", region))
    }
}

/// One page of a listing, by id from the highest (newest, as ids are UUIDv7) to the lowest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// What to pass as `after` for the next page; `None` when this page was not full.
    pub next: Option<TaskId>,
}

impl TaskPage {
    /// A page of what a query with `limit` returned.
    pub fn new(tasks: Vec<Task>, limit: usize) -> Self {
        let next = if tasks.len() < limit { None } else { tasks.last().map(|task| task.id) };
        Self { tasks, next }
    }
}

/// What a queue holds. The JSON names are shared with other languages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueStats {
    /// Tasks waiting, now or for their time.
    pub pending: u64,
    /// Of the pending ones those that wait for their time; the others are ready. One that is due counts here until it is
    /// promoted.
    #[serde(default)]
    pub scheduled: u64,
    /// Tasks leased to workers.
    pub running: u64,
    /// Tasks finished and not yet cleaned up.
    pub completed: u64,
    /// Tasks waiting for a retry.
    pub failed: u64,
    /// Tasks failed permanently and not yet cleaned up or redriven.
    pub dead_letter: u64,
    /// Tasks cancelled and not yet cleaned up.
    #[serde(default)]
    pub cancelled: u64,
    /// Unfinished tasks (pending, running, failed) of each type that has any.
    pub by_type: BTreeMap<TaskType, u64>,
    /// Dead letters of each type that has any.
    #[serde(default)]
    pub dead_letter_by_type: BTreeMap<TaskType, u64>,
    /// The mean time from claim to completion of the completed tasks, in milliseconds; 0 when there are none.
    pub avg_processing_time_ms: f64,
    /// Since when the task that has waited longest could have been claimed: its time at the enqueue, or when it was
    /// promoted, run now, released, taken back or redriven. `None` where none is ready; what is scheduled for later waits for
    /// its time and for nobody.
    pub oldest_pending: Option<Timestamp>,
}

/// How many tasks one cleanup looks at, finished or not, at least. An engine whose index finds finished tasks by
/// their age looks at all in each call.
pub const CLEANUP_LOOK: usize = 100_000;

/// What to clean up: finished tasks whose `completed_at` is older than an age.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_core::{Cleanup, FinishedStatuses, Queue, Result};
///
/// /// Removes up to a thousand dead letters of more than 90 days, and answers how many.
/// async fn forget(queue: &impl Queue) -> Result<u64> {
///     let age = Duration::from_secs(90 * 24 * 60 * 60);
///     queue.cleanup(Cleanup::new(age, 1_000).only(FinishedStatuses::DEAD_LETTER)).await
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// The least age.
    pub older_than: Duration,
    /// The most tasks to remove in this call, in `1..=BATCH_MAX`.
    pub limit: usize,
    /// Only tasks of these statuses.
    pub statuses: FinishedStatuses,
}

impl Cleanup {
    /// A cleanup of tasks of every finished status, dead letters too.
    pub fn new(older_than: Duration, limit: usize) -> Self {
        Self { older_than, limit, statuses: FinishedStatuses::ALL }
    }

    /// Only tasks of these statuses.
    #[must_use]
    pub fn only(mut self, statuses: FinishedStatuses) -> Self {
        self.statuses = statuses;
        self
    }
}

/// A set of the statuses that a task ends in: completed, dead letter, cancelled. It has one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FinishedStatuses(u8);

impl FinishedStatuses {
    /// Completed tasks.
    pub const COMPLETED: Self = Self(1);
    /// Dead letters.
    pub const DEAD_LETTER: Self = Self(2);
    /// Cancelled tasks.
    pub const CANCELLED: Self = Self(4);
    /// Completed and cancelled tasks, which wait for nobody. A dead letter waits for whoever mends its cause.
    pub const ALL_BUT_DEAD_LETTER: Self = Self::COMPLETED.with(Self::CANCELLED);
    /// Every finished status.
    pub const ALL: Self = Self::ALL_BUT_DEAD_LETTER.with(Self::DEAD_LETTER);

    /// The statuses of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set has this status.
    pub fn contains(self, status: Status) -> bool {
        Self::of(status).is_some_and(|only| self.0 & only.0 != 0)
    }

    /// The set of this status alone; `None` for one that a task does not end in.
    pub fn of(status: Status) -> Option<Self> {
        match status {
            Status::Completed => Some(Self::COMPLETED),
            Status::DeadLetter => Some(Self::DEAD_LETTER),
            Status::Cancelled => Some(Self::CANCELLED),
            Status::Pending | Status::Running | Status::Failed => None,
        }
    }

    /// The states of the set.
    pub fn states(self) -> impl Iterator<Item = State> {
        let states = [State::Completed, State::DeadLetter, State::Cancelled];
        states.into_iter().filter(move |state| self.contains(state.status()))
    }
}

impl Default for FinishedStatuses {
    fn default() -> Self {
        Self::ALL
    }
}

/// What a reclaim did with tasks whose lease had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Made ready for another worker.
    pub released: u64,
    /// Dead-lettered: attempts used up, or reclaimed too often.
    pub dead_lettered: u64,
}

impl Reclaimed {
    /// All of them.
    pub fn total(self) -> u64 {
        self.released + self.dead_lettered
    }
}

/// Which dead letters to make pending again.
///
/// ```
/// use taskqueue_core::{Queue, Redrive, Result, TaskType};
///
/// /// The handler of this type is mended: its dead letters have all their attempts again.
/// async fn again(queue: &impl Queue, task_type: TaskType) -> Result<u64> {
///     queue.redrive(&Redrive::Any { task_type: Some(task_type), limit: 1_000 }).await
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Redrive {
    /// These, at most `BATCH_MAX`; those that are not dead letters are passed over.
    Tasks(Vec<TaskId>),
    /// Any, of a type or of all, at most `limit`.
    Any {
        /// Only this type.
        task_type: Option<TaskType>,
        /// The most tasks to redrive in this call, in `1..=BATCH_MAX`.
        limit: usize,
    },
}

impl Redrive {
    /// Checks the request; every backend calls this first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit outside `1..=BATCH_MAX` or too many ids.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Tasks(ids) => check_batch("redrive", ids.len()),
            Self::Any { limit, .. } => check_limit("redrive", *limit),
        }
    }
}

/// What a cancel found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The task is cancelled; it had this status. If that was running, its worker's lease is lost.
    From(Status),
    /// The task was finished already, with this status; nothing changed.
    AlreadyFinished(Status),
}
