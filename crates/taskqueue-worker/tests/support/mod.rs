//! What the worker's tests share: a memory queue on tokio's time, payload types, and a queue that counts calls
//! and fails on demand.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are tests, though outside a test function")]

pub mod fires;
pub mod spy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// The longest that a test waits, in tokio's time.
const WAIT_MAX: Duration = Duration::from_secs(2 * 3600);

/// Waits, in tokio's time, until `condition` holds; looks at it after 1 ms, 2 ms, 4 ms and so on up to each second.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut wait = Duration::from_millis(1);
        while !condition().await {
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(SECOND);
        }
    };
    assert!(tokio::time::timeout(WAIT_MAX, waiting).await.is_ok(), "never came true: {what}");
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

/// A gate that handlers wait at until the test opens it, and a count of those that have arrived.
#[derive(Debug)]
pub struct Gate {
    permits: tokio::sync::Semaphore,
    arrived: tokio::sync::watch::Sender<usize>,
    inside: AtomicUsize,
    inside_max: AtomicUsize,
}

impl Gate {
    pub fn closed() -> Arc<Self> {
        Arc::new(Self {
            permits: tokio::sync::Semaphore::new(0),
            arrived: tokio::sync::watch::Sender::new(0),
            inside: AtomicUsize::new(0),
            inside_max: AtomicUsize::new(0),
        })
    }

    /// Waits for the gate.
    pub async fn pass(&self) {
        self.arrived.send_modify(|arrived| *arrived += 1);
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.inside_max.fetch_max(inside, Ordering::SeqCst);
        self.permits.acquire().await.expect("the gate is never torn down").forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets `handlers` pass, now or when they arrive.
    pub fn open_for(&self, handlers: usize) {
        self.permits.add_permits(handlers);
    }

    /// How many have arrived so far.
    pub fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    /// The most that waited at once.
    pub fn inside_max(&self) -> usize {
        self.inside_max.load(Ordering::SeqCst)
    }

    /// Waits until `handlers` have arrived, and no longer.
    pub async fn wait_for(&self, handlers: usize) {
        let mut arrived = self.arrived.subscribe();
        let waiting = arrived.wait_for(|arrived| *arrived >= handlers);
        assert!(tokio::time::timeout(WAIT_MAX, waiting).await.is_ok(), "{handlers} handlers never arrived");
    }
}

/// A handler that waits at the gate.
pub async fn at_gate(_: Number, gate: taskqueue_worker::Data<Gate>) {
    gate.pass().await;
}
