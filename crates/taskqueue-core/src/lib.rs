//! The core of `taskqueue`: the vocabulary, the [`Queue`] contract that every backend keeps, typed payloads,
//! retry policies and errors. It knows no database and no driver.
//!
//! A service depends on one backend crate, which re-exports all of this.

pub mod backend;
pub mod batches;
pub mod clock;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod delegate;
mod error;
#[doc(hidden)]
pub mod hash;
mod id;
mod lease;
pub mod metrics;
pub mod new_task;
mod observed;
mod payload;
pub mod payloads;
mod query;
mod queue;
mod reclaim;
mod retry;
mod settle;
mod shard;
mod state;
mod task;
pub mod trace;
mod wake;

pub use batches::{BATCH_MAX, BATCH_PAYLOAD_BYTES_MAX};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, Result};
pub use id::{TASK_TYPE_CHARS_MAX, TaskId, TaskType, WORKER_ID_CHARS_MAX, WorkerId};
pub use lease::{Claim, ClaimRequest, Heartbeat, Lease, LeaseToken, VISIBILITY_TIMEOUT_DEFAULT};
pub use new_task::{IntoTask, NewTask, PAYLOAD_BYTES_MAX_DEFAULT, REGION_CHARS_MAX, Schedule};
pub use observed::Observed;
pub use payload::{Payload, RawPayload};
pub use query::{
    CLEANUP_LOOK, Cancelled, Cleanup, FinishedStatuses, LIST_LIMIT_DEFAULT, QueueStats, Reclaimed, Redrive,
    TaskFilter, TaskPage,
};
pub use queue::{Backend, Enqueued, Queue};
pub use retry::{BACKOFF_CAP_DEFAULT, JITTER_DEFAULT, RetryPolicy};
pub use settle::{Completed, LAST_ERROR_BYTES_MAX, Outcome, Retry, Settled, Settlement};
pub use shard::{SHARDS_MAX, Shard, Shards};
pub use state::State;
pub use task::{MAX_RETRIES_DEFAULT, Metadata, Priority, Status, Task};
pub use wake::{CancelListener, WakeListener, WakeUp};

/// How often a worker asks for tasks unless configured otherwise.
pub const POLL_INTERVAL_DEFAULT: std::time::Duration = std::time::Duration::from_secs(1);
/// How many tasks a worker handles at once unless configured otherwise.
pub const CONCURRENCY_DEFAULT: usize = 5;
/// How often a task may be taken back from dead workers before it becomes a dead letter, unless configured
/// otherwise.
pub const MAX_RECLAIMS_DEFAULT: u32 = 5;
