//! The stored task, its statuses and priorities, and its JSON form.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, RawPayload, Result, TaskId, TaskType, Timestamp, WorkerId};

/// How many attempts a task has, the first one included, unless it or its payload says otherwise.
pub const MAX_RETRIES_DEFAULT: u32 = 3;

/// Where a task stands, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting to be picked up, now or at `scheduled_at`.
    Pending,
    /// Leased to a worker.
    Running,
    /// Finished.
    Completed,
    /// An attempt failed; another follows at `retry_after`.
    Failed,
    /// Failed permanently: retries exhausted, a permanent error, or its workers died too often.
    DeadLetter,
    /// Cancelled by a user or the system.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::DeadLetter, Self::Cancelled];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to a task in this status by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::DeadLetter | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid_input("status", format!("status {name:?} is not one of {names}"))
        })
    }
}

/// How urgent a task is: any `i32`, higher first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub i32);

impl Priority {
    /// 0
    pub const LOW: Self = Self(0);
    /// 5, the default
    pub const NORMAL: Self = Self(5);
    /// 10
    pub const HIGH: Self = Self(10);
    /// 20
    pub const URGENT: Self = Self(20);
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl From<i32> for Priority {
    fn from(priority: i32) -> Self {
        Self(priority)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Small strings that travel with a task from enqueue to handler: trace context, headers.
pub type Metadata = BTreeMap<String, String>;

/// A task as the queue keeps it. The JSON names are shared with producers in other languages; unknown ones
/// are ignored and optional ones may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The id.
    pub id: TaskId,
    /// The type; JSON name `type`.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// Where it stands.
    pub status: Status,
    /// How urgent it is.
    pub priority: Priority,
    /// JSON text, byte for byte as it was enqueued.
    pub payload: RawPayload,
    /// When it is to run: the time of enqueue, the time asked for, the end of a snooze, or when somebody had it run now before
    /// that.
    pub scheduled_at: Timestamp,
    /// When it was last claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it became completed, dead letter or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How many claims ran; it rises at dequeue, and snooze and release give it back.
    pub attempts: u32,
    /// How many attempts it may have in total.
    pub max_retries: u32,
    /// When a failed task is tried again; set only while it is failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Timestamp>,
    /// What the last failed attempt said, at most 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When anything but a heartbeat last changed it.
    pub updated_at: Timestamp,
    /// The region that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The worker that claimed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The key that no other unfinished task of its type may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// How often its lease ended without a settle.
    #[serde(default)]
    pub reclaims: u32,
    /// Trace context and headers.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}
