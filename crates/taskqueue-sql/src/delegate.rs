//! The macro by which a backend's own queue type keeps the contract through the [`SqlQueue`](crate::SqlQueue) that
//! it wraps. A type of its own is needed because inherent methods (`connect`, `enqueue_in`) cannot be added to
//! another crate's type.

/// Implements `Queue` for a type by its `sql` field, a [`SqlQueue`](crate::SqlQueue).
#[macro_export]
macro_rules! delegate_queue {
    ($queue:ty) => {
        $crate::delegate_queue! { $queue:
            enqueue_many(tasks: Vec<$crate::core::NewTask>) -> Vec<$crate::core::Enqueued>;
            dequeue_many(request: &$crate::core::ClaimRequest) -> Vec<$crate::core::Claim>;
            settle_many(settlements: Vec<$crate::core::Settlement>) -> Vec<$crate::core::Settled>;
            heartbeat_many(leases: &[$crate::core::Lease], visibility_timeout: Option<std::time::Duration>)
                -> Vec<$crate::core::Heartbeat>;
            cancel(id: $crate::core::TaskId) -> $crate::core::Cancelled;
            get(id: $crate::core::TaskId) -> $crate::core::Task;
            list(filter: &$crate::core::TaskFilter) -> $crate::core::TaskPage;
            stats() -> $crate::core::QueueStats;
            cleanup(cleanup: $crate::core::Cleanup) -> u64;
            reclaim_stale(limit: usize) -> $crate::core::Reclaimed;
            promote_due(limit: usize) -> u64;
            redrive(redrive: &$crate::core::Redrive) -> u64;
            pause(task_type: &$crate::core::TaskType) -> ();
            resume(task_type: &$crate::core::TaskType) -> ();
            paused() -> Vec<$crate::core::TaskType>;
            backend() -> $crate::core::Backend;
            now() -> $crate::core::Timestamp;
        }
    };
    ($queue:ty: $($verb:ident($($argument:ident: $form:ty),*) -> $answer:ty;)*) => {
        #[$crate::async_trait]
        impl $crate::core::Queue for $queue {
            $(async fn $verb(&self, $($argument: $form),*) -> $crate::core::Result<$answer> {
                $crate::core::Queue::$verb(&self.sql, $($argument),*).await
            })*

            async fn close(&self) {
                $crate::core::Queue::close(&self.sql).await;
            }

            fn visibility_timeout(&self) -> std::time::Duration {
                $crate::core::Queue::visibility_timeout(&self.sql)
            }

            fn wake_up(&self) -> $crate::core::WakeUp {
                $crate::core::Queue::wake_up(&self.sql)
            }

            fn contention_retries(&self) -> u64 {
                $crate::core::Queue::contention_retries(&self.sql)
            }

            fn take_contention_retries(&self) -> u64 {
                $crate::core::Queue::take_contention_retries(&self.sql)
            }
        }
    };
}
