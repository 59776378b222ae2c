//! The settings of a memory queue. It owns their defaults and their check; it knows nothing of tasks.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::backend::check_visibility_timeout;
use taskqueue_core::{
    Clock, Completed, Error, MAX_RECLAIMS_DEFAULT, PAYLOAD_BYTES_MAX_DEFAULT, Result, RetryPolicy,
    SystemClock, VISIBILITY_TIMEOUT_DEFAULT,
};

/// The settings of a [`MemoryQueue`](crate::MemoryQueue). The defaults suit most uses.
#[derive(Debug, Clone)]
pub struct MemoryConfig {
    /// Where time comes from. Default: the host's clock; tests give a [`ManualClock`](taskqueue_core::ManualClock).
    pub clock: Arc<dyn Clock>,
    /// How long a lease lasts unless a claim says otherwise, at least a millisecond. Default: 5 minutes.
    pub visibility_timeout: Duration,
    /// How long failed tasks wait. Default: `2^attempts` seconds, at most 5 minutes, with jitter.
    pub retry: RetryPolicy,
    /// The largest payload in bytes, at least 1. Default: 1 MiB.
    pub payload_bytes_max: usize,
    /// The most unfinished tasks (pending, running, failed) that the queue holds, at least 1; `None`: no limit
    /// but memory. Default: `None`. A call that would pass it fails with `QueueFull` and changes nothing;
    /// redrive takes as many dead letters as there is room for.
    pub capacity: Option<usize>,
    /// What becomes of a task when it is completed. Default: [`Completed::Keep`], until cleanup removes it; the queue
    /// grows until then.
    pub completed: Completed,
    /// How often a task may be taken back from dead workers before it becomes a dead letter; 0: never. Default: 5.
    pub max_reclaims: u32,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            visibility_timeout: VISIBILITY_TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
            capacity: None,
            completed: Completed::default(),
            max_reclaims: MAX_RECLAIMS_DEFAULT,
        }
    }
}

impl MemoryConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidInput` for one that is outside what its field says.
    pub fn validate(&self) -> Result<()> {
        check_visibility_timeout("configure", self.visibility_timeout)?;
        if self.payload_bytes_max == 0 {
            return Err(Error::invalid_input("configure", "payload_bytes_max is 0: no payload would fit"));
        }
        if self.capacity == Some(0) {
            return Err(Error::invalid_input("configure", "capacity is 0: no task would fit"));
        }
        Ok(())
    }
}
