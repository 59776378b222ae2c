//! The macro by which a queue around another one keeps the contract: all calls in one place, so that none is forgotten. It
//! knows no queue.

/// For the macro.
pub use async_trait::async_trait;

/// Implements [`Queue`](crate::Queue) for a type by the queue inside it, to which all calls go but those named: these are the
/// type's own methods, of the same names.
///
/// A call with a default in the trait belongs here, too: one that is not forwarded answers the default, and nobody notices.
#[doc(hidden)]
#[macro_export]
macro_rules! delegate_queue {
    ($queue:ty, |$outer:ident| $inner:expr $(, generic [$($generics:tt)*])? $(, except $($own:ident),+)?) => {
        $crate::delegate_queue! { @call ($) |$outer| $inner, [$($($own)+)?] }
        $crate::delegate_queue! { @impl [$($($generics)*)?] $queue,
            [
                enqueue_many(tasks: Vec<$crate::NewTask>) -> $crate::Result<Vec<$crate::Enqueued>>;
                dequeue_many(request: &$crate::ClaimRequest) -> $crate::Result<Vec<$crate::Claim>>;
                settle_many(settlements: Vec<$crate::Settlement>) -> $crate::Result<Vec<$crate::Settled>>;
                heartbeat_many(leases: &[$crate::Lease], visibility_timeout: Option<std::time::Duration>)
                    -> $crate::Result<Vec<$crate::Heartbeat>>;
                cancel(id: $crate::TaskId) -> $crate::Result<$crate::Cancelled>;
                get(id: $crate::TaskId) -> $crate::Result<$crate::Task>;
                list(filter: &$crate::TaskFilter) -> $crate::Result<$crate::TaskPage>;
                stats() -> $crate::Result<$crate::QueueStats>;
                cleanup(cleanup: $crate::Cleanup) -> $crate::Result<u64>;
                reclaim_stale(limit: usize) -> $crate::Result<$crate::Reclaimed>;
                promote_due(limit: usize) -> $crate::Result<u64>;
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

    (@impl [$($generics:tt)*] $queue:ty,
        [$($waits:ident($($argument:ident: $form:ty),*) -> $answer:ty;)*]
        [$($plain:ident() -> $value:ty;)*]
    ) => {
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
