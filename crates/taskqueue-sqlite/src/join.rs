//! Enqueue and settle inside the caller's own transaction on the same file. It begins and ends no transaction.

use sqlx::{Connection as _, SqliteConnection};
use taskqueue_sql::Failure;

use crate::error::failure;
use crate::query::Query;
use crate::{
    Enqueued, Error, ErrorKind, IntoTask, Lease, NewTask, Result, Settled, Settlement, SqliteQueue, TaskId,
};

const SAVEPOINT: &str = "taskqueue_call";
const UNDONE: &str = "SQLite has undone the whole transaction: begin anew, on another connection";

/// The calls below take part in the transaction of `connection`, which must be on the queue's file: what they did is
/// there when it commits, and is not when it rolls back. A call that fails has undone its own part. Workers find the
/// tasks at their next poll after the commit.
///
/// Some failures (a full disk, a broken one, a trigger's `RAISE(ROLLBACK)`) make SQLite itself undo the whole transaction. The error then
/// says so, and calls in that transaction are refused, where it was begun through the driver: they would commit by themselves.
/// The driver cannot roll back what is gone and takes the connection to be in a transaction for ever: close it (in a pool, a
/// `before_acquire` that answers `!connection.is_in_transaction()` does so).
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
    /// As [`Queue::enqueue`](crate::Queue::enqueue). A unique key that is taken (`DuplicateUnique`, which names the task that
    /// has it) leaves the transaction as it was: it can go on and commit.
    ///
    /// # Cancel safety
    /// A call whose future was dropped may have done a part: roll the transaction back.
    pub async fn enqueue_in(&self, connection: &mut SqliteConnection, task: impl IntoTask) -> Result<TaskId> {
        let task = task.into_task()?;
        begin(connection, "enqueue").await?;
        let done = self.sql.enqueue_in(connection, task).await;
        end(connection, "enqueue", done).await
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
        connection: &mut SqliteConnection,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>> {
        begin(connection, "enqueue").await?;
        let done = self.sql.enqueue_many_in(connection, tasks).await;
        end(connection, "enqueue", done).await
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
    pub async fn complete_in(&self, connection: &mut SqliteConnection, lease: Lease) -> Result<()> {
        begin(connection, "settle").await?;
        let done = self.sql.complete_in(connection, lease).await;
        end(connection, "settle", done).await
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
        connection: &mut SqliteConnection,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>> {
        begin(connection, "settle").await?;
        let done = self.sql.settle_in(connection, settlements).await;
        end(connection, "settle", done).await
    }
}

/// Marks where a call's part begins. Outside a transaction the mark would be one, and its release a commit.
async fn begin(connection: &mut SqliteConnection, operation: &'static str) -> Result<()> {
    if is_undone(connection).await {
        return Err(Error::new(ErrorKind::Backend, operation, UNDONE));
    }
    mark(connection, operation, "SAVEPOINT").await
}

/// Whether the driver takes a transaction for open that SQLite has undone.
async fn is_undone(connection: &mut SqliteConnection) -> bool {
    // Where there is one still, a second is refused. No statement says more of it.
    if !connection.is_in_transaction() || sqlx::raw_sql("BEGIN").execute(&mut *connection).await.is_err() {
        return false;
    }
    // The driver is left as it is, so that the service's commit fails.
    drop(sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await);
    // A rollback of the driver's own may have been on its way; by now it is done.
    connection.is_in_transaction()
}

/// Keeps what a call did, or undoes it when it failed.
async fn end<T>(connection: &mut SqliteConnection, operation: &'static str, done: Result<T>) -> Result<T> {
    let Err(error) = done else {
        mark(connection, operation, "RELEASE").await?;
        return done;
    };
    let is_back = mark(connection, operation, "ROLLBACK TO").await.is_ok()
        && mark(connection, operation, "RELEASE").await.is_ok();
    Err(if is_back { error } else { with_all_undone(error) })
}

/// The error of a call that left no mark to go back to.
fn with_all_undone(error: Error) -> Error {
    let text = error.to_string();
    let message = text.strip_prefix(error.operation()).and_then(|text| text.strip_prefix(": "));
    let message = format!("{}; {UNDONE}", message.unwrap_or(&text));
    Error::new(error.kind(), error.operation(), message).transient(error.is_transient()).with_source(error)
}

async fn mark(connection: &mut SqliteConnection, operation: &'static str, verb: &str) -> Result<()> {
    let query = Query::rendered(&format!("{verb} {SAVEPOINT}"));
    query.execute(connection).await.map_err(|error| Failure::into_error(failure(error), operation))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Queue as _;

    const TABLES: &str = "CREATE TABLE orders (number INTEGER); CREATE TRIGGER undo BEFORE INSERT ON tasks \
        WHEN NEW.type = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no room'); END";

    fn task(task_type: &str) -> NewTask {
        NewTask::raw(task_type, "1").unwrap()
    }

    #[tokio::test]
    async fn a_call_whose_whole_transaction_sqlite_undid_says_so_and_no_call_commits_after_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").display().to_string();
        let queue = SqliteQueue::connect(&path).await.unwrap();
        queue.migrate().await.unwrap();
        let mut connection = SqliteConnection::connect(&path).await.unwrap();
        sqlx::raw_sql(TABLES).execute(&mut connection).await.unwrap();
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        sqlx::raw_sql("INSERT INTO orders VALUES (1)").execute(&mut *tx).await.unwrap();

        let error = queue.enqueue_in(&mut tx, task("bad")).await.unwrap_err();
        assert!(error.to_string().contains("no room; SQLite has undone the whole transaction"), "{error}");
        let error = queue.enqueue_in(&mut tx, task("good")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("enqueue: {UNDONE}"));
        tx.commit().await.expect_err("there is nothing to commit");
        assert_eq!(queue.stats().await.unwrap().pending, 0);
    }

    #[tokio::test]
    async fn a_call_behind_a_transaction_that_was_dropped_is_not_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").display().to_string();
        let queue = SqliteQueue::connect(&path).await.unwrap();
        queue.migrate().await.unwrap();
        let mut connection = SqliteConnection::connect(&path).await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        queue.enqueue_in(&mut tx, task("first")).await.unwrap();
        drop(tx);

        queue.enqueue_in(&mut connection, task("second")).await.unwrap();
        assert_eq!(queue.stats().await.unwrap().pending, 1);
    }
}
