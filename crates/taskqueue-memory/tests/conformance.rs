//! The conformance suite, on the memory queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_memory::{Clock, ManualClock, MemoryConfig, MemoryQueue, Queue, Timestamp};

struct Memory;

struct Fresh {
    queue: MemoryQueue,
    clock: ManualClock,
}

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let clock = ManualClock::default();
        let Options { visibility_timeout, retry, payload_bytes_max, max_reclaims, capacity } = options;
        let shared = Arc::new(clock.clone());
        let config = MemoryConfig {
            clock: shared,
            visibility_timeout,
            retry,
            payload_bytes_max,
            capacity,
            max_reclaims,
            ..MemoryConfig::default()
        };
        Box::new(Fresh { queue: MemoryQueue::with_config(config).expect("the options are valid"), clock })
    }

    fn supports_capacity(&self) -> bool {
        true
    }
}

#[async_trait]
impl Fixture for Fresh {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(self.queue.reopen()))
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}

taskqueue_conformance::suite!(Memory);
