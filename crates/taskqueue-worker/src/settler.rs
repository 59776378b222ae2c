//! The last stage: settles outcomes in batches. It owns batching; what brings follow-up tasks, and what the store did not
//! take, goes apart. It knows nothing of handlers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join};
use taskqueue_core::{Error, Lease, Outcome, Settled, Settlement};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::apart::{self, Apart};
use crate::escaped::Escaped;
use crate::leases::{Held, LeaseKey};
use crate::named::named;
use crate::pipe::Pipe;
use crate::report::Kind;
use crate::settings::SETTLE_BATCH_MAX;
use crate::timing::later;

/// A settle that takes longer is late: it may wait for what another session has locked.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);
/// The most late settles beside which the settler begins another one.
const LATE_MAX: usize = 2;

/// A settle that is under way.
pub(crate) type Call<'p> = BoxFuture<'p, Result<(), Untaken>>;

/// What the store did not take.
pub(crate) struct Untaken {
    pub(crate) rows: Vec<Finished>,
    pub(crate) failure: Error,
    pub(crate) is_late: bool,
}

/// A task that is done with, on its way to its settle.
pub(crate) struct Finished {
    pub(crate) held: Arc<Held>,
    pub(crate) outcome: Outcome,
}

impl Finished {
    /// The tasks that follow on it.
    pub(crate) fn follow_ups(&self) -> usize {
        if let Outcome::Complete { follow_ups } = &self.outcome { follow_ups.len() } else { 0 }
    }

    /// A copy for the store: what it has not answered is sent again.
    fn settlement(&self) -> Settlement {
        Settlement::new(self.held.lease().clone(), self.outcome.clone())
    }
}

/// Settles what arrives until every sender is gone, or until it is told to give up. One batch at a time: what returns
/// meanwhile makes the next one larger. Beside it goes what may take longer, and a batch that does.
pub(crate) async fn run(pipe: Arc<Pipe>, outcomes: mpsc::Receiver<Finished>) {
    let (sending, lane) = apart::lane(&pipe);
    join(settle_all(&pipe, outcomes, sending), lane).await;
}

async fn settle_all<'p>(pipe: &'p Pipe, mut outcomes: mpsc::Receiver<Finished>, mut apart: Apart<'p>) {
    let late = Arc::new(Semaphore::new(LATE_MAX));
    loop {
        let mut batch = collect(pipe, &mut outcomes).await;
        if batch.is_empty() {
            return;
        }
        let with_follow_ups = batch.extract_if(.., |row| row.follow_ups() > 0).collect();
        let rows = batch.len();
        let settled = quick(Box::pin(settle(pipe, batch)), &late);
        match join(settled, apart.send_new(with_follow_ups)).await.0 {
            Progress::Done(Ok(())) => {}
            Progress::Done(Err(untaken)) => apart.send_failed(untaken),
            Progress::Late(call) => apart.send_late(rows, call),
        }
    }
}

/// What became of a call.
enum Progress<'p> {
    Done(Result<(), Untaken>),
    /// It goes on.
    Late(Call<'p>),
}

/// Waits for a call until it is late and another one may begin beside it.
async fn quick<'p>(mut call: Call<'p>, late: &Arc<Semaphore>) -> Progress<'p> {
    let turn = async {
        tokio::time::sleep(LATE_AFTER).await;
        Arc::clone(late).acquire_owned().await
    };
    tokio::select! {
        biased;
        settled = &mut call => Progress::Done(settled),
        permit = turn => Progress::Late(Box::pin(async move {
            let _permit = permit;
            call.await
        })),
    }
}

/// The next batch: what is there, and what arrives within the settle delay while more tasks are held.
async fn collect(pipe: &Pipe, outcomes: &mut mpsc::Receiver<Finished>) -> Vec<Finished> {
    let mut batch = Vec::new();
    tokio::select! {
        biased;
        _ = outcomes.recv_many(&mut batch, SETTLE_BATCH_MAX) => {}
        () = pipe.tokens.give_up.cancelled() => {
            // Senders that are stuck must not keep the worker from ending; what has arrived is still settled.
            outcomes.close();
            outcomes.recv_many(&mut batch, SETTLE_BATCH_MAX).await;
        }
    }
    let mut delay = pin!(tokio::time::sleep_until(later(Instant::now(), pipe.settings.settle_delay)));
    while !batch.is_empty() && batch.len() < SETTLE_BATCH_MAX && batch.len() < pipe.leases.len() {
        let room = SETTLE_BATCH_MAX - batch.len();
        tokio::select! {
            biased;
            received = outcomes.recv_many(&mut batch, room) => if received == 0 { break },
            () = &mut delay => break,
        }
    }
    batch
}

/// Settles a batch in one call. Gives it back where the call failed.
pub(crate) async fn settle(pipe: &Pipe, batch: Vec<Finished>) -> Result<(), Untaken> {
    if batch.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    let rows = batch.iter().map(Finished::settlement).collect();
    match pipe.call("settle", |queue| async move { queue.settle_many(rows).await }).await {
        Ok(answers) => {
            record(pipe, &batch, &answers);
            Ok(())
        }
        Err(failure) => Err(Untaken { rows: batch, failure, is_late: began.elapsed() >= LATE_AFTER }),
    }
}

/// Outcomes that will not be settled.
pub(crate) fn give_up(pipe: &Pipe, rows: &[Finished], failure: &Error) {
    if !rows.is_empty() {
        let tasks = named(rows.iter().map(|row| row.held.lease()));
        error!(
            error = %Escaped(failure), rows = rows.len(), %tasks,
            "outcomes could not be settled; their tasks are handled again"
        );
        pipe.leases.remove(keys(rows));
    }
}

fn record(pipe: &Pipe, batch: &[Finished], answers: &[Settled]) {
    for (Finished { held, outcome }, answer) in batch.iter().zip(answers) {
        let lease = held.lease();
        pipe.tally.settled(Kind::of(lease, outcome), *answer);
        if *answer == Settled::LeaseLost {
            let Lease { task_id: id, task_type, attempt, .. } = lease;
            warn!(%id, r#type = %task_type, attempt, "the lease was lost before the settle");
        }
    }
    pipe.leases.remove(keys(batch));
}

fn keys(rows: &[Finished]) -> impl Iterator<Item = LeaseKey> {
    rows.iter().map(|row| LeaseKey::from(row.held.lease()))
}
