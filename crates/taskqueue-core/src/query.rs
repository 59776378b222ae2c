//! What operators ask of a queue: listings, statistics, cleanup, redrive.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::new_task::{check_limit, check_region};
use crate::{Result, Status, Task, TaskId, TaskType, Timestamp};

/// How many tasks a listing returns unless it says otherwise.
pub const LIST_LIMIT_DEFAULT: usize = 100;

/// Which tasks to list. Fields that are `None` let every task through.
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
    /// The mean time from claim to completion of the completed tasks, in milliseconds; 0 when there are none.
    pub avg_processing_time_ms: f64,
    /// The earliest `scheduled_at` of the pending tasks.
    pub oldest_pending: Option<Timestamp>,
}

/// How many tasks one cleanup looks at, finished or not, at least. An engine whose index finds finished tasks by
/// their age looks at all in each call.
pub const CLEANUP_LOOK: usize = 100_000;

/// What to clean up: finished tasks whose `completed_at` is older than an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// The least age.
    pub older_than: Duration,
    /// The most tasks to remove in this call, in `1..=BATCH_MAX`.
    pub limit: usize,
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
            Self::Tasks(ids) => crate::new_task::check_batch("redrive", ids.len()),
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
