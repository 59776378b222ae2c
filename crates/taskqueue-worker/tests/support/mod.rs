//! What the worker's tests share: a memory queue on tokio's time, payload types, and a queue that counts calls
//! and fails on demand.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod spy;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::core::{Status, TaskFilter};
use taskqueue_worker::testing::TokioClock;
use taskqueue_worker::{Payload, Queue, Task, TaskId, TaskType};

pub const SECOND: Duration = Duration::from_secs(1);

/// The payload of most tests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Number {
    pub n: u32,
}

impl Payload for Number {
    const TYPE: &'static str = "number";
}

/// A second type, for tests of two.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    pub c: char,
}

impl Payload for Letter {
    const TYPE: &'static str = "letter";
}

/// A queue whose time is tokio's.
pub fn queue() -> MemoryQueue {
    queue_with(MemoryConfig::default())
}

/// A queue with these settings but tokio's time.
pub fn queue_with(config: MemoryConfig) -> MemoryQueue {
    let config = MemoryConfig { clock: Arc::new(TokioClock::new()), ..config };
    MemoryQueue::with_config(config).expect("the settings are valid")
}

/// Enqueues the numbers from 1 to `last`.
pub async fn enqueue_numbers(queue: &impl Queue, last: u32) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for n in 1..=last {
        ids.push(queue.enqueue(Number { n }).await.unwrap());
    }
    ids
}

pub fn number_type() -> TaskType {
    TaskType::of::<Number>().unwrap()
}

/// Waits, in tokio's time, until `condition` holds; panics after an hour of it.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(3600);
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "never came true: {what}");
}

/// Waits until a task has this status.
pub async fn wait_for_status(queue: &impl Queue, id: TaskId, status: Status) -> Task {
    wait_until(status.as_str(), async || queue.get(id).await.unwrap().status == status).await;
    queue.get(id).await.unwrap()
}

/// How many tasks have this status.
pub async fn count(queue: &impl Queue, status: Status) -> usize {
    let filter = TaskFilter { status: Some(status), limit: 10_000, ..TaskFilter::default() };
    queue.list(&filter).await.unwrap().tasks.len()
}
