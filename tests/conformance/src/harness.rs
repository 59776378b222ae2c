//! What a backend gives the suite so that it can be tested: fresh queues, and a hand on their clock. It knows no
//! behaviour and no backend.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{
    MAX_RECLAIMS_DEFAULT, PAYLOAD_BYTES_MAX_DEFAULT, Queue, RetryPolicy, Timestamp,
    VISIBILITY_TIMEOUT_DEFAULT,
};

/// How a behaviour wants its queue configured. The defaults are the defaults of every backend.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long leases last.
    pub visibility_timeout: Duration,
    /// How long failed tasks wait.
    pub retry: RetryPolicy,
    /// The largest payload.
    pub payload_bytes_max: usize,
    /// How often a task may be reclaimed before it becomes a dead letter.
    pub max_reclaims: u32,
    /// The most unfinished tasks. Set only for harnesses that support a capacity.
    pub capacity: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            visibility_timeout: VISIBILITY_TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
            max_reclaims: MAX_RECLAIMS_DEFAULT,
            capacity: None,
        }
    }
}

/// A backend under test. Make one in a test file and hand it to [`suite!`](crate::suite).
#[async_trait]
pub trait Harness: Send + Sync {
    /// An empty queue that nobody else uses. Panics when the backend cannot make one: that is a failed test.
    async fn fresh(&self, options: Options) -> Box<dyn Fixture>;

    /// Whether claims take tasks in one order over all of them. Where the tasks are spread over shards the order holds
    /// within each shard, and what is [`ORDERED`](crate::ORDERED) is not run.
    fn is_ordered(&self) -> bool {
        true
    }

    /// Whether the backend can be given a capacity.
    fn supports_capacity(&self) -> bool {
        false
    }
}

/// One queue under test and what belongs to it; dropped at the end of its behaviour.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The queue.
    fn queue(&self) -> Arc<dyn Queue>;

    /// Another instance on the same storage, as a second process would open it, with the same options and
    /// clock; `None` where the storage is the instance itself.
    async fn reopen(&self) -> Option<Arc<dyn Queue>>;

    /// The queue's clock.
    async fn now(&self) -> Timestamp;

    /// Moves the queue's clock forward, for every instance on this storage.
    async fn advance(&self, by: Duration);

    /// Whether the clock stands still between calls of `advance`. Where it does, times are compared exactly.
    fn clock_is_manual(&self) -> bool;
}
