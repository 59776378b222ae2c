//! The settings that every SQL backend shares. It knows no connection.

use std::time::Duration;

use taskqueue_core::backend::check_visibility_timeout;
use taskqueue_core::{
    Completed, Error, MAX_RECLAIMS_DEFAULT, PAYLOAD_BYTES_MAX_DEFAULT, Result, RetryPolicy,
    VISIBILITY_TIMEOUT_DEFAULT,
};

use crate::TableName;

/// Whether queues of several processes rouse one another's workers. A hint only: workers also poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WakeUpMode {
    /// In the engine's own way, which the setting of each backend tells.
    #[default]
    Auto,
    /// Nothing is sent and nothing listened to: workers of other processes find tasks when they poll.
    Off,
}

/// The settings that every SQL backend shares.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The task table; everything else that the queue creates is named after it. Default `tasks`.
    pub table: TableName,
    /// How long a lease lasts unless a claim says otherwise. At least a millisecond; default 5 minutes. Longer
    /// means that a dead worker's tasks wait longer; shorter means more heartbeats.
    pub visibility_timeout: Duration,
    /// How long a failed task waits when its failure does not say. Default `2^attempt` seconds, at most 5 minutes.
    pub retry: RetryPolicy,
    /// The largest payload, in bytes, at least 1. Default 1 MiB.
    pub payload_bytes_max: usize,
    /// How often a task may be taken back from dead workers before it becomes a dead letter, even if attempts
    /// remain. 0: the first time. Default 5.
    pub max_reclaims: u32,
    /// What becomes of a task's row when the task is completed. Queues on one table may differ. Default
    /// [`Completed::Keep`].
    pub completed: Completed,
}

impl Options {
    /// Checks the settings; every backend calls this before it opens anything.
    ///
    /// # Errors
    /// `InvalidInput`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        check_visibility_timeout("configure", self.visibility_timeout)?;
        if self.payload_bytes_max == 0 {
            return Err(Error::invalid_input("configure", "payload_bytes_max is 0: no payload would fit"));
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table: TableName::default(),
            visibility_timeout: VISIBILITY_TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
            max_reclaims: MAX_RECLAIMS_DEFAULT,
            completed: Completed::default(),
        }
    }
}
