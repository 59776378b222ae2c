//! Callers that go on while servers come and go: they repeat a call until it is answered, and remember what was.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_postgres::{Enqueued, NewTask, Outcome, PostgresQueue, Queue, TaskId};
use taskqueue_worker::{Handler, TaskContext, TaskError, Worker, async_trait};
use tokio::task::JoinSet;

use crate::bed::{LIMIT, assert_unavailable, mail, task, tasks, wait_a_moment};

/// Soon over, so that what was claimed and not settled comes back within the test.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// What a handler's tasks are followed by.
pub(crate) const FOLLOW_UP: &str = "receipt";

/// What was answered.
#[derive(Default)]
pub(crate) struct Answered {
    enqueued: Mutex<BTreeSet<TaskId>>,
    unique: AtomicUsize,
    failures: AtomicUsize,
    stop: AtomicBool,
}

impl Answered {
    /// The tasks whose enqueue was answered.
    pub(crate) fn enqueued(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.enqueued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of them hold a key of their own.
    pub(crate) fn unique(&self) -> usize {
        self.unique.load(Ordering::Relaxed)
    }

    /// How many calls failed.
    pub(crate) fn failures(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Callers under way.
pub(crate) struct Load {
    pub(crate) answered: Arc<Answered>,
    callers: JoinSet<()>,
}

impl Load {
    /// Starts to enqueue one by one, in batches, and with unique keys.
    pub(crate) fn start(queue: &PostgresQueue) -> Self {
        let (answered, mut callers) = (Arc::<Answered>::default(), JoinSet::new());
        for size in [1, 1, 50] {
            callers.spawn(produce(queue.clone(), Arc::clone(&answered), move || tasks(size)));
        }
        callers.spawn(produce_unique(queue.clone(), Arc::clone(&answered)));
        Self { answered, callers }
    }

    /// Lets each caller end what it has begun.
    pub(crate) async fn stop(self) -> Arc<Answered> {
        self.answered.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        self.answered
    }
}

/// Between two calls it waits a moment: what is left at the end must be worked soon, also by a slow machine.
async fn produce(queue: PostgresQueue, answered: Arc<Answered>, batch: impl Fn() -> Vec<NewTask>) {
    while !answered.stop.load(Ordering::Relaxed) {
        wait_until_enqueued(&queue, &answered, batch()).await;
        wait_a_moment().await;
    }
}

async fn produce_unique(queue: PostgresQueue, answered: Arc<Answered>) {
    let mut number = 0;
    while !answered.stop.load(Ordering::Relaxed) {
        number += 1;
        let new = task().unique_key(format!("key {number}"));
        wait_until_enqueued(&queue, &answered, vec![new]).await;
        answered.unique.fetch_add(1, Ordering::Relaxed);
        wait_a_moment().await;
    }
}

/// Repeats the call as a caller would that was told that it can be.
async fn wait_until_enqueued(queue: &PostgresQueue, answered: &Answered, batch: Vec<NewTask>) {
    let enqueuing = async {
        loop {
            match queue.enqueue_many(batch.clone()).await {
                Ok(done) => return done,
                Err(error) => assert_unavailable(&error),
            }
            answered.failures.fetch_add(1, Ordering::Relaxed);
            wait_a_moment().await;
        }
    };
    let enqueued = tokio::time::timeout(LIMIT, enqueuing).await.expect("the queue recovers by itself");
    answered.enqueued().extend(enqueued.into_iter().map(Enqueued::id));
}

/// Completes each task, with a follow-up for each of the type `mail`.
struct Follow;

#[async_trait]
impl Handler for Follow {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let done = Outcome::done();
        Ok(if *cx.task_type() == mail() { done.then(NewTask::raw(FOLLOW_UP, "{}")?) } else { done })
    }
}

/// A worker of both types.
pub(crate) fn worker(queue: &PostgresQueue) -> Worker {
    let worker = Worker::builder(queue.clone()).concurrency(50).visibility_timeout(LEASE);
    let worker = worker.handle(mail(), Follow);
    worker.handle(FOLLOW_UP.parse().unwrap(), Follow).build().unwrap()
}
