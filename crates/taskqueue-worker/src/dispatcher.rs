//! The first stage: claims as many tasks as fit and hands them to slots. It owns when to claim and how much; it
//! knows nothing of what handlers do.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join;
use taskqueue_core::metrics::Processed;
use taskqueue_core::{Claim, ClaimRequest, Error, ErrorKind, Lease, Outcome, Result, WakeListener};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::escaped::Escaped;
use crate::leases::Held;
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::settling::{Finished, give_up_unsent};
use crate::slots::{Ask, Claimed};
use crate::timing::{Poll, after_errors, jittered, later};
use crate::{executor, maintenance};

/// How long no extra claim is made after one that brought nothing of a queue that was not empty: others make theirs.
const EXTRA_REST: Duration = Duration::from_millis(100);

/// When the dispatcher ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When the worker is stopped.
    Serve,
    /// When nothing is ready, due or running.
    Drain,
}

/// The dispatcher's own state.
struct Dispatcher<'a> {
    pipe: &'a Arc<Pipe>,
    settle: &'a mpsc::Sender<Finished>,
    wake: WakeListener,
    poll: Poll,
    /// When an extra claim may be made again.
    extra_at: Instant,
    errors: u32,
    /// A drain found nothing running and promoted what was due, and nothing was claimed since.
    is_drained: bool,
}

/// Claims until the worker is stopped, or until a drain is done. A claim that is under way at a stop is waited for: what
/// it brings goes back unstarted.
///
/// # Errors
/// `QueueClosed`: nothing can be claimed ever again. A drain ends at any error that is not transient.
pub(crate) async fn run(pipe: Arc<Pipe>, settle: mpsc::Sender<Finished>, mode: Mode) -> Result<()> {
    let (pipe, settle) = (&pipe, &settle);
    let wake = pipe.queue.wake_up().listen();
    let poll = Poll::new(pipe.settings.poll_interval, wake.hears_others());
    let extra_at = Instant::now();
    let mut dispatcher = Dispatcher { pipe, settle, wake, poll, extra_at, errors: 0, is_drained: false };
    while !pipe.tokens.stop.is_cancelled() {
        dispatcher.look_for_news();
        let asks = pipe.slots.plan();
        let result = match (asks.is_empty(), mode) {
            (false, _) => dispatcher.claim_all(asks).await,
            (true, Mode::Drain) if pipe.slots.all_dry() => {
                if dispatcher.is_drained {
                    return Ok(());
                }
                dispatcher.settle_down().await
            }
            (true, _) => {
                dispatcher.wait().await;
                continue;
            }
        };
        match result {
            Ok(()) => dispatcher.errors = 0,
            Err(error) if ends(&error, mode) => return Err(error),
            Err(error) => dispatcher.back_off(&error).await,
        }
    }
    Ok(())
}

/// The limits of a claim and of an extra one that together bring `limit` tasks, both alike; 0: no extra one.
fn split(limit: usize, is_extra_of_use: bool) -> (usize, usize) {
    if limit <= STORE_BATCH_MAX || !is_extra_of_use {
        return (limit.min(STORE_BATCH_MAX), 0);
    }
    let first = limit.div_ceil(2).min(STORE_BATCH_MAX);
    (first, (limit - first).min(STORE_BATCH_MAX))
}

/// Hands a task back that was not started, unless its lease was lost meanwhile: that is told already.
pub(crate) async fn release(pipe: &Pipe, settle: &mpsc::Sender<Finished>, held: Arc<Held>) {
    if !pipe.leases.settling(&held) {
        return;
    }
    // The settler ends after its senders, unless it has given up.
    if let Err(unsent) = settle.send(Finished { held, outcome: Outcome::Release }).await {
        give_up_unsent(pipe, unsent.0);
    }
}

/// Waits until a task has waited for a slot for too long. What comes in later is no part of it.
async fn overdue(pipe: &Pipe) {
    match pipe.slots.overdue_at() {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether claiming again is of no use.
fn ends(error: &Error, mode: Mode) -> bool {
    error.kind() == ErrorKind::QueueClosed || (mode == Mode::Drain && !error.is_transient())
}

impl Dispatcher<'_> {
    /// Takes notice of a wake-up or of the poll's time without waiting: a busy type must not keep the others
    /// from being looked at.
    fn look_for_news(&mut self) {
        let is_woken = self.wake.notified().now_or_never().is_some();
        if is_woken || self.poll.at() <= Instant::now() {
            self.poll.restart();
            self.pipe.slots.refresh();
        }
    }

    /// Waits until a claim may be of use.
    async fn wait(&mut self) {
        let pipe = self.pipe;
        tokio::select! {
            () = pipe.tokens.stop.cancelled() => return,
            () = pipe.slots.freed() => return,
            () = overdue(pipe) => return self.hand_back().await,
            () = self.wake.notified() => self.poll.restart(),
            () = tokio::time::sleep_until(self.poll.idle_at()) => self.poll.slow_down(),
        }
        pipe.slots.refresh();
    }

    /// Hands back what has waited for too long behind tasks that take long.
    async fn hand_back(&self) {
        let overdue = self.pipe.slots.take_overdue(Instant::now());
        if !overdue.is_empty() {
            debug!(tasks = overdue.len(), "handlers take long; tasks that waited for them are released");
        }
        for claimed in overdue {
            release(self.pipe, self.settle, claimed.held).await;
        }
    }

    async fn claim_all(&mut self, asks: Vec<Ask>) -> Result<()> {
        let mut is_empty = true;
        for ask in asks {
            let limit = ask.limit.min(self.pipe.slots.room());
            if limit > 0 && self.claim(Ask { limit, ..ask }).await? > 0 {
                is_empty = false;
                self.is_drained = false;
                self.poll.quicken(self.wake.hears_others());
            }
        }
        if is_empty {
            // From the end of the look: one that takes longer than the wait would be followed by the next at once.
            self.poll.restart();
        }
        Ok(())
    }

    /// Claims what was asked for; by two claims at once where it is more than one may bring: while one waits for its
    /// commit to reach the disk, the store works on the other. What they bring is put in queue order before any of it
    /// starts. An error is answered only where nothing was claimed: what was is held already.
    async fn claim(&mut self, ask: Ask) -> Result<usize> {
        // Before the calls: no lease of them can end earlier than a visibility timeout from here.
        let claimed_at = Instant::now();
        let (limit, extra_limit) = split(ask.limit, self.extra_at <= claimed_at);
        let extra = async {
            match extra_limit {
                0 => Ok(Vec::new()),
                _ => self.dequeue(self.request(&ask, extra_limit).extra()).await,
            }
        };
        let answers = join(self.dequeue(self.request(&ask, limit)), extra).await;
        let mut failure = None;
        let [first, extra] = <[_; 2]>::from(answers).map(|answer| {
            answer.unwrap_or_else(|error| {
                failure = Some(error);
                Vec::new()
            })
        });
        if extra_limit > 0 && extra.is_empty() && first.len() == limit {
            self.extra_at = later(claimed_at, jittered(EXTRA_REST));
        }
        let is_dry = first.len() < limit || (1..extra_limit).contains(&extra.len());
        let claimed = first.len() + extra.len();
        match failure {
            Some(error) if claimed == 0 => return Err(error),
            Some(error) => warn!(error = %Escaped(&error), "one of two claims failed"),
            None => self.pipe.slots.mark(&ask.handlers, is_dry),
        }
        self.admit(Claim::merge(first, extra).map(|claim| Held::new(claim, claimed_at)).collect()).await;
        Ok(claimed)
    }

    fn request(&self, ask: &Ask, limit: usize) -> ClaimRequest {
        let pipe = self.pipe;
        let types: Vec<_> =
            ask.handlers.iter().map(|&handler| pipe.handlers[handler].task_type.clone()).collect();
        let mut request = ClaimRequest::new(pipe.worker_id.clone(), types, limit);
        request.visibility_timeout = pipe.settings.visibility_timeout;
        request
    }

    async fn dequeue(&self, request: ClaimRequest) -> Result<Vec<Claim>> {
        self.pipe.call("dequeue", |queue| async move { queue.dequeue_many(&request).await }).await
    }

    async fn admit(&self, claimed: Vec<Arc<Held>>) {
        let pipe = self.pipe;
        let mut known = Vec::with_capacity(claimed.len());
        pipe.leases.add(&claimed);
        for held in claimed {
            match pipe.by_type.get(&held.claim.task.task_type) {
                Some(&handler) => known.push(Claimed { held, handler }),
                None => self.refuse(held).await,
            }
        }
        // The slots are closed a moment after the stop.
        let is_stopped = pipe.tokens.stop.is_cancelled();
        let admitted = if is_stopped { Err(known) } else { pipe.slots.admit(known, Instant::now()) };
        match admitted {
            Ok(starting) => starting.into_iter().for_each(|claimed| {
                pipe.tracker.spawn(executor::run_slot(Arc::clone(pipe), self.settle.clone(), claimed));
            }),
            Err(back) => {
                for claimed in back {
                    release(pipe, self.settle, claimed.held).await;
                }
            }
        }
    }

    /// A backend gave a task that was not asked for: it goes back untouched, never discarded.
    async fn refuse(&self, held: Arc<Held>) {
        let Lease { task_id: id, task_type, attempt, .. } = held.lease();
        warn!(%id, r#type = %task_type, attempt, "claimed a task without a handler; it is released");
        self.pipe.metrics.of_type(task_type).processed(Processed::NoHandler, 1);
        release(self.pipe, self.settle, held).await;
    }

    /// Waits until all that was claimed is settled, or may have brought other tasks: one that runs may wait for them.
    /// Then makes ready what is due by now, and where nothing is held what workers left that died.
    async fn settle_down(&mut self) -> Result<()> {
        let pipe = self.pipe;
        let is_settled = tokio::select! {
            biased;
            () = pipe.tokens.stop.cancelled() => return Ok(()),
            () = pipe.leases.none_held() => true,
            () = overdue(pipe) => {
                self.hand_back().await;
                false
            }
            () = self.wake.notified() => {
                self.poll.restart();
                false
            }
            () = tokio::time::sleep_until(self.poll.idle_at()) => {
                self.poll.slow_down();
                false
            }
        };
        maintenance::promote_all(pipe).await?;
        if is_settled {
            // Once where nothing is left, not at each look: what an earlier run left when it was killed.
            maintenance::reclaim_all(pipe).await?;
        }
        pipe.slots.refresh();
        self.is_drained = is_settled;
        Ok(())
    }

    async fn back_off(&mut self, error: &Error) {
        self.errors = self.errors.saturating_add(1);
        let wait = after_errors(self.errors);
        warn!(error = %Escaped(error), attempt = self.errors, "claiming failed; trying again in {wait:?}");
        let _ = tokio::time::timeout(wait, self.pipe.tokens.stop.cancelled()).await;
    }
}
