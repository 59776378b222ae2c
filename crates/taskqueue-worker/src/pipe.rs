//! What the stages of one worker share. It owns the calls to the store that must run to completion; the stages
//! own what they do with the answers.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::HashMap;
use taskqueue_core::metrics::{Metrics, TypeMetrics};
use taskqueue_core::{Error, ErrorKind, Heartbeat, Lease, Queue, Result, RetryPolicy, TaskType, WorkerId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::doubt::{self, Looks};
use crate::leases::{Found, Leases};
use crate::named::named;
use crate::report::Tally;
use crate::settings::Settings;
use crate::slots::Slots;
use crate::{DataMap, Handler, Periodic};

/// The handler of one type, with its options resolved.
pub(crate) struct Registered {
    pub(crate) task_type: TaskType,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
    /// Found at the first task: a recorder may be installed after the worker is built.
    pub(crate) metrics: OnceLock<TypeMetrics>,
}

impl Registered {
    /// How long an attempt may take, if not for ever.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout.filter(|timeout| *timeout != Duration::MAX)
    }

    /// Where its tasks are recorded.
    pub(crate) fn metrics(&self, all: &Metrics) -> &TypeMetrics {
        self.metrics.get_or_init(|| all.of_type(&self.task_type))
    }
}

/// The stages of a shutdown, in the order in which they are cancelled.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Claim nothing more.
    pub(crate) stop: CancellationToken,
    /// Drop handlers that have not returned.
    pub(crate) kill: CancellationToken,
    /// Settle what has arrived, once, then stop trying.
    pub(crate) give_up: CancellationToken,
    /// End the loops beside the pipe.
    pub(crate) end: CancellationToken,
}

/// One worker: what all its stages see.
pub(crate) struct Pipe {
    pub(crate) queue: Arc<dyn Queue>,
    /// The queue behind it, for heartbeats: which leases count as lost is known here only.
    pub(crate) unobserved: Arc<dyn Queue>,
    pub(crate) metrics: Metrics,
    pub(crate) worker_id: WorkerId,
    pub(crate) settings: Settings,
    pub(crate) visibility_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) handlers: Vec<Registered>,
    pub(crate) by_type: HashMap<TaskType, usize>,
    pub(crate) periodic: Vec<Periodic>,
    pub(crate) data: DataMap,
    pub(crate) slots: Slots,
    pub(crate) leases: Leases,
    pub(crate) looks: Looks,
    pub(crate) tally: Tally,
    pub(crate) tokens: Tokens,
    /// Rouses every slot: a lease was lost, or handlers are to be dropped.
    pub(crate) interrupts: Notify,
    pub(crate) tracker: TaskTracker,
}

impl Pipe {
    /// Runs a store call to completion, whatever becomes of the caller: a dropped one can leave an open
    /// transaction in the pool of its backend.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Arc<dyn Queue>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.tracker.spawn(call(Arc::clone(&self.queue))).await.unwrap_or_else(|source| {
            Err(Error::new(ErrorKind::Backend, operation, "the backend panicked").with_source(source))
        })
    }

    /// Extends leases and takes down what was found, whatever becomes of the caller. What it is given is held until then.
    pub(crate) async fn extend(
        self: &Arc<Self>,
        leases: Vec<Lease>,
        held: impl Send + 'static,
    ) -> Result<Vec<Heartbeat>> {
        let (pipe, sent_at) = (Arc::clone(self), Instant::now());
        self.call("heartbeat", |_| async move {
            let answers = pipe.unobserved.heartbeat_many(&leases, pipe.settings.visibility_timeout).await;
            drop(held);
            let answers = answers?;
            pipe.record(&leases, &answers, sent_at);
            Ok(answers)
        })
        .await
    }

    fn record(self: &Arc<Self>, leases: &[Lease], answers: &[Heartbeat], sent_at: Instant) {
        let Found { lost, in_doubt } = self.leases.record(leases, answers, sent_at);
        self.tell_of_lost(&lost);
        if !in_doubt.is_empty() {
            self.tracker.spawn(doubt::look_at_all(Arc::clone(self), in_doubt));
        }
    }

    /// Counts lost leases and rouses their handlers.
    pub(crate) fn tell_of_lost(&self, lost: &[Lease]) {
        if !lost.is_empty() {
            let tasks = named(lost.iter());
            warn!(leases = lost.len(), %tasks, "leases were lost: their tasks were cancelled or taken back");
            self.tally.leases_lost(lost.len() as u64);
            self.metrics.leases_lost(lost.len() as u64);
            self.interrupts.notify_waiters();
        }
    }

    /// Drops every handler that has not returned.
    pub(crate) fn kill_handlers(&self) {
        self.tokens.kill.cancel();
        self.interrupts.notify_waiters();
    }
}
