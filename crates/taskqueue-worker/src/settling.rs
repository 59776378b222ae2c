//! One settle: the rows that it takes along, the call, and what its answer means for their leases. When which rows are settled is
//! the affair of `settler` and `apart`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use taskqueue_core::{Error, ErrorKind, Lease, Outcome, Settled, Settlement};
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
        tell_of_unsettled(pipe, rows, failure);
        pipe.leases.remove(keys(rows));
    }
}

/// An outcome for a settler that has ended before. One whose lease the worker has given up meanwhile is counted already.
pub(crate) fn give_up_unsent(pipe: &Pipe, row: Finished) {
    let rows = [row];
    if pipe.leases.remove(keys(&rows)) > 0 {
        let failure = Error::new(ErrorKind::Unavailable, "settle", "the worker has given up");
        tell_of_unsettled(pipe, &rows, &failure);
    }
}

fn tell_of_unsettled(pipe: &Pipe, rows: &[Finished], failure: &Error) {
    let tasks = named(rows.iter().map(|row| row.held.lease()));
    error!(
        error = %Escaped(failure), rows = rows.len(), %tasks,
        "outcomes could not be settled; their tasks are handled again"
    );
    pipe.tally.unconfirmed(rows.len() as u64);
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

#[cfg(test)]
mod tests {
    use taskqueue_core::{ClaimRequest, NewTask};
    use taskqueue_memory::MemoryQueue;
    use tokio::sync::mpsc;

    use super::*;
    use crate::slots::Claimed;
    use crate::{Handler, TaskContext, TaskError, Worker, async_trait, dispatcher, executor};

    struct Done;

    #[async_trait]
    impl Handler for Done {
        async fn handle(&self, _: TaskContext) -> Result<Outcome, TaskError> {
            Ok(Outcome::done())
        }
    }

    /// A worker that holds a task, and a settler that has ended.
    async fn holding() -> (Arc<Pipe>, Arc<Held>, mpsc::Sender<Finished>) {
        let task = NewTask::raw("mail", "1").expect("it is JSON");
        let builder = Worker::builder(MemoryQueue::new()).handle(task.task_type.clone(), Done);
        let pipe = builder.build().expect("it is valid").pipe;
        let request = ClaimRequest::new(pipe.worker_id.clone(), [task.task_type.clone()], 1);
        pipe.queue.enqueue_many(vec![task]).await.expect("it is taken");
        let claim = pipe.queue.dequeue_many(&request).await.expect("it answers").remove(0);
        let held = Held::new(claim, Instant::now());
        pipe.leases.add(std::slice::from_ref(&held));
        (pipe, held, mpsc::channel(1).0)
    }

    #[tokio::test]
    async fn an_outcome_for_which_the_settler_has_ended_counts_as_unconfirmed() {
        let (pipe, held, settle) = holding().await;
        let admitted = pipe.slots.admit(vec![Claimed { held, handler: 0 }], Instant::now());
        let first = admitted.ok().and_then(|mut starting| starting.pop()).expect("it starts at once");

        executor::run_slot(Arc::clone(&pipe), settle, first).await;

        assert_eq!((pipe.tally.report().unconfirmed, pipe.leases.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_release_for_which_the_settler_has_ended_counts_as_unconfirmed() {
        let (pipe, held, settle) = holding().await;

        dispatcher::release(&pipe, &settle, held).await;

        assert_eq!((pipe.tally.report().unconfirmed, pipe.leases.len()), (1, 0));
    }

    #[tokio::test]
    async fn an_outcome_that_the_end_of_the_worker_has_counted_counts_once() {
        let (pipe, held, settle) = holding().await;
        pipe.leases.abandon();

        dispatcher::release(&pipe, &settle, held).await;

        assert_eq!(pipe.tally.report().unconfirmed, 0, "the end of the worker counts what it abandons");
    }
}
