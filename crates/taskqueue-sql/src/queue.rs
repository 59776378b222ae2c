//! `SqlQueue`: the whole `Queue` contract over a [`Dialect`], once. Each call is validated, runs as one transaction
//! in a task of its own, and is repeated when others were in the way. It knows no SQL.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::backend::{check_visibility_timeout, decide_batch};
use taskqueue_core::batches::{check_batch, check_limit, prepare_batch};
use taskqueue_core::new_task::check_unique_key;
use taskqueue_core::{
    Backend, Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Error, ErrorKind, Heartbeat, Lease,
    LeaseToken, NewTask, Queue, QueueStats, Reclaimed, Redrive, Result, Settled, Settlement, Shard, Status,
    Task, TaskFilter, TaskId, TaskPage, TaskType, Timestamp, WakeUp,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cleanup::RunCleanup;
use crate::coalesce::{Call, Coalescer};
use crate::dequeue::Dequeue;
use crate::enqueue::Enqueue;
use crate::heartbeat::Extend;
use crate::look::{Get, Holder, List, Now, Paused, SchemaVersion, Stats, Version};
use crate::operation::Operation;
use crate::round::{Share, Turns};
use crate::runner::Runner;
use crate::settle::Settle;
use crate::upkeep::{Cancel, FoldTotals, Pause, Promote, Reclaim, RedriveAny, RedriveTasks, Resume, RunNow};
use crate::{Claiming, Dialect, Options, Owner, flush};

/// A queue in a SQL database. Cheap to clone; clones share their connections.
#[derive(Debug)]
pub struct SqlQueue<D>(Arc<Runner<D>>);

impl<D> Clone for SqlQueue<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> SqlQueue<D> {
    /// A queue on this dialect's database.
    pub fn new(dialect: D) -> Self {
        Self(Arc::new(Runner::new(dialect)))
    }

    /// The dialect.
    pub fn dialect(&self) -> &D {
        &self.0.dialect
    }

    /// The version of the schema that the database has; 0 where the queue's tables are not there.
    ///
    /// # Errors
    /// `QueueClosed`, and what the database says.
    pub async fn schema_version(&self) -> Result<i64> {
        self.check_open("schema_version")?;
        self.run(SchemaVersion).await
    }

    /// Rouses the workers that wait for this queue, here and in other processes where the engine can.
    pub fn wake(&self) {
        // First what is forgotten for it: who is roused looks at once.
        self.0.dialect.announce(self.0.wake_up.is_awaited());
        self.0.wake_up.notify();
    }

    async fn run<O: Operation<D>>(&self, operation: O) -> Result<O::Answer> {
        let runner = Arc::clone(&self.0);
        to_its_end(O::NAME, async move { runner.repeat(&operation).await }).await
    }

    /// Enqueues in a transaction of its own.
    async fn enqueue_alone(&self, tasks: Enqueue) -> Result<Vec<Enqueued>> {
        // Here, where a caller who has left waits no longer.
        let turn = self.0.keyed.turn(&tasks.0).await?;
        let runner = Arc::clone(&self.0);
        to_its_end("enqueue", async move {
            let _turn = turn;
            runner.repeat(&tasks).await
        })
        .await
    }

    /// Settles, and tells the dialect of the tokens of what was applied: before the caller, who may be slow to hear of it.
    async fn settle_all(&self, settle: Settle, tokens: Vec<LeaseToken>) -> Result<Vec<Settled>> {
        let runner = Arc::clone(&self.0);
        to_its_end("settle", async move {
            let told = runner.dialect.claims().map(|claims| (claims, claims.epoch()));
            let answers = runner.repeat(&settle).await?;
            if let Some((claims, epoch)) = told {
                claims.settled(&applied(&tokens, &answers), epoch);
            }
            Ok(answers)
        })
        .await
    }

    /// Runs a call's parts on one shard after another, as far as its limit goes.
    async fn round<O: Operation<D, Answer: Share>>(
        &self,
        turns: Turns,
        limit: usize,
        part: impl Fn(Shard, usize) -> O + Send + Sync + 'static,
    ) -> Result<O::Answer> {
        let runner = Arc::clone(&self.0);
        to_its_end(O::NAME, async move { runner.round(turns, limit, part).await }).await
    }

    /// Folds the sums over finished tasks where they grow. Apart from what it follows: bookkeeping that fails must stop nothing.
    async fn fold_totals(&self) {
        if !D::APPENDS_TOTALS {
            return;
        }
        if let Err(error) = self.run(FoldTotals).await {
            tracing::warn!(%error, "the sums over finished tasks were not folded: statistics slow down until they are");
        }
    }

    /// Enqueues in a transaction that it may share with the calls of others.
    async fn enqueue_joined(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        let (answer, answered) = oneshot::channel();
        if let Some(flush) = self.0.coalescer.push(Call { tasks, answer }, Instant::now()) {
            flush::start(&self.0, flush);
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Backend, "enqueue", "the call was stopped").transient(true))
        })
    }

    pub(crate) fn options(&self) -> &Options {
        self.0.dialect.options()
    }

    pub(crate) fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.0.is_closed.load(Ordering::Acquire) { Err(Error::closed(operation)) } else { Ok(()) }
    }

    fn wake_if(&self, ready: bool) {
        if ready {
            self.wake();
        }
    }
}

/// The tokens of the settles that were applied.
fn applied(tokens: &[LeaseToken], answers: &[Settled]) -> Vec<LeaseToken> {
    let applied = tokens.iter().zip(answers).filter(|(_, answer)| **answer == Settled::Applied);
    applied.map(|(token, _)| *token).collect()
}

/// Runs a call to its end, also when the caller's future is dropped or polled no further: it would keep its connection,
/// its locks and the calls that share its transaction.
async fn to_its_end<A: Send + 'static>(
    name: &'static str,
    call: impl Future<Output = Result<A>> + Send + 'static,
) -> Result<A> {
    tokio::spawn(call).await.unwrap_or_else(|stopped| {
        let message = format!("the call was stopped: {stopped}");
        Err(Error::new(ErrorKind::Backend, name, message).transient(stopped.is_cancelled()))
    })
}

#[async_trait]
impl<D: Dialect> Queue for SqlQueue<D> {
    async fn enqueue_many(&self, mut tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        self.check_open("enqueue")?;
        prepare_batch(&mut tasks, self.options().payload_bytes_max)?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let answers = match Coalescer::takes(&tasks) {
            true => self.enqueue_joined(tasks).await?,
            false => self.enqueue_alone(Enqueue(tasks)).await?,
        };
        // Whoever enqueued a repeated one may not have come to waking anybody.
        self.wake_if(answers.iter().any(|answer| !matches!(answer, Enqueued::Duplicate(_))));
        Ok(answers)
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        self.check_open("dequeue")?;
        request.validate()?;
        if request.is_extra && !self.0.dialect.takes_extra_claims() {
            return Ok(Vec::new());
        }
        let mut types = request.types.clone();
        types.sort_unstable();
        types.dedup();
        let visibility_timeout = request.visibility_timeout.unwrap_or(self.options().visibility_timeout);
        let (worker_id, is_extra) = (request.worker_id.clone(), request.is_extra);
        let looks_first = self.0.was_empty.load(Ordering::Relaxed);
        let part = move |shard, limit| {
            // A token is of one claim in one shard: a dialect may keep by it what was claimed.
            let (types, token, worker_id) = (types.clone(), LeaseToken::generate(), worker_id.clone());
            let claiming = Claiming { types, limit, token, worker_id, visibility_timeout, is_extra };
            Dequeue { claiming, shard, looks_first }
        };
        let claims = self.round(Turns::Dequeue, request.limit, part).await?;
        self.0.was_empty.store(claims.is_empty(), Ordering::Relaxed);
        Ok(claims)
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.check_open("settle")?;
        let decisions = decide_batch(settlements, &self.options().retry, self.options().payload_bytes_max)?;
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        let may_wake = decisions.iter().any(|decision| {
            !decision.follow_ups.is_empty() || decision.transition.state() == taskqueue_core::State::Ready
        });
        let tokens: Vec<LeaseToken> = decisions.iter().map(|decision| decision.lease.token).collect();
        let settle = Settle::new(decisions, self.dialect(), Owner::Queue);
        let answers = self.settle_all(settle, tokens).await?;
        self.wake_if(may_wake && answers.contains(&Settled::Applied));
        Ok(answers)
    }

    async fn heartbeat_many(
        &self,
        leases: &[Lease],
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>> {
        self.check_open("heartbeat")?;
        check_batch("heartbeat", leases.len())?;
        let visibility_timeout = visibility_timeout.unwrap_or(self.options().visibility_timeout);
        check_visibility_timeout("heartbeat", visibility_timeout)?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.run(Extend { leases: leases.to_vec(), visibility_timeout }).await
    }

    async fn cancel(&self, id: TaskId) -> Result<Cancelled> {
        self.check_open("cancel")?;
        let cancelled = self.run(Cancel(id)).await?;
        if cancelled == Cancelled::From(Status::Running) {
            self.0.wake_up.notify_cancelled(id);
        }
        Ok(cancelled)
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        self.check_open("get")?;
        self.run(Get(id)).await
    }

    async fn holder(&self, task_type: &TaskType, unique_key: &str) -> Result<Option<Task>> {
        self.check_open("holder")?;
        check_unique_key("holder", task_type, unique_key)?;
        self.run(Holder { task_type: task_type.clone(), unique_key: unique_key.to_owned() }).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.check_open("list")?;
        filter.validate()?;
        self.run(List(filter.clone())).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        self.check_open("stats")?;
        self.run(Stats).await
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<u64> {
        self.check_open("cleanup")?;
        check_limit("cleanup", cleanup.limit)?;
        let part = move |shard, limit| RunCleanup { cleanup: Cleanup { limit, ..cleanup }, shard };
        self.round(Turns::Cleanup, cleanup.limit, part).await
    }

    async fn reclaim_stale(&self, limit: usize) -> Result<Reclaimed> {
        self.check_open("reclaim")?;
        check_limit("reclaim", limit)?;
        let reclaimed = self.round(Turns::Reclaim, limit, |shard, limit| Reclaim { limit, shard }).await?;
        self.wake_if(reclaimed.released > 0);
        self.fold_totals().await;
        Ok(reclaimed)
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        self.check_open("promote")?;
        check_limit("promote", limit)?;
        let promoted = self.round(Turns::Promote, limit, |shard, limit| Promote { limit, shard }).await?;
        self.wake_if(promoted > 0);
        Ok(promoted)
    }

    async fn run_now(&self, ids: &[TaskId]) -> Result<u64> {
        self.check_open("run_now")?;
        check_batch("run_now", ids.len())?;
        let made_ready = self.run(RunNow::new(ids)).await?;
        self.wake_if(made_ready > 0);
        Ok(made_ready)
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<u64> {
        self.check_open("redrive")?;
        redrive.validate()?;
        let redriven = match redrive.clone() {
            Redrive::Tasks(ids) => self.run(RedriveTasks(ids)).await?,
            Redrive::Any { task_type, limit } => {
                let part = move |shard, limit| RedriveAny { task_type: task_type.clone(), limit, shard };
                self.round(Turns::Redrive, limit, part).await?
            }
        };
        self.wake_if(redriven > 0);
        Ok(redriven)
    }

    async fn pause(&self, task_type: &TaskType) -> Result<()> {
        self.check_open("pause")?;
        self.run(Pause(task_type.clone())).await
    }

    async fn resume(&self, task_type: &TaskType) -> Result<()> {
        self.check_open("resume")?;
        self.run(Resume(task_type.clone())).await?;
        self.wake_if(true);
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<TaskType>> {
        self.check_open("paused")?;
        self.run(Paused).await
    }

    async fn backend(&self) -> Result<Backend> {
        self.check_open("backend")?;
        self.run(Version).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.check_open("now")?;
        self.run(Now).await
    }

    async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.dialect.close().await;
    }

    fn visibility_timeout(&self) -> Duration {
        self.options().visibility_timeout
    }

    fn wake_up(&self) -> WakeUp {
        self.0.dialect.hear(&self.0.wake_up);
        if let Ok(runtime) = Handle::try_current() {
            let runner = Arc::clone(&self.0);
            runtime.spawn(async move { runner.dialect.get_ready().await });
        }
        self.0.wake_up.clone()
    }

    fn contention_retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    fn take_contention_retries(&self) -> u64 {
        let (total, taken) = (self.contention_retries(), &self.0.retries_taken);
        // Most calls repeat nothing: they only look.
        if taken.load(Ordering::Relaxed) == total {
            return 0;
        }
        total.saturating_sub(taken.fetch_max(total, Ordering::Relaxed))
    }
}
