//! The test bed that behaviours are written against: a fresh queue, its clock, and the short words that keep a
//! behaviour readable. It knows no backend.

use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use taskqueue_core::{
    Claim, ClaimRequest, Error, ErrorKind, IntoTask, Lease, NewTask, Outcome, Queue, Result, Settled,
    Settlement, Status, Task, TaskFilter, TaskId, TaskType, Timestamp, WorkerId,
};

use crate::{Fixture, Harness, Options, Unmet};

/// How far apart two times may be and still count as the same, where the clock runs by itself.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long anything is waited for before that is given up, on a busy machine as well.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a wait-until pauses between two looks.
const WAIT_STEP: Duration = Duration::from_millis(10);

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A fresh queue under test. Dereferences to the queue.
pub(crate) struct Bed {
    queue: Arc<dyn Queue>,
    fixture: Box<dyn Fixture>,
}

impl Deref for Bed {
    type Target = Arc<dyn Queue>;

    fn deref(&self) -> &Self::Target {
        &self.queue
    }
}

impl Bed {
    /// A fresh queue with the defaults.
    pub(crate) async fn new(harness: &dyn Harness) -> Self {
        Self::with(harness, Options::default()).await
    }

    /// A fresh queue with these options.
    pub(crate) async fn with(harness: &dyn Harness, options: Options) -> Self {
        let fixture = harness.fresh(options).await;
        Self { queue: fixture.queue(), fixture }
    }

    /// The queue, to be given away.
    pub(crate) fn shared(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    /// A second instance on the same storage; the behaviour is not run where there is none.
    pub(crate) async fn reopen(&self) -> Result<Arc<dyn Queue>, Unmet> {
        self.fixture.reopen().await.ok_or(Unmet::NotRun("the backend keeps nothing outside its instance"))
    }

    /// Several instances where the storage allows it, else the one queue several times.
    pub(crate) async fn instances(&self, count: usize) -> Vec<Arc<dyn Queue>> {
        let mut instances = vec![self.shared()];
        for _ in 1..count {
            instances.push(self.fixture.reopen().await.unwrap_or_else(|| self.shared()));
        }
        instances
    }

    pub(crate) async fn now(&self) -> Timestamp {
        self.fixture.now().await
    }

    pub(crate) async fn advance(&self, by: Duration) {
        self.fixture.advance(by).await;
    }

    pub(crate) fn clock_is_manual(&self) -> bool {
        self.fixture.clock_is_manual()
    }

    /// Whether two times are the same, as exactly as the clock allows.
    pub(crate) fn same(&self, left: Timestamp, right: Timestamp) -> bool {
        if self.clock_is_manual() {
            left == right
        } else {
            (left - right).abs().to_std().is_ok_and(|apart| apart <= TOLERANCE)
        }
    }

    /// Asserts that a time is set and is `expected`, as exactly as the clock allows.
    #[track_caller]
    pub(crate) fn assert_time(&self, actual: impl Into<Option<Timestamp>>, expected: Timestamp) {
        let actual = actual.into().expect("the time is set");
        assert!(self.same(actual, expected), "the time is {actual}, expected {expected}");
    }

    /// Enqueues one task by the single call. (A trait object has no generic methods; the shared one has.)
    pub(crate) async fn enqueue(&self, task: impl IntoTask + Send) -> Result<TaskId> {
        Queue::enqueue(&self.queue, task).await
    }

    /// Claims up to `limit` tasks of the type that [`task`] makes.
    pub(crate) async fn claim(&self, limit: usize) -> Result<Vec<Claim>> {
        self.dequeue_many(&request(limit)).await
    }

    /// Claims exactly one.
    pub(crate) async fn claim_one(&self) -> Result<Claim> {
        let mut claims = self.claim(1).await?;
        Ok(claims.pop().expect("a task is ready"))
    }

    /// Enqueues a plain task and claims it.
    pub(crate) async fn running(&self) -> Result<Claim> {
        self.claim_new(task()).await
    }

    /// Enqueues this task and claims it.
    pub(crate) async fn claim_new(&self, task: NewTask) -> Result<Claim> {
        let (id, task_type) = (task.id, task.task_type.clone());
        self.enqueue(task).await?;
        let request = ClaimRequest::new(worker(), [task_type], 1);
        let claim = self.dequeue_many(&request).await?.pop().expect("the task is ready");
        assert_eq!(claim.task.id, id, "the task that was just enqueued is the only one ready");
        Ok(claim)
    }

    /// Enqueues this task and brings it to `status`.
    pub(crate) async fn bring_to(&self, status: Status, task: NewTask) -> Result<TaskId> {
        let id = task.id;
        if status == Status::Pending {
            return self.enqueue(task).await;
        }
        let lease = self.claim_new(task).await?.lease;
        match status {
            Status::Completed => self.complete(lease).await?,
            Status::Failed => self.settle(lease, Outcome::retry_after("failed", HOUR)).await?,
            Status::DeadLetter => self.settle(lease, Outcome::permanent("dead")).await?,
            Status::Cancelled => drop(self.cancel(id).await?),
            Status::Pending | Status::Running => {}
        }
        assert_eq!(self.status(id).await?, status);
        Ok(id)
    }

    /// Where a task stands.
    pub(crate) async fn status(&self, id: TaskId) -> Result<Status> {
        Ok(self.get(id).await?.status)
    }

    /// Every task, by id from the highest to the lowest.
    pub(crate) async fn all(&self) -> Result<Vec<Task>> {
        Ok(self.list(&TaskFilter { limit: taskqueue_core::BATCH_MAX, ..TaskFilter::default() }).await?.tasks)
    }

    /// Settles one claim and says what the settle found.
    pub(crate) async fn settled(&self, lease: &Lease, outcome: Outcome) -> Result<Settled> {
        Ok(self.settle_many(vec![Settlement::new(lease.clone(), outcome)]).await?[0])
    }
}

/// A task of the type `task`, with an empty payload.
pub(crate) fn task() -> NewTask {
    of("task")
}

/// A task of the type `name`, with an empty payload.
pub(crate) fn of(name: &str) -> NewTask {
    NewTask::raw(name, "{}").expect("the type and the payload are valid")
}

/// `count` plain tasks.
pub(crate) fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

pub(crate) fn task_type(name: &str) -> TaskType {
    TaskType::new(name).expect("the type is valid")
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::new("worker").expect("the worker id is valid")
}

/// A claim of up to `limit` tasks of the type that [`task`] makes.
pub(crate) fn request(limit: usize) -> ClaimRequest {
    ClaimRequest::new(worker(), [task_type("task")], limit)
}

/// A claim of up to `limit` tasks of these types.
pub(crate) fn request_of(types: &[&str], limit: usize) -> ClaimRequest {
    ClaimRequest::new(worker(), types.iter().map(|name| task_type(name)).collect::<Vec<_>>(), limit)
}

/// The ids of claims, in order.
pub(crate) fn ids(claims: &[Claim]) -> Vec<TaskId> {
    claims.iter().map(|claim| claim.task.id).collect()
}

/// The ids of tasks that are still to be enqueued, in order.
pub(crate) fn new_ids(tasks: &[NewTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

/// Asserts that a call failed with this kind, and says whether trying again can help.
#[track_caller]
pub(crate) fn assert_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.expect_err("the call is refused");
    assert_eq!(error.kind(), kind, "{error}");
    let helps = matches!(kind, ErrorKind::QueueFull | ErrorKind::Unavailable);
    assert_eq!(error.is_transient(), helps, "whether to try again: {error}");
    error
}

/// Looks until `look` sees something, within a limit.
pub(crate) async fn wait_until<T>(mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T, Unmet> {
    let waiting = async {
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, waiting)
        .await
        .unwrap_or_else(|_| Err(Unmet::Failed(format!("nothing was seen within {WAIT_MAX:?}"))))
}

/// Polls a future at most `polls` times and then drops it, as a caller's `select!` or timeout does.
pub(crate) async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs one future for each of `workers` at the same moment, on as many tasks of the runtime, and collects what
/// they give.
pub(crate) async fn at_once<T, F>(workers: Vec<Arc<dyn Queue>>, work: impl Fn(Arc<dyn Queue>) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(workers.len()));
    let running: Vec<_> = workers
        .into_iter()
        .map(|queue| {
            let (start, work) = (start.clone(), work(queue));
            tokio::spawn(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(running.len());
    for task in running {
        results.push(task.await.expect("the worker does not panic"));
    }
    results
}
