//! A queue that counts what it is asked, and answers when it may: at once, once a gate is opened, never, or with a failure
//! that holds a secret. As one over SQL does, it runs each call to its end, also when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskqueue_core::delegate_queue;
use taskqueue_memory::{
    Cancelled, Error, ErrorKind, MemoryQueue, Queue, QueueStats, Redrive, Result, Task, TaskFilter, TaskId,
    TaskPage, TaskType,
};
use tokio::sync::Semaphore;

/// What no page may show.
pub(crate) const SECRET: &str = "hunter2";

/// How questions are answered.
#[derive(Debug)]
pub(crate) enum Conduct {
    /// With what the queue in memory says, once the gate has places.
    Gate(Semaphore),
    /// With what the queue in memory says, after so long.
    Slow(Duration),
    /// Not at all.
    Hangs,
    /// Lists not at all.
    ListsHang,
    /// With a failure to lists after so many.
    ListsFailAfter(usize),
    /// With a failure that names a URL.
    Fails,
}

/// The queue.
#[derive(Clone)]
pub(crate) struct Spy {
    queue: MemoryQueue,
    seen: Arc<Seen>,
}

pub(crate) struct Seen {
    pub(crate) conduct: Conduct,
    pub(crate) stats: AtomicUsize,
    pub(crate) lists: AtomicUsize,
    pub(crate) under_way: AtomicUsize,
    pub(crate) under_way_max: AtomicUsize,
}

impl Spy {
    pub(crate) fn over(queue: MemoryQueue, conduct: Conduct) -> Self {
        let count = AtomicUsize::default;
        let seen =
            Seen { conduct, stats: count(), lists: count(), under_way: count(), under_way_max: count() };
        Self { queue, seen: Arc::new(seen) }
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn asked(&self, operation: &'static str) -> Result<()> {
        let under_way = UnderWay::begin(&self.seen);
        let call = async move { under_way.0.conduct.follow(operation).await };
        tokio::spawn(call).await.expect("it does not panic")
    }
}

impl Conduct {
    async fn follow(&self, operation: &'static str) -> Result<()> {
        match self {
            Self::Gate(gate) => {
                gate.acquire().await.expect("it is never closed").forget();
                gate.add_permits(1);
                Ok(())
            }
            Self::Slow(time) => {
                let never = std::future::pending::<()>();
                let _ = tokio::time::timeout(*time, never).await;
                Ok(())
            }
            Self::Hangs => std::future::pending().await,
            Self::ListsHang if operation == "list" => std::future::pending().await,
            Self::ListsHang | Self::ListsFailAfter(_) => Ok(()),
            Self::Fails => Err(failure(operation)),
        }
    }
}

fn failure(operation: &'static str) -> Error {
    let text = format!("no answer from postgres://ada:{SECRET}@db.internal/tasks");
    Error::new(ErrorKind::Unavailable, operation, text)
}

struct UnderWay(Arc<Seen>);

impl UnderWay {
    fn begin(seen: &Arc<Seen>) -> Self {
        let under_way = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.under_way_max.fetch_max(under_way, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

delegate_queue!(Spy, |spy| spy.queue, except cancel, get, list, stats, run_now, redrive, pause, resume);

impl Spy {
    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        self.asked("cancel").await?;
        self.queue.cancel(id).await
    }
    async fn get(&self, id: TaskId) -> Result<Task> {
        self.asked("get").await?;
        self.queue.get(id).await
    }
    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        let before = self.seen().lists.fetch_add(1, Ordering::SeqCst);
        if matches!(self.seen().conduct, Conduct::ListsFailAfter(lists) if before >= lists) {
            return Err(failure("list"));
        }
        self.asked("list").await?;
        self.queue.list(filter).await
    }
    async fn stats(&self) -> Result<QueueStats> {
        self.seen().stats.fetch_add(1, Ordering::SeqCst);
        self.asked("stats").await?;
        self.queue.stats().await
    }
    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        self.asked("run_now").await?;
        self.queue.run_now(ids).await
    }
    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        self.asked("redrive").await?;
        self.queue.redrive(redrive).await
    }
    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.asked("pause").await?;
        self.queue.pause(task_type).await
    }
    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.asked("resume").await?;
        self.queue.resume(task_type).await
    }
}
