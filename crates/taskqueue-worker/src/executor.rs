//! The second stage: runs handlers. It owns deadlines, cancellation, panics and the retry decision; it never
//! touches the store.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use taskqueue_core::metrics::{Processed, TypeMetrics};
use taskqueue_core::{Claim, Lease, Outcome, Retry, RetryPolicy, Settled, trace};
use tokio::sync::futures::Notified;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug, info, warn};

use crate::escaped::Escaped;
use crate::leases::{Held, LeaseKey};
use crate::pipe::{Pipe, Registered};
use crate::report::Kind;
use crate::settling::{Finished, give_up_unsent};
use crate::slots::Claimed;
use crate::timing::later;
use crate::{TaskContext, TaskError, span};

/// Runs tasks in one slot until none is waiting. A slot takes over the next task by itself, so a busy worker
/// spawns nothing for a task.
pub(crate) async fn run_slot(pipe: Arc<Pipe>, settle: mpsc::Sender<Finished>, first: Claimed) {
    let _active = pipe.metrics.worker_active();
    // One for all tasks of the slot: each registers with a list that all slots share.
    let mut interrupted = pin!(pipe.interrupts.notified());
    let mut next = Some(first);
    while let Some(claimed) = next {
        let (handler, held) = (claimed.handler, Arc::clone(&claimed.held));
        // A handler's future may also panic where it is dropped, at its deadline or when it is killed. Without its end
        // the slot and the lease would be kept for ever.
        let worked = AssertUnwindSafe(work(&pipe, claimed, interrupted.as_mut())).catch_unwind().await;
        if let Some(finished) = worked.unwrap_or_else(|panic| fail(&pipe, handler, held, &*panic))
            // A heartbeat that finds it lost while it waits for the settler leaves that to the settle.
            && pipe.leases.settling(&finished.held)
            && let Err(unsent) = settle.send(finished).await
        {
            give_up_unsent(&pipe, unsent.0);
        }
        next = pipe.slots.finish(handler);
        // Handlers that never wait must not keep this thread from its other tasks.
        tokio::task::coop::consume_budget().await;
    }
}

/// Runs one task. Answers what is to be settled; nothing when the lease was lost.
async fn work<'p>(
    pipe: &'p Arc<Pipe>,
    claimed: Claimed,
    interrupted: Pin<&mut Notified<'p>>,
) -> Option<Finished> {
    let Claimed { held, handler } = claimed;
    let (task, lease) = (&held.claim.task, held.lease());
    if held.stop.is_stopped() {
        debug!(id = %task.id, "cancelled before it started");
        let is_held = pipe.leases.holds(lease);
        return is_held.then(|| Finished { held, outcome: Outcome::Release });
    }
    let registered = &pipe.handlers[handler];
    let span = span::of_task(&held);
    let (metrics, started_at) = (registered.metrics(&pipe.metrics), Instant::now());
    record_wait(metrics, &held.claim, started_at - held.claimed_at);
    let deadline = registered.timeout().map(|timeout| later(started_at, timeout));
    let cx = TaskContext { held: Arc::clone(&held), deadline, pipe: Arc::clone(pipe) };
    let returned = tokio::select! {
        biased;
        result = attempt(pipe, &held, registered, cx).instrument(span.clone()) => Some(decide(registered, lease, result)),
        () = must_be_dropped(pipe, &held, interrupted) => None,
    };
    let (has_returned, mut outcome) = (returned.is_some(), returned.unwrap_or(Outcome::Release));
    metrics.processing(started_at.elapsed());
    span::end(&span, &outcome);
    let _entered = span.entered();
    if is_lost(pipe, &held) {
        warn_of_lost(lease, has_returned);
        return None;
    }
    if outcome == Outcome::Settled {
        count_settled(pipe, metrics, lease);
        return None;
    }
    log_failure(lease, &outcome);
    trace::follow(task, &mut outcome);
    Some(Finished { held, outcome })
}

/// Whether a handler was told to stop because its task is no longer this worker's.
fn is_lost(pipe: &Pipe, held: &Held) -> bool {
    held.stop.is_stopped() && !pipe.leases.holds(held.lease())
}

fn warn_of_lost(lease: &Lease, has_returned: bool) {
    let Lease { task_id: id, task_type, attempt, .. } = lease;
    let dropped = if has_returned { "what it returned" } else { "it did not stop in time and" };
    warn!(%id, r#type = %task_type, attempt, "the lease was lost while the handler ran; {dropped} is dropped");
}

/// Waits until a handler is to be dropped: all are, or it has not stopped within the cancel period after its lease was lost.
/// An interrupt may mean another slot: each looks for itself.
async fn must_be_dropped<'p>(pipe: &'p Pipe, held: &Held, mut interrupted: Pin<&mut Notified<'p>>) {
    let mut patience = None;
    while !pipe.tokens.kill.is_cancelled() {
        if patience.is_none() && is_lost(pipe, held) {
            patience = Some(later(Instant::now(), pipe.settings.cancel_period));
        }
        match patience {
            None => interrupted.as_mut().await,
            Some(end) if timeout_at(end, interrupted.as_mut()).await.is_err() => return,
            Some(_) => {}
        }
        // Before the next look, so that no interrupt is missed.
        interrupted.set(pipe.interrupts.notified());
    }
}

/// The handler says that it has completed the task itself. If that is not so, the lease ends now that nobody extends it.
fn count_settled(pipe: &Pipe, metrics: &TypeMetrics, lease: &Lease) {
    pipe.leases.remove([LeaseKey::from(lease)]);
    pipe.tally.settled(Kind::Completed, Settled::Applied);
    metrics.processed(Processed::Completed, 1);
}

/// What becomes of a task whose handler panicked outside its own attempt; nothing when the lease was lost.
fn fail(pipe: &Pipe, handler: usize, held: Arc<Held>, panic: &(dyn Any + Send)) -> Option<Finished> {
    // Whatever the handler left behind is told that the attempt is over.
    held.stop.stop();
    let lease = held.lease();
    if !pipe.leases.holds(lease) {
        return None;
    }
    let outcome = decide(&pipe.handlers[handler], lease, Err(panicked(panic)));
    let span = span::of_task(&held);
    span::end(&span, &outcome);
    span.in_scope(|| log_failure(lease, &outcome));
    Some(Finished { held, outcome })
}

/// One attempt, with its deadline and its panics.
async fn attempt(
    pipe: &Pipe,
    held: &Held,
    registered: &Registered,
    cx: TaskContext,
) -> Result<Outcome, TaskError> {
    let deadline = cx.deadline().map(|deadline| (deadline, cx.cancelled().clone()));
    // In an async block, so that a handler that panics before its first await is caught, too.
    let run = async {
        let result = registered.handler.handle(cx).await;
        // Of a lease that was lost there is nothing to give back.
        if pipe.leases.are_all_cancelled() && held.stop.is_stopped() && pipe.leases.holds(held.lease()) {
            give_back(held, result)
        } else {
            result
        }
    };
    let run = AssertUnwindSafe(run).catch_unwind();
    let finished = match deadline {
        None => run.await,
        Some((deadline, token)) => match timeout_at(deadline, run).await {
            Ok(finished) => finished,
            Err(_) => {
                token.cancel();
                let timeout = registered.timeout.unwrap_or_default();
                return Err(TaskError::from(format!("timed out after {timeout:?}")));
            }
        },
    };
    finished.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// What becomes of a task whose handler was told to stop with the worker: an error that another attempt may mend says no more than
/// that it did, and uses up no attempt. A delay that it asks for is kept.
fn give_back(held: &Held, result: Result<Outcome, TaskError>) -> Result<Outcome, TaskError> {
    let (error, outcome) = match result.unwrap_or_else(TaskError::into_outcome) {
        Outcome::Fail { error, retry: Retry::ByPolicy } => (error, Outcome::Release),
        Outcome::Fail { error, retry: Retry::After(delay) } => (error, Outcome::Snooze { delay }),
        outcome => return Ok(outcome),
    };
    let Lease { task_id: id, task_type, attempt, .. } = held.lease();
    let error = Escaped(&error);
    info!(%id, r#type = %task_type, attempt, %error, "stopped with the worker; the attempt is given back");
    Ok(outcome)
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    TaskError::from(format!("handler panicked: {}", panic_text(panic)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// What becomes of the task: a failure without a decision of its own takes the type's policy, unless there is no other
/// attempt.
pub(crate) fn decide(registered: &Registered, lease: &Lease, result: Result<Outcome, TaskError>) -> Outcome {
    let outcome = result.unwrap_or_else(TaskError::into_outcome);
    match (outcome, &registered.retry) {
        (Outcome::Fail { error, retry: Retry::ByPolicy }, Some(policy))
            if lease.attempt < lease.max_retries =>
        {
            let retry = delay(policy, lease).map_or(Retry::ByPolicy, Retry::After);
            Outcome::Fail { error, retry }
        }
        (outcome, _) => outcome,
    }
}

/// None: the policy is the service's own code, and panicked. The queue's decides then.
fn delay(policy: &RetryPolicy, lease: &Lease) -> Option<Duration> {
    let Lease { task_id, task_type, attempt, .. } = lease;
    let delay = catch_unwind(AssertUnwindSafe(|| policy.delay(*attempt, rand::random())));
    delay
        .inspect_err(|panic| {
            let panic = Escaped(panic_text(&**panic));
            warn!(id = %task_id, r#type = %task_type, attempt, "the type's retry policy panicked: {panic}");
        })
        .ok()
}

/// How long an attempt waited from when its task became ready to its start.
fn record_wait(metrics: &TypeMetrics, claim: &Claim, held: Duration) {
    let queued = (claim.lease.claimed_at - claim.ready_at).to_std().unwrap_or_default();
    metrics.waited(queued + held);
}

/// One line that tells of which task what went wrong, and what happens next. The span tells of the task, too, but a filter may
/// have dropped it.
fn log_failure(lease: &Lease, outcome: &Outcome) {
    let Outcome::Fail { error, retry } = outcome else { return };
    let Lease { task_id: id, task_type, attempt, max_retries, .. } = lease;
    let next = next(retry, *attempt, *max_retries);
    warn!(%id, r#type = %task_type, attempt, error = %Escaped(error), "{next}");
}

/// What becomes of a failed attempt. Which one it was the line says beside it.
fn next(retry: &Retry, attempt: u32, max: u32) -> String {
    let left = max.saturating_sub(attempt);
    let left = if left == 1 { "1 attempt left".to_owned() } else { format!("{left} attempts left") };
    match retry {
        Retry::Never => "failed permanently; now a dead letter".to_owned(),
        _ if attempt >= max => "failed with no attempt left; now a dead letter".to_owned(),
        Retry::After(delay) => format!("failed with {left}; the next in {delay:.1?}"),
        Retry::ByPolicy => format!("failed with {left}; the next by the queue's policy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_says_how_many_are_left_and_when_the_next_is() {
        let after = Retry::After(Duration::from_micros(1_926_543));
        assert_eq!(next(&after, 1, 3), "failed with 2 attempts left; the next in 1.9s");
        assert_eq!(
            next(&Retry::ByPolicy, 2, 3),
            "failed with 1 attempt left; the next by the queue's policy"
        );
        assert_eq!(next(&after, 3, 3), "failed with no attempt left; now a dead letter");
        assert_eq!(next(&Retry::Never, 1, 3), "failed permanently; now a dead letter");
    }
}
