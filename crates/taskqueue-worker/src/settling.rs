//! One settle: the rows that it takes along, the call, and what its answer means for their leases. When which rows are settled is
//! the affair of `settler` and `apart`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use taskqueue_core::{Error, Lease, Outcome, Settled, Settlement};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::escaped::Escaped;
use crate::leases::{Held, LeaseKey};
use crate::named::named;
use crate::pipe::Pipe;
use crate::report::Kind;

/// A settle that takes longer is late: it may wait for what another session has locked.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);

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
        pipe.tally.unconfirmed(rows.len() as u64);
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
