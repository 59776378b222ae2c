//! Builds a worker: collects handlers and settings, and says at `build` what is missing or contradictory.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::HashMap;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::{Error, Observed, Queue, Result, RetryPolicy, TaskType, WorkerId};

use crate::periodic::check_names;
use crate::pipe::{Pipe, Registered};
use crate::prefetch::Prefetch;
use crate::settings::Settings;
use crate::slots::Slots;
use crate::{
    DataMap, Handler, HandlerOptions, MaintenanceConfig, Periodic, TaskFn, UndecodablePayload, Worker,
    handler_fn,
};

/// A handler as it was given to the builder.
struct Given {
    task_type: Result<TaskType>,
    handler: Arc<dyn Handler>,
}

/// Builds a [`Worker`]. Nothing but a handler is needed; each method says what its setting costs.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_memory::MemoryQueue;
/// use taskqueue_worker::{Configure as _, MaintenanceConfig, Payload, RetryPolicy, Worker};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Import {}
/// impl Payload for Import {
///     const TYPE: &'static str = "import";
/// }
///
/// async fn import(_: Import) -> std::io::Result<()> {
///     Ok(())
/// }
///
/// # fn main() -> taskqueue_worker::Result<()> {
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let worker = Worker::builder(MemoryQueue::new())
///     .handler(import.concurrency(4).timeout(Duration::from_secs(600)).retry(RetryPolicy::exponential()))
///     .concurrency(100)
///     .maintenance(MaintenanceConfig::default().retention(week))
///     .build()?;
/// assert_eq!(worker.handler_types().count(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct WorkerBuilder {
    queue: Arc<dyn Queue>,
    metrics: Metrics,
    settings: Settings,
    data: DataMap,
    given: Vec<Given>,
    periodic: Vec<Periodic>,
}

impl WorkerBuilder {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        Self {
            queue,
            metrics: Metrics::default(),
            settings: Settings::default(),
            data: DataMap::default(),
            given: Vec::new(),
            periodic: Vec::new(),
        }
    }

    /// The name that the worker's id starts with; the id is `<name>-<random>`. Default: `worker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Gives handlers shared state: they take it as [`Data<T>`](crate::Data). One value a type; a second one of
    /// the same type replaces the first.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(Arc::new(value));
        self
    }

    /// As [`data`](Self::data), for a value that is shared already.
    pub fn data_arc<T: ?Sized + Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.data.insert(value);
        self
    }

    /// Handles tasks of the function's payload type. The function may carry options:
    /// `import.concurrency(4).timeout(ten_minutes)`, see [`Configure`](crate::Configure).
    pub fn handler<M: 'static>(mut self, function: impl TaskFn<M>) -> Self {
        self.given.push(given_function(function));
        self
    }

    /// Handles tasks of a type that is named at run time. The handler may carry options, as in
    /// [`handler`](Self::handler).
    pub fn handle(mut self, task_type: TaskType, handler: impl Handler) -> Self {
        self.given.push(Given { task_type: Ok(task_type), handler: Arc::new(handler) });
        self
    }

    /// Enqueues this task again and again, at its times, while the worker runs; not while it [drains](Worker::drain). Any
    /// number of workers may have the same ones. Its handler may be another worker's. Default: none.
    pub fn periodic(mut self, periodic: Periodic) -> Self {
        self.periodic.push(periodic);
        self
    }

    /// The most tasks that run at once. Default: 5. With 1 they start in the queue's order to the letter; with more, tasks
    /// of the same priority and time may start in another order than they were enqueued in.
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.settings.concurrency = tasks;
        self
    }

    /// The most tasks that are claimed ahead of a free slot. More of it hides the store's round trip; but what
    /// this worker holds, no idle worker can take. Of a type with a concurrency limit no more than the limit is
    /// ever held. Default: as many as this worker handles in a tenth of a second, by its pace so far, at most
    /// 4,000: none of tasks that take minutes. What has waited for a second even so, behind tasks that take longer than
    /// those before, goes back to the queue with its attempt, behind what is ready there; but with a concurrency of 1,
    /// which keeps the order, and with a prefetch that is set it waits until it starts.
    pub fn prefetch(mut self, tasks: usize) -> Self {
        self.settings.prefetch = Some(tasks);
        self
    }

    /// The longest wait between two looks at an idle queue: how late a task starts that another process has
    /// enqueued and that the queue does not hear of. After work it starts with a 64th of it, or an eighth where the
    /// queue hears of other processes' enqueues, but 5 ms at least, and doubles. Enqueues through this queue instance
    /// are seen at once. Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// How long handlers may go on when the worker stops, before their tokens are cancelled. Default: 30 s.
    pub fn grace_period(mut self, period: Duration) -> Self {
        self.settings.grace_period = period;
        self
    }

    /// How long handlers may go on after their tokens were cancelled, before they are dropped: when the worker stops, and
    /// then their tasks are released; and when a lease was lost, as by a cancel of its task. Default: 5 s.
    pub fn cancel_period(mut self, period: Duration) -> Self {
        self.settings.cancel_period = period;
        self
    }

    /// How often leases are extended, in one call for all; at most half the visibility timeout. A call without an answer within a
    /// quarter of it is sent again on another connection, up to three times. A handler
    /// learns within one and a half intervals that its task was cancelled, and at once where the cancel was made through
    /// this queue instance. Default: a third of the visibility timeout.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = Some(interval);
        self
    }

    /// How long leases last without a heartbeat: how late the tasks of a killed worker start anew. Default: the
    /// queue's.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.settings.visibility_timeout = Some(timeout);
        self
    }

    /// How long an outcome waits for others to be settled with it while more tasks run. Zero settles at once,
    /// at the price of more statements. Default: 2 ms.
    pub fn settle_delay(mut self, delay: Duration) -> Self {
        self.settings.settle_delay = delay;
        self
    }

    /// How long tasks wait after a failed attempt, for types without a policy of their own. Default: the
    /// queue's policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = Some(policy);
        self
    }

    /// How long one attempt may take before it is stopped and counts as failed, for types without a timeout of their own
    /// ([`Configure::timeout`](crate::Configure::timeout), where `Duration::MAX` is for ever). Default: for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// What becomes of tasks whose payload a handler function cannot take. Default: they are dead letters at once.
    pub fn undecodable_payload(mut self, means: UndecodablePayload) -> Self {
        self.settings.undecodable = means;
        self
    }

    /// What the worker does for the queue beside handling tasks. Default: promote, reclaim and sample depths;
    /// remove nothing.
    pub fn maintenance(mut self, config: MaintenanceConfig) -> Self {
        self.settings.maintenance = config;
        self
    }

    /// The metrics that are recorded. Default: those of the namespace `zapfs`.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Checks everything and makes the worker; it claims nothing before it is started.
    ///
    /// # Errors
    /// `InvalidInput`, naming it: no handler, two handlers of one type, a malformed type or name, data that a
    /// handler asks for and that was not given, two periodic tasks of one name, a concurrency of zero, settings that
    /// contradict each other.
    pub fn build(mut self) -> Result<Worker> {
        check_names(&self.periodic)?;
        let handlers = resolve(std::mem::take(&mut self.given), &self.data, &self.settings)?;
        if handlers.is_empty() {
            return Err(invalid("no handler: give at least one".to_owned()));
        }
        self.pipe(handlers).map(Worker::new)
    }

    /// What the stages of a worker with these handlers share.
    pub(crate) fn pipe(self, handlers: Vec<Registered>) -> Result<Pipe> {
        let worker_id = WorkerId::unique(&self.settings.name)?;
        let visibility_timeout = self.settings.visibility_timeout.unwrap_or(self.queue.visibility_timeout());
        self.settings.validate(visibility_timeout).map_err(invalid)?;
        let by_type = index(&handlers)?;
        let limits = handlers.iter().map(|handler| handler.concurrency).collect();
        let slots = Slots::new(self.settings.concurrency, Prefetch::new(self.settings.prefetch), limits);
        Ok(Pipe {
            queue: Arc::new(Observed::with_metrics(Arc::clone(&self.queue), self.metrics.clone())),
            unobserved: self.queue,
            metrics: self.metrics,
            worker_id,
            heartbeat_interval: self.settings.heartbeat_interval.unwrap_or(visibility_timeout / 3),
            settings: self.settings,
            visibility_timeout,
            handlers,
            by_type,
            periodic: self.periodic,
            data: self.data,
            slots,
            leases: Default::default(),
            looks: Default::default(),
            tally: Default::default(),
            tokens: Default::default(),
            interrupts: Default::default(),
            tracker: Default::default(),
        })
    }
}

fn given_function<M: 'static, F: TaskFn<M>>(function: F) -> Given {
    Given { task_type: TaskType::of::<F::Payload>(), handler: Arc::new(handler_fn(function)) }
}

fn resolve(given: Vec<Given>, data: &DataMap, settings: &Settings) -> Result<Vec<Registered>> {
    given.into_iter().map(|given| register(given, data, settings)).collect()
}

fn register(given: Given, data: &DataMap, settings: &Settings) -> Result<Registered> {
    let Given { task_type, handler } = given;
    let task_type = task_type?;
    let options = handler.options();
    let of_type = |text: String| invalid(format!("handler of {task_type}: {text}"));
    handler.check(data).map_err(of_type)?;
    options.validate().map_err(of_type)?;
    let HandlerOptions { concurrency, timeout, retry } = options;
    let (timeout, retry) = (timeout.or(settings.timeout), retry.or_else(|| settings.retry.clone()));
    Ok(Registered { task_type, handler, concurrency, timeout, retry, metrics: OnceLock::new() })
}

fn index(handlers: &[Registered]) -> Result<HashMap<TaskType, usize>> {
    let mut by_type = HashMap::default();
    for (index, handler) in handlers.iter().enumerate() {
        if by_type.insert(handler.task_type.clone(), index).is_some() {
            return Err(invalid(format!("two handlers of type {}", handler.task_type)));
        }
    }
    Ok(by_type)
}

fn invalid(message: String) -> Error {
    Error::invalid_input("worker", message)
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
