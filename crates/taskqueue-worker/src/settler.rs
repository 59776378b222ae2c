//! The last stage: settles outcomes in batches. It owns batching, and what to do when the store fails; it knows
//! nothing of handlers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, Lease, Outcome, Settled, Settlement};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::leases::{Held, LeaseKey};
use crate::pipe::Pipe;
use crate::report::Kind;
use crate::settings::STORE_BATCH_MAX;
use crate::timing::{backoff, later};

/// A task that is done with, on its way to its settle.
pub(crate) struct Finished {
    pub(crate) held: Arc<Held>,
    pub(crate) outcome: Outcome,
}

impl Finished {
    /// A copy for the store: what it has not answered is sent again.
    fn settlement(&self) -> Settlement {
        Settlement::new(self.held.lease().clone(), self.outcome.clone())
    }
}

const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a whole batch is tried where the database refuses it for no reason that is a row's.
const TRIES: u32 = 3;

/// Settles what arrives until every sender is gone, or until it is told to give up. One batch at a time: what returns
/// meanwhile makes the next one larger.
pub(crate) async fn run(pipe: Arc<Pipe>, mut outcomes: mpsc::Receiver<Finished>) {
    loop {
        let batch = collect(&pipe, &mut outcomes).await;
        if batch.is_empty() {
            return;
        }
        settle(&pipe, batch).await;
    }
}

/// The next batch: what is there, and what arrives within the settle delay while more tasks are held.
async fn collect(pipe: &Pipe, outcomes: &mut mpsc::Receiver<Finished>) -> Vec<Finished> {
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
    let mut delay = pin!(tokio::time::sleep_until(later(Instant::now(), pipe.settings.settle_delay)));
    while !batch.is_empty() && batch.len() < STORE_BATCH_MAX && batch.len() < pipe.leases.len() {
        let room = STORE_BATCH_MAX - batch.len();
        tokio::select! {
            biased;
            received = outcomes.recv_many(&mut batch, room) => if received == 0 { break },
            () = &mut delay => break,
        }
    }
    batch
}

/// Settles a batch. When the store refuses it, it is split until what is refused stands alone: one bad follow-up
/// does not sink the rest.
async fn settle(pipe: &Pipe, batch: Vec<Finished>) {
    let (mut batches, mut tries) = (vec![batch], TRIES);
    while let Some(batch) = batches.pop() {
        let settled = settle_until_answered(pipe, batch, tries).await;
        // What is left of it was waited for.
        tries = 1;
        let Err((mut batch, refusal)) = settled else { continue };
        if batch.len() > 1 {
            debug!(error = %refusal, rows = batch.len(), "a settle was refused; it is split");
            let second = batch.split_off(batch.len() / 2);
            batches.extend([second, batch]);
        } else {
            batches.extend(batch.pop().and_then(|row| fail(pipe, row, &refusal)).map(|row| vec![row]));
        }
    }
}

/// A row that the store refuses for what it carries becomes a failed attempt that says so. One that is refused
/// even so is given up: its lease ends, and the task is handled again.
fn fail(pipe: &Pipe, row: Finished, refusal: &Error) -> Option<Finished> {
    let Finished { held, outcome } = row;
    let lease = held.lease();
    if matches!(outcome, Outcome::Complete { .. }) {
        warn!(id = %lease.task_id, error = %refusal, "the completion was refused; the attempt is failed");
        return Some(Finished { held, outcome: Outcome::fail(format!("settling: {refusal}")) });
    }
    give_up(pipe, &[LeaseKey::from(lease)], refusal);
    None
}

/// Settles a batch, again and again while the error is transient. Gives the batch back when it is refused; where the
/// database gives no reason that is a row's, which may pass, when it is refused as often as may be tried.
async fn settle_until_answered(
    pipe: &Pipe,
    mut batch: Vec<Finished>,
    tries: u32,
) -> Result<(), (Vec<Finished>, Error)> {
    let (mut failures, mut refusals) = (0, 0);
    while !batch.is_empty() {
        let queue = Arc::clone(&pipe.queue);
        let rows = batch.iter().map(Finished::settlement).collect();
        let failure = match pipe.call("settle", async move { queue.settle_many(rows).await }).await {
            Ok(answers) => {
                record(pipe, &batch, &answers);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if failure.kind() == ErrorKind::QueueClosed || pipe.tokens.give_up.is_cancelled() {
            give_up(pipe, &keys(&batch), &failure);
            return Ok(());
        }
        if is_refusal(&failure) {
            refusals += 1;
            if refusals >= tries || failure.kind() != ErrorKind::Backend {
                return Err((batch, failure));
            }
        }
        failures += 1;
        let wait = backoff(failures, RETRY_WAIT_MIN, RETRY_WAIT_MAX);
        warn!(error = %failure, rows = batch.len(), "settling failed; trying again in {wait:?}");
        let _ = tokio::time::timeout(wait, pipe.tokens.give_up.cancelled()).await;
        batch = drop_ended(pipe, batch, &failure);
    }
    Ok(())
}

/// Whether the same batch would fail again. A full queue has no room for follow-ups before tasks are settled,
/// so it, too, must not hold up rows that have none.
fn is_refusal(failure: &Error) -> bool {
    !failure.is_transient() || failure.kind() == ErrorKind::QueueFull
}

/// Gives up rows whose lease has ended meanwhile: their tasks are handled again.
fn drop_ended(pipe: &Pipe, batch: Vec<Finished>, failure: &Error) -> Vec<Finished> {
    let now = Instant::now();
    let has_ended = |lease: &Lease| pipe.leases.has_ended(lease, pipe.visibility_timeout, now);
    let (ended, live): (Vec<_>, Vec<_>) = batch.into_iter().partition(|row| has_ended(row.held.lease()));
    if !ended.is_empty() {
        give_up(pipe, &keys(&ended), failure);
    }
    live
}

fn give_up(pipe: &Pipe, keys: &[LeaseKey], failure: &Error) {
    error!(error = %failure, rows = keys.len(), "outcomes could not be settled; their tasks are handled again");
    pipe.leases.remove(keys.iter().copied());
}

fn record(pipe: &Pipe, batch: &[Finished], answers: &[Settled]) {
    for (Finished { held, outcome }, answer) in batch.iter().zip(answers) {
        let lease = held.lease();
        pipe.tally.settled(Kind::of(lease, outcome), *answer);
        if *answer == Settled::LeaseLost {
            warn!(id = %lease.task_id, r#type = %lease.task_type, "the lease was lost before the settle");
        }
    }
    pipe.leases.remove(keys(batch));
}

fn keys(batch: &[Finished]) -> Vec<LeaseKey> {
    batch.iter().map(|row| LeaseKey::from(row.held.lease())).collect()
}
