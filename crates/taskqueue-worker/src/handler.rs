//! The handler trait for types that are no plain function, and the options that any handler can be given.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{Outcome, RetryPolicy};

use crate::{DataMap, TaskContext, TaskError};

/// Handles tasks of a type that is known only at run time, or whose payload is not decoded: register it with
/// [`handle`](crate::WorkerBuilder::handle). Where the payload has a type, a plain async function is simpler.
///
/// Handlers must be idempotent: a task is handled at least once.
///
/// # Cancel safety
/// The future is dropped when the type's timeout passes, and when it does not return within the cancel period after its
/// token was cancelled: because its lease was lost, its task was cancelled, or the worker stops. Store calls that must run to completion belong in a spawned task.
///
/// ```
/// use taskqueue_worker::{Handler, Outcome, TaskContext, TaskError, async_trait};
///
/// struct Print;
///
/// #[async_trait]
/// impl Handler for Print {
///     async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
///         println!("{} {}", cx.id(), cx.payload().as_str());
///         Ok(Outcome::done())
///     }
/// }
/// ```
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one task.
    ///
    /// # Errors
    /// Why the attempt failed. While attempts remain the task is tried again: by its type's policy, after a delay, or never,
    /// as the error says ([`TaskError`]). A panic counts as such an error.
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError>;

    /// How this handler is run; what [`Configure`] sets goes over it. A handler around another one answers what that says.
    fn options(&self) -> HandlerOptions {
        HandlerOptions::default()
    }

    /// Checks, when the worker is built, that it was given what the handler needs. A handler around another one asks that.
    ///
    /// # Errors
    /// A text that says what is missing.
    fn check(&self, data: &DataMap) -> Result<(), String> {
        let _ = data;
        Ok(())
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        (**self).handle(cx).await
    }

    fn options(&self) -> HandlerOptions {
        (**self).options()
    }

    fn check(&self, data: &DataMap) -> Result<(), String> {
        (**self).check(data)
    }
}

#[async_trait]
impl<H: Handler> Handler for Configured<H> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        self.handler.handle(cx).await
    }

    fn options(&self) -> HandlerOptions {
        self.options.clone().or(self.handler.options())
    }

    fn check(&self, data: &DataMap) -> Result<(), String> {
        self.handler.check(data)
    }
}

/// How the handler of one type is run. `None` everywhere by default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use = "they do nothing until a handler answers them"]
pub struct HandlerOptions {
    /// The most tasks of this type at once in this worker; `None`: only the worker's concurrency bounds it. At
    /// least 1. No more than this are claimed, either: they are not prefetched beyond it.
    pub concurrency: Option<usize>,
    /// How long one attempt may take before it is stopped and counts as failed; `None`: the worker's timeout, or else for ever;
    /// `Duration::MAX`: for ever. Not zero.
    pub timeout: Option<Duration>,
    /// How long to wait after a failed attempt; `None`: the worker's policy, or else the queue's.
    pub retry: Option<RetryPolicy>,
}

impl HandlerOptions {
    /// Sets the most tasks of the type at once.
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.concurrency = Some(tasks);
        self
    }

    /// Sets how long one attempt may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long to wait after a failed attempt.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// What is set here, and where nothing is set, what `other` says.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(other.concurrency),
            timeout: self.timeout.or(other.timeout),
            retry: self.retry.or(other.retry),
        }
    }

    /// Checks what was set, and says it in words for the builder's error.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.concurrency == Some(0) {
            return Err("concurrency is 0: such a handler would never run".to_owned());
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err("timeout is zero: such a handler would always fail".to_owned());
        }
        Ok(())
    }
}

/// A handler with options of its own.
#[derive(Debug, Clone)]
#[must_use = "a handler does nothing until it is given to a worker"]
pub struct Configured<H> {
    pub(crate) handler: H,
    pub(crate) options: HandlerOptions,
}

impl<H> Configured<H> {
    /// See [`Configure::concurrency`].
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.options.concurrency = Some(tasks);
        self
    }

    /// See [`Configure::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// See [`Configure::retry`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }
}

/// Gives a handler, function or not, options of its own: `import.concurrency(4).timeout(ten_minutes)`.
pub trait Configure: Sized + Send + Sync + 'static {
    /// Runs at most `tasks` of its type at once in this worker. See [`HandlerOptions::concurrency`].
    fn concurrency(self, tasks: usize) -> Configured<Self> {
        configured(self).concurrency(tasks)
    }

    /// Stops an attempt after `timeout`: its token is cancelled, its future dropped, and it counts as failed.
    fn timeout(self, timeout: Duration) -> Configured<Self> {
        configured(self).timeout(timeout)
    }

    /// Retries failed attempts of its type by `policy`.
    fn retry(self, policy: RetryPolicy) -> Configured<Self> {
        configured(self).retry(policy)
    }
}

impl<H: Sized + Send + Sync + 'static> Configure for H {}

fn configured<H>(handler: H) -> Configured<H> {
    Configured { handler, options: HandlerOptions::default() }
}
