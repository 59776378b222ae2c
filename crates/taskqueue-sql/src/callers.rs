//! The calls that take part in a transaction of the caller's: what they did commits or rolls back with the caller's rows.
//! They begin and end no transaction, repeat nothing and rouse nobody.

use taskqueue_core::backend::decide_batch;
use taskqueue_core::batches::prepare_batch;
use taskqueue_core::{
    Enqueued, Error, ErrorKind, Lease, NewTask, Outcome, Result, Settled, Settlement, TaskId,
};

use crate::enqueue::Enqueue;
use crate::operation::Operation;
use crate::settle::Settle;
use crate::{Dialect, Owner, SqlQueue, shard};

/// After an error the caller's transaction may hold a part of what was asked for: it is rolled back, at least to a savepoint.
///
/// # Cancel safety
/// A call whose future was dropped may have done a part: as after an error.
impl<D: Dialect> SqlQueue<D> {
    /// Enqueues one task.
    ///
    /// # Errors
    /// As [`Queue::enqueue`](taskqueue_core::Queue::enqueue). Where its unique key is taken nothing was changed.
    pub async fn enqueue_in(&self, connection: &mut D::Connection, task: NewTask) -> Result<TaskId> {
        match only("enqueue", self.enqueue_many_in(connection, vec![task]).await?)? {
            Enqueued::Created(id) | Enqueued::Repeated(id) => Ok(id),
            Enqueued::Duplicate(existing) => Err(Error::duplicate_unique("enqueue", existing)),
        }
    }

    /// Enqueues tasks.
    ///
    /// # Errors
    /// As [`Queue::enqueue_many`](taskqueue_core::Queue::enqueue_many).
    pub async fn enqueue_many_in(
        &self,
        connection: &mut D::Connection,
        mut tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>> {
        self.check_open("enqueue")?;
        prepare_batch(&mut tasks, self.options().payload_bytes_max)?;
        self.run_in(connection, Enqueue(tasks)).await
    }

    /// Settles a claim as finished.
    ///
    /// # Errors
    /// As [`Queue::complete`](taskqueue_core::Queue::complete).
    pub async fn complete_in(&self, connection: &mut D::Connection, lease: Lease) -> Result<()> {
        let id = lease.task_id;
        let settlement = Settlement::new(lease, Outcome::done());
        match only("settle", self.settle_in(connection, vec![settlement]).await?)? {
            Settled::Applied | Settled::Repeated => Ok(()),
            Settled::LeaseLost => Err(Error::lease_lost("settle", id)),
        }
    }

    /// Settles claims.
    ///
    /// # Errors
    /// As [`Queue::settle_many`](taskqueue_core::Queue::settle_many).
    pub async fn settle_in(
        &self,
        connection: &mut D::Connection,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>> {
        self.check_open("settle")?;
        let decisions = decide_batch(settlements, &self.options().retry, self.options().payload_bytes_max)?;
        self.run_in(connection, Settle::new(decisions, self.dialect(), Owner::Caller)).await
    }

    async fn run_in<O: Operation<D>>(
        &self,
        connection: &mut D::Connection,
        operation: O,
    ) -> Result<O::Answer> {
        let dialect = self.dialect();
        let run = async {
            let shards = shard::learn(dialect, connection).await?;
            operation.run(dialect, connection, shards).await
        };
        run.await.map_err(|failure| failure.of_callers().into_error(O::NAME))
    }
}

/// The one answer to a batch of one.
fn only<T>(operation: &'static str, mut answers: Vec<T>) -> Result<T> {
    let answer = answers.pop().filter(|_| answers.is_empty());
    answer.ok_or_else(|| Error::new(ErrorKind::Backend, operation, "the database did not answer one for one"))
}
