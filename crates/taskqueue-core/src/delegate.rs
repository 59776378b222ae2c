//! The macro by which a queue around another one keeps the contract: all calls in one place, so that none is forgotten. It
//! knows no queue.

/// For the macro.
#[doc(hidden)]
pub use async_trait::async_trait;

/// Implements [`Queue`](crate::Queue) for a type by the queue inside it, to which all calls go but those named: these are the
/// type's own methods, of the same names and signatures.
///
/// It is the safe way to put something around a queue. Written by hand, a call with a default in the trait is easily not
/// forwarded: it then answers the default, and nobody notices. The single forms (`enqueue`, `settle`, …) go through the batch forms
/// of the type itself, so they are not named.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use taskqueue_core::{Enqueued, NewTask, Queue, Result, delegate_queue};
///
/// /// A queue that counts what is enqueued through it.
/// struct Counted<Q> {
///     queue: Q,
///     enqueued: AtomicUsize,
/// }
///
/// delegate_queue!(Counted<Q>, |counted| counted.queue, generic [Q: Queue], except enqueue_many);
///
/// impl<Q: Queue> Counted<Q> {
///     async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
///         self.enqueued.fetch_add(tasks.len(), Ordering::Relaxed);
///         self.queue.enqueue_many(tasks).await
///     }
/// }
/// ```
///
/// A name that is no call of the trait's does not compile:
/// ```compile_fail
/// # use taskqueue_core::{Queue, Result, Task, TaskId, delegate_queue};
/// # struct Around<Q>(Q);
/// delegate_queue!(Around<Q>, |around| around.0, generic [Q: Queue], except gets);
/// # impl<Q: Queue> Around<Q> {
/// #     async fn gets(&self, id: TaskId) -> Result<Task> {
/// #         self.0.get(id).await
/// #     }
/// # }
/// ```
/// Nor does one that the type has no method of its own for:
/// ```compile_fail
/// # use taskqueue_core::{Queue, delegate_queue};
/// # struct Around<Q>(Q);
/// delegate_queue!(Around<Q>, |around| around.0, generic [Q: Queue], except get);
/// ```
#[macro_export]
macro_rules! delegate_queue {
    ($queue:ty, |$outer:ident| $inner:expr $(, generic [$($generics:tt)*])? $(, except $($own:ident),+ $(,)?)?) => {
        // A scope of its own: the macros inside are for this type.
        const _: () = {
            $crate::delegate_queue! { @call ($) |$outer| $inner, [$($($own)+)?] }
            $crate::delegate_queue! { @impl ($) [$($($generics)*)?] $queue, [$($($own)+)?],
                [
                    enqueue_many(tasks: Vec<$crate::NewTask>) -> $crate::Result<Vec<$crate::Enqueued>>;
                    dequeue_many(request: &$crate::ClaimRequest) -> $crate::Result<Vec<$crate::Claim>>;
                    settle_many(settlements: Vec<$crate::Settlement>) -> $crate::Result<Vec<$crate::Settled>>;
                    heartbeat_many(leases: &[$crate::Lease], visibility_timeout: Option<std::time::Duration>)
                        -> $crate::Result<Vec<$crate::Heartbeat>>;
                    cancel(id: $crate::TaskId) -> $crate::Result<$crate::Cancelled>;
                    get(id: $crate::TaskId) -> $crate::Result<$crate::Task>;
                    holder(task_type: &$crate::TaskType, unique_key: &str) -> $crate::Result<Option<$crate::Task>>;
                    list(filter: &$crate::TaskFilter) -> $crate::Result<$crate::TaskPage>;
                    stats() -> $crate::Result<$crate::QueueStats>;
                    cleanup(cleanup: $crate::Cleanup) -> $crate::Result<u64>;
                    reclaim_stale(limit: usize) -> $crate::Result<$crate::Reclaimed>;
                    promote_due(limit: usize) -> $crate::Result<u64>;
                    run_now(ids: &[$crate::TaskId]) -> $crate::Result<u64>;
                    redrive(redrive: &$crate::Redrive) -> $crate::Result<u64>;
                    pause(task_type: &$crate::TaskType) -> $crate::Result<()>;
                    resume(task_type: &$crate::TaskType) -> $crate::Result<()>;
                    paused() -> $crate::Result<Vec<$crate::TaskType>>;
                    backend() -> $crate::Result<$crate::Backend>;
                    now() -> $crate::Result<$crate::Timestamp>;
                    close() -> ();
                ]
                [
                    visibility_timeout() -> std::time::Duration;
                    wake_up() -> $crate::WakeUp;
                    contention_retries() -> u64;
                    take_contention_retries() -> u64;
                ]
            }
        };
    };

    // A macro that makes a call: one arm for each of the type's own, then one for all others. `$d` is a dollar sign.
    (@call ($d:tt) |$outer:ident| $inner:expr, [$($own:ident)*]) => {
        macro_rules! call {
            $(($d queue:ident.$own($d($d argument:ident),*)) => { Self::$own($d queue, $d($d argument),*) };)*
            ($d queue:ident.$d call:ident($d($d argument:ident),*)) => {{
                let $outer = $d queue;
                $crate::Queue::$d call(&$inner, $d($d argument),*)
            }};
        }
    };

    (@impl ($d:tt) [$($generics:tt)*] $queue:ty, [$($own:ident)*],
        [$($waits:ident($($argument:ident: $form:ty),*) -> $answer:ty;)*]
        [$($plain:ident() -> $value:ty;)*]
    ) => {
        #[allow(unused_macros, reason = "a type may have no call of its own")]
        macro_rules! check {
            $(($waits) => {};)*
            $(($plain) => {};)*
            ($d name:ident) => {
                compile_error!(concat!("`", stringify!($d name), "` is no call that delegate_queue! forwards"));
            };
        }
        $(check!($own);)*

        // A type's own method goes before one of a trait. Where there is none the compiler finds this one as well as the trait's
        // and refuses both; otherwise the trait's method would call itself without end.
        #[allow(dead_code, reason = "nobody calls it where all is well")]
        trait HasNoMethodOfItsOwn {
            $(fn $own(&self, _: HasNoMethod) {})*
        }
        #[allow(dead_code, reason = "nobody makes one")]
        struct HasNoMethod;
        impl<T: ?Sized> HasNoMethodOfItsOwn for T {}

        #[$crate::delegate::async_trait]
        impl<$($generics)*> $crate::Queue for $queue {
            $(async fn $waits(&self, $($argument: $form),*) -> $answer {
                call!(self.$waits($($argument),*)).await
            })*
            $(fn $plain(&self) -> $value {
                call!(self.$plain())
            })*
        }
    };
}
