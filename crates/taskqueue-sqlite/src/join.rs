//! Enqueue and settle inside the caller's own transaction on the same file. It begins and ends no transaction.

use sqlx::SqliteConnection;
use taskqueue_sql::Failure;

use crate::error::failure;
use crate::query::Query;
use crate::{
    Enqueued, Error, IntoTask, Lease, NewTask, Outcome, Result, Settled, Settlement, SqliteQueue, TaskId,
};

const SAVEPOINT: &str = "taskqueue_call";

/// The calls below take part in the transaction of `connection`, which must be on the queue's file: what they did is
/// there when it commits, and is not when it rolls back. A call that fails has undone its own part. Workers find the
/// tasks at their next poll after the commit.
///
/// # Cancel safety
/// A call whose future was dropped may have done a part: roll the transaction back.
impl SqliteQueue {
    /// Enqueues one task in the caller's transaction.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sqlx::Connection;
    /// use taskqueue_sqlite::{NewTask, Queue, SqliteQueue};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// # let url = format!("sqlite:{}", path.display());
    /// let queue = SqliteQueue::connect(&url).await?;
    /// queue.migrate().await?;
    ///
    /// let mut orders = sqlx::SqliteConnection::connect(&url).await?;
    /// let mut tx = orders.begin_with("BEGIN IMMEDIATE").await?;
    /// // … the caller's own rows …
    /// let id = queue.enqueue_in(&mut tx, NewTask::raw("welcome", "7")?).await?;
    /// tx.commit().await?;
    /// assert_eq!(queue.get(id).await?.payload.as_str(), "7");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Queue::enqueue`](crate::Queue::enqueue).
    pub async fn enqueue_in(&self, connection: &mut SqliteConnection, task: impl IntoTask) -> Result<TaskId> {
        let task = task.into_task()?;
        match self.enqueue_many_in(connection, vec![task]).await?.first() {
            Some(Enqueued::Duplicate(existing)) => Err(Error::duplicate_unique("enqueue", *existing)),
            Some(answer) => Ok(answer.id()),
            None => unreachable!("enqueue answers one a task"),
        }
    }

    /// Enqueues tasks in the caller's transaction.
    ///
    /// # Errors
    /// As [`Queue::enqueue_many`](crate::Queue::enqueue_many).
    pub async fn enqueue_many_in(
        &self,
        connection: &mut SqliteConnection,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>> {
        mark(connection, "enqueue", "SAVEPOINT").await?;
        let done = self.sql.enqueue_in(connection, tasks).await;
        end(connection, "enqueue", done).await
    }

    /// Settles a claim as finished in the caller's transaction.
    ///
    /// # Errors
    /// As [`Queue::complete`](crate::Queue::complete).
    pub async fn complete_in(&self, connection: &mut SqliteConnection, lease: Lease) -> Result<()> {
        let id = lease.task_id;
        let settlement = Settlement::new(lease, Outcome::done());
        match self.settle_many_in(connection, vec![settlement]).await?.first() {
            Some(Settled::LeaseLost) => Err(Error::lease_lost("settle", id)),
            _ => Ok(()),
        }
    }

    /// Settles claims in the caller's transaction.
    ///
    /// # Errors
    /// As [`Queue::settle_many`](crate::Queue::settle_many).
    pub async fn settle_many_in(
        &self,
        connection: &mut SqliteConnection,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>> {
        mark(connection, "settle", "SAVEPOINT").await?;
        let done = self.sql.settle_in(connection, settlements).await;
        end(connection, "settle", done).await
    }
}

/// Keeps what a call did, or undoes it when it failed.
async fn end<T>(connection: &mut SqliteConnection, operation: &'static str, done: Result<T>) -> Result<T> {
    if done.is_err() {
        mark(connection, operation, "ROLLBACK TO").await?;
    }
    mark(connection, operation, "RELEASE").await?;
    done
}

async fn mark(connection: &mut SqliteConnection, operation: &'static str, verb: &str) -> Result<()> {
    let query = Query::rendered(&format!("{verb} {SAVEPOINT}"));
    query.execute(connection).await.map_err(|error| Failure::into_error(failure(error), operation))?;
    Ok(())
}
