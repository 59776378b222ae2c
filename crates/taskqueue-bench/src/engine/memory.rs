//! Memory as an engine: each opened queue is a new one.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use taskqueue_core::Queue;
use taskqueue_memory::MemoryQueue;

use super::{Bed, Connections, Engine};

/// This process's memory.
pub(super) struct Memory;

#[async_trait]
impl Engine for Memory {
    async fn bed(&self, _: &str) -> Result<Box<dyn Bed>> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Bed for Memory {
    async fn open(&self, _: Connections) -> Result<Arc<dyn Queue>> {
        Ok(Arc::new(MemoryQueue::new()))
    }

    async fn remove(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
