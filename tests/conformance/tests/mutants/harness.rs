//! Makes mutants for the suite: each queue of the model's harness behind one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_conformance::{Fixture, Harness, ModelHarness, Options};
use taskqueue_core::{Queue, RetryPolicy, Timestamp, VISIBILITY_TIMEOUT_DEFAULT};

use crate::fault::Fault;
use crate::mutant::{Memory, Mutant};

/// Makes queues with a fault.
pub(crate) struct MutantHarness(pub(crate) Fault);

struct MutantFixture {
    fixture: Box<dyn Fixture>,
    fault: Fault,
    memory: Arc<Mutex<Memory>>,
}

impl MutantFixture {
    fn spoil(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        Arc::new(Mutant { queue, fault: self.fault, memory: self.memory.clone() })
    }
}

#[async_trait]
impl Harness for MutantHarness {
    async fn fresh(&self, mut options: Options) -> Box<dyn Fixture> {
        match self.0 {
            Fault::ReclaimIsNotCapped => options.max_reclaims = u32::MAX,
            Fault::TheLargestPayloadIsRefused => options.payload_bytes_max -= 1,
            Fault::CapacityIsIgnored => options.capacity = None,
            Fault::TheVisibilityTimeoutIsIgnored => options.visibility_timeout = VISIBILITY_TIMEOUT_DEFAULT,
            Fault::TheRetryPolicyIsIgnored => options.retry = RetryPolicy::fixed(Duration::from_secs(1)),
            _ => {}
        }
        let fixture = ModelHarness.fresh(options).await;
        Box::new(MutantFixture { fixture, fault: self.0, memory: Arc::default() })
    }

    fn supports_capacity(&self) -> bool {
        true
    }
}

#[async_trait]
impl Fixture for MutantFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        self.spoil(self.fixture.queue())
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        if self.fault == Fault::NothingOutlivesItsInstance {
            return Some(ModelHarness.fresh(Options::default()).await.queue());
        }
        Some(self.spoil(self.fixture.reopen().await?))
    }

    async fn now(&self) -> Timestamp {
        self.fixture.now().await
    }

    async fn advance(&self, by: Duration) {
        self.fixture.advance(by).await;
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}
