//! The last stage: settles outcomes in batches. It owns batching, and what to do when the store fails; it knows
//! nothing of handlers.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, LeaseToken, Outcome, Settled, Settlement};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::dispatcher::backoff;
use crate::pipe::Pipe;
use crate::report::Kind;
use crate::settings::STORE_BATCH_MAX;

const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Settles what arrives until every sender is gone, or until it is told to give up.
pub(crate) async fn run(pipe: Arc<Pipe>, mut outcomes: mpsc::Receiver<Settlement>) {
    loop {
        let batch = collect(&pipe, &mut outcomes).await;
        if batch.is_empty() {
            return;
        }
        settle(&pipe, batch).await;
    }
}

/// The next batch: what is there, and what arrives within the settle delay while more tasks are held.
async fn collect(pipe: &Pipe, outcomes: &mut mpsc::Receiver<Settlement>) -> Vec<Settlement> {
    let mut batch = Vec::new();
    tokio::select! {
        biased;
        _ = outcomes.recv_many(&mut batch, STORE_BATCH_MAX) => {}
        () = pipe.tokens.give_up.cancelled() => {
            // Senders that are stuck must not keep the worker from ending; what has arrived is still settled.
            outcomes.close();
            outcomes.recv_many(&mut batch, STORE_BATCH_MAX).await;
        }
    }
    let until = Instant::now() + pipe.settings.settle_delay;
    while !batch.is_empty() && batch.len() < STORE_BATCH_MAX && batch.len() < pipe.leases.len() {
        let room = STORE_BATCH_MAX - batch.len();
        match tokio::time::timeout_at(until, outcomes.recv_many(&mut batch, room)).await {
            Ok(received) if received > 0 => {}
            _ => break,
        }
    }
    batch
}

/// Settles a batch. When the store refuses it, it is split until what is refused stands alone: one bad follow-up
/// does not sink the rest.
async fn settle(pipe: &Pipe, batch: Vec<Settlement>) {
    let mut batches = vec![batch];
    while let Some(batch) = batches.pop() {
        match settle_until_answered(pipe, batch).await {
            Ok(()) => {}
            Err((mut batch, refusal)) if batch.len() > 1 => {
                debug!(error = %refusal, rows = batch.len(), "a settle was refused; it is split");
                let second = batch.split_off(batch.len() / 2);
                batches.extend([second, batch]);
            }
            Err((batch, refusal)) => batches
                .extend(batch.into_iter().filter_map(|row| fail(pipe, row, &refusal)).map(|row| vec![row])),
        }
    }
}

/// A row that the store refuses for what it carries becomes a failed attempt that says so. One that is refused
/// even so is given up: its lease ends, and the task is handled again.
fn fail(pipe: &Pipe, row: Settlement, refusal: &Error) -> Option<Settlement> {
    let Settlement { lease, outcome } = row;
    if matches!(outcome, Outcome::Complete { .. }) {
        warn!(id = %lease.task_id, error = %refusal, "the completion was refused; the attempt is failed");
        return Some(Settlement::new(lease, Outcome::fail(format!("settling: {refusal}"))));
    }
    give_up(pipe, &[lease.token], refusal);
    None
}

/// Settles a batch, again and again while the error is transient. Gives the batch back when it is refused.
async fn settle_until_answered(
    pipe: &Pipe,
    mut batch: Vec<Settlement>,
) -> Result<(), (Vec<Settlement>, Error)> {
    let mut failures = 0;
    loop {
        let (queue, rows) = (Arc::clone(&pipe.queue), batch.clone());
        let failure = match pipe.call("settle", async move { queue.settle_many(rows).await }).await {
            Ok(answers) => {
                record(pipe, &batch, &answers);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if failure.kind() == ErrorKind::QueueClosed || pipe.tokens.give_up.is_cancelled() {
            let tokens: Vec<LeaseToken> = batch.iter().map(|row| row.lease.token).collect();
            give_up(pipe, &tokens, &failure);
            return Ok(());
        }
        if is_refusal(&failure) {
            return Err((batch, failure));
        }
        failures += 1;
        let wait = backoff(failures, RETRY_WAIT_MIN, RETRY_WAIT_MAX);
        warn!(error = %failure, rows = batch.len(), "settling failed; trying again in {wait:?}");
        let _ = tokio::time::timeout(wait, pipe.tokens.give_up.cancelled()).await;
        drop_ended(pipe, &mut batch, &failure);
        if batch.is_empty() {
            return Ok(());
        }
    }
}

/// Whether the same batch would fail again. A full queue has no room for follow-ups before tasks are settled,
/// so it, too, must not hold up rows that have none.
fn is_refusal(failure: &Error) -> bool {
    !failure.is_transient() || failure.kind() == ErrorKind::QueueFull
}

/// Gives up rows whose lease has ended meanwhile: their tasks are handled again.
fn drop_ended(pipe: &Pipe, batch: &mut Vec<Settlement>, failure: &Error) {
    let now = Instant::now();
    let has_ended = |row: &Settlement| pipe.leases.has_ended(row.lease.token, pipe.visibility_timeout, now);
    let ended: Vec<LeaseToken> =
        batch.iter().filter(|row| has_ended(row)).map(|row| row.lease.token).collect();
    if !ended.is_empty() {
        batch.retain(|row| !ended.contains(&row.lease.token));
        give_up(pipe, &ended, failure);
    }
}

fn give_up(pipe: &Pipe, tokens: &[LeaseToken], failure: &Error) {
    error!(error = %failure, rows = tokens.len(), "outcomes could not be settled; their tasks are handled again");
    pipe.leases.remove(tokens.iter().copied());
}

fn record(pipe: &Pipe, batch: &[Settlement], answers: &[Settled]) {
    for (row, answer) in batch.iter().zip(answers) {
        pipe.tally.settled(Kind::of(row), *answer);
        if *answer == Settled::LeaseLost {
            warn!(id = %row.lease.task_id, r#type = %row.lease.task_type, "the lease was lost before the settle");
        }
    }
    pipe.leases.remove(batch.iter().map(|row| row.lease.token));
}
