//! Enqueue and settle inside the caller's own transaction on the same database. It begins and ends no transaction.

use sqlx::MySqlConnection;

use crate::{Enqueued, IntoTask, Lease, MysqlQueue, NewTask, Result, Settled, Settlement, TaskId};

/// The calls below take part in the transaction of `connection`, which must be on the queue's database: what they did is there
/// when it commits, and is not when it rolls back. After an error that is not said to leave it as it was, roll it back, at least
/// to a savepoint. Workers find the tasks at their next poll after the commit.
///
/// A call fails as `Unavailable` also where others were in its way: then the transaction has to be repeated from its beginning, in
/// a new one. MariaDB from 11.6.2 on says so where a task of the same id or unique key was committed after the transaction's first
/// read, unless it is READ COMMITTED. Under REPEATABLE READ on MySQL other enqueues may wait in that case until the transaction
/// ends: `docs/engines.md`.
impl MysqlQueue {
    /// Enqueues one task in the caller's transaction.
    ///
    /// # Errors
    /// As [`Queue::enqueue`](crate::Queue::enqueue). A unique key that is taken (`DuplicateUnique`, which names the task that
    /// has it) leaves the transaction as it was: it can go on and commit.
    ///
    /// # Cancel safety
    /// A call whose future was dropped may have done a part: roll the transaction back.
    pub async fn enqueue_in(&self, connection: &mut MySqlConnection, task: impl IntoTask) -> Result<TaskId> {
        let task = task.into_task()?;
        self.sql.enqueue_in(connection, task).await
    }

    /// Enqueues tasks in the caller's transaction. Answers one a task, in order. A unique key that is taken is no error here but
    /// [`Enqueued::Duplicate`]; one that another open transaction has is waited for.
    ///
    /// # Errors
    /// As [`Queue::enqueue_many`](crate::Queue::enqueue_many).
    ///
    /// # Cancel safety
    /// A call whose future was dropped may have done a part: roll the transaction back.
    pub async fn enqueue_many_in(
        &self,
        connection: &mut MySqlConnection,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>> {
        self.sql.enqueue_many_in(connection, tasks).await
    }

    /// Settles a claim as finished in the caller's transaction. A worker's handler takes the lease from its `TaskContext` and
    /// returns `Outcome::settled()` after the commit. `Ok` also where this very completion was committed before: who repeats a
    /// transaction because the reply to its commit was lost asks [`settle_in`](Self::settle_in), which answers
    /// [`Settled::Repeated`].
    ///
    /// # Errors
    /// As [`Queue::complete`](crate::Queue::complete). With a lease that is lost nothing was settled: roll back what belongs
    /// to the task.
    ///
    /// # Cancel safety
    /// A call whose future was dropped may have done a part: roll the transaction back.
    pub async fn complete_in(&self, connection: &mut MySqlConnection, lease: Lease) -> Result<()> {
        self.sql.complete_in(connection, lease).await
    }

    /// Settles claims in the caller's transaction, with whatever outcomes; a completion's follow-up tasks commit or roll back
    /// with it. After a rollback the claims are as they were, and can be settled again.
    ///
    /// # Errors
    /// As [`Queue::settle_many`](crate::Queue::settle_many).
    ///
    /// # Cancel safety
    /// A call whose future was dropped may have done a part: roll the transaction back.
    pub async fn settle_in(
        &self,
        connection: &mut MySqlConnection,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>> {
        self.sql.settle_in(connection, settlements).await
    }
}
