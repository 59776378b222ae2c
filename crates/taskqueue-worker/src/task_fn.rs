//! Plain async functions as handlers: the typed payload first, then extractors, and what they may return.

use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use taskqueue_core::{Outcome, Payload};

use crate::{Configured, DataMap, Handler, HandlerOptions, TaskContext, TaskError};

/// An async function that handles tasks: its first argument is the payload (a [`Payload`] that implements
/// `Deserialize`), then come up to six of [`Data`](crate::Data), [`TaskContext`] and extractors of your own. `M`
/// only tells the signatures apart and is always inferred.
///
/// It may return `()`, [`Outcome`], or a `Result` of either with any error: see [`IntoOutcome`].
///
/// A wrong signature is an error that says so:
/// ```compile_fail
/// # use taskqueue_worker::{Worker, TaskContext};
/// async fn no_payload(cx: TaskContext) {}
/// # fn build(queue: taskqueue_memory::MemoryQueue) {
/// Worker::builder(queue).handler(no_payload);
/// # }
/// ```
/// ```compile_fail
/// # use serde::{Deserialize, Serialize};
/// # use taskqueue_worker::{Payload, Worker};
/// # #[derive(Serialize, Deserialize)]
/// # struct Welcome;
/// # impl Payload for Welcome {
/// #     const TYPE: &'static str = "welcome";
/// # }
/// async fn bare_state(mail: Welcome, state: String) {} // Data<String> would do
/// # fn build(queue: taskqueue_memory::MemoryQueue) {
/// Worker::builder(queue).handler(bare_state);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task handler",
    label = "not an async function of the form `async fn(payload, extractors…) -> outcome`",
    note = "the first argument is the payload by value: a type that implements `Payload` and `serde::Deserialize`",
    note = "each further argument (at most six) is `Data<T>`, `TaskContext` or another `FromContext` type",
    note = "it returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`, where `E` is any error",
    note = "its future is `Send`; a type that implements `Handler` is registered with `.handle(task_type, handler)`"
)]
pub trait TaskFn<M>: Send + Sync + 'static {
    /// The payload, whose type the function handles.
    type Payload: Payload + DeserializeOwned + Send;

    /// Extracts the arguments and calls the function.
    fn call(
        &self,
        payload: Self::Payload,
        cx: TaskContext,
    ) -> impl Future<Output = Result<Outcome, TaskError>> + Send;

    /// Says what is missing for the extractors.
    ///
    /// # Errors
    /// The text of [`FromContext::check`] of the first extractor that is not satisfied.
    fn check(data: &DataMap) -> Result<(), String>;

    /// How the function is run.
    fn options(&self) -> HandlerOptions {
        HandlerOptions::default()
    }
}

/// What a handler function can take after its payload.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a task handler",
    label = "not an extractor",
    note = "shared state is taken as `Data<{Self}>` and given with `.data(value)` to the builder",
    note = "what is known of the task is taken as `TaskContext`"
)]
pub trait FromContext: Sized + Send {
    /// Makes the argument for one task.
    ///
    /// # Errors
    /// Whatever keeps the task from being handled; it fails with this error.
    fn from_context(cx: &TaskContext) -> Result<Self, TaskError>;

    /// Checks, when the worker is built, that arguments can be made.
    ///
    /// # Errors
    /// A text that says what is missing.
    fn check(data: &DataMap) -> Result<(), String> {
        let _ = data;
        Ok(())
    }
}

impl FromContext for TaskContext {
    fn from_context(cx: &TaskContext) -> Result<Self, TaskError> {
        Ok(cx.clone())
    }
}

/// What a handler function can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something that a task handler returns",
    label = "says nothing about what becomes of the task",
    note = "return `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`, where `E` is any error"
)]
pub trait IntoOutcome {
    /// What becomes of the task.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn into_outcome(self) -> Result<Outcome, TaskError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, TaskError> {
        Ok(Outcome::done())
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, TaskError> {
        Ok(self)
    }
}

impl<E: Into<TaskError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<Outcome, TaskError> {
        self.map(|()| Outcome::done()).map_err(Into::into)
    }
}

impl<E: Into<TaskError>> IntoOutcome for Result<Outcome, E> {
    fn into_outcome(self) -> Result<Outcome, TaskError> {
        self.map_err(Into::into)
    }
}

macro_rules! task_fn {
    ($($extractor:ident)*) => {
        impl<F, Fut, P, $($extractor,)*> TaskFn<(P, $($extractor,)*)> for F
        where
            F: Fn(P, $($extractor,)*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send,
            Fut::Output: IntoOutcome,
            P: Payload + DeserializeOwned + Send,
            $($extractor: FromContext,)*
        {
            type Payload = P;

            #[allow(non_snake_case, reason = "one name for each extractor, as a type and as a value")]
            #[allow(unused_variables, reason = "without extractors the context is not read")]
            async fn call(&self, payload: P, cx: TaskContext) -> Result<Outcome, TaskError> {
                $(let $extractor = $extractor::from_context(&cx)?;)*
                drop(cx);
                self(payload, $($extractor,)*).await.into_outcome()
            }

            #[allow(unused_variables, reason = "without extractors nothing is checked")]
            fn check(data: &DataMap) -> Result<(), String> {
                $($extractor::check(data)?;)*
                Ok(())
            }
        }
    };
}

task_fn!();
task_fn!(E1);
task_fn!(E1 E2);
task_fn!(E1 E2 E3);
task_fn!(E1 E2 E3 E4);
task_fn!(E1 E2 E3 E4 E5);
task_fn!(E1 E2 E3 E4 E5 E6);

/// Tells the signature of a configured function apart from that of a bare one.
#[derive(Debug)]
pub struct ConfiguredSignature<M>(PhantomData<M>);

#[diagnostic::do_not_recommend]
impl<M, F: TaskFn<M>> TaskFn<ConfiguredSignature<M>> for Configured<F> {
    type Payload = F::Payload;

    fn call(
        &self,
        payload: Self::Payload,
        cx: TaskContext,
    ) -> impl Future<Output = Result<Outcome, TaskError>> + Send {
        self.handler.call(payload, cx)
    }

    fn check(data: &DataMap) -> Result<(), String> {
        F::check(data)
    }

    fn options(&self) -> HandlerOptions {
        self.options.clone().or(self.handler.options())
    }
}

/// An async function as a [`Handler`]: it decodes the payload, then calls. For what takes handlers of any kind: middleware of
/// your own, or a second name for a type, whose tasks have the same payload.
///
/// ```
/// use taskqueue_memory::MemoryQueue;
/// use taskqueue_worker::{Payload, TaskType, Worker, handler_fn};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Welcome {
///     user: u64,
/// }
/// impl Payload for Welcome {
///     const TYPE: &'static str = "welcome";
/// }
///
/// async fn welcome(mail: Welcome) {
///     println!("welcome, {}", mail.user);
/// }
///
/// # fn main() -> taskqueue_worker::Result<()> {
/// Worker::builder(MemoryQueue::new())
///     .handler(welcome)
///     .handle(TaskType::new("greeting")?, handler_fn(welcome)) // what the type was called once
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub fn handler_fn<M: 'static>(function: impl TaskFn<M>) -> impl Handler {
    Typed { function, signature: PhantomData }
}

/// A function in the form in which the executor runs every handler.
struct Typed<F, M> {
    function: F,
    signature: PhantomData<fn() -> M>,
}

#[async_trait]
impl<M: 'static, F: TaskFn<M>> Handler for Typed<F, M> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload = cx.decode::<F::Payload>()?;
        self.function.call(payload, cx).await
    }

    fn options(&self) -> HandlerOptions {
        self.function.options()
    }

    fn check(&self, data: &DataMap) -> Result<(), String> {
        F::check(data)
    }
}
