//! The transactions of the queue's own calls: how one begins, on a connection that the last one has left in order. It knows no
//! statement of the queue.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

/// A connection with or without an open transaction.
#[derive(Debug)]
pub(crate) enum SqliteTransaction {
    Single(PoolConnection<Sqlite>),
    Open(Transaction<'static, Sqlite>),
}

impl Deref for SqliteTransaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Open(transaction) => transaction,
        }
    }
}

impl DerefMut for SqliteTransaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Open(transaction) => transaction,
        }
    }
}

/// Begins one that writes. A deferred one that reads first could not be upgraded once another process has written.
pub(crate) async fn begin_write(writer: &SqlitePool) -> sqlx::Result<Transaction<'static, Sqlite>> {
    let mut connection = writer.acquire().await?;
    put_right(&mut connection).await?;
    Transaction::begin(connection, Some("BEGIN IMMEDIATE".into_sql_str())).await
}

/// Lets the driver know that no transaction is open. A commit that fails for want of room is undone by SQLite itself; the driver's
/// rollback then finds none, and would take each later transaction for one inside of it.
async fn put_right(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    if !connection.is_in_transaction() {
        return Ok(());
    }
    // A rollback may be on its way.
    connection.ping().await?;
    if connection.is_in_transaction() {
        // So that there is one; it is refused where there is one still.
        drop(sqlx::raw_sql("BEGIN").execute(&mut *connection).await);
        // The driver refuses a second one, and rolls back all there is.
        drop(connection.begin_with("BEGIN").await);
        connection.ping().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{ClaimRequest, NewTask, Queue as _, TaskType, WorkerId};

    use crate::SqliteQueue;

    /// As a commit that meets a full disk, it undoes the transaction.
    const UNDO: &str =
        "CREATE TRIGGER undo BEFORE INSERT ON tasks BEGIN SELECT RAISE(ROLLBACK, 'undone'); END";

    fn tasks() -> Vec<NewTask> {
        (0..2).map(|_| NewTask::raw("mail", "1").unwrap()).collect()
    }

    #[tokio::test]
    async fn a_queue_whose_transaction_sqlite_undid_goes_on_with_the_next_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").display().to_string();
        for database in [path.as_str(), ":memory:"] {
            let queue = SqliteQueue::connect(database).await.expect("it can be made");
            queue.migrate().await.expect("it takes the tables");
            let writer = &queue.sql.dialect().writer;
            sqlx::raw_sql(UNDO).execute(writer).await.expect("it takes a trigger");
            for _ in 0..2 {
                let error = queue.enqueue_many(tasks()).await.expect_err("it is undone");
                assert!(error.to_string().contains("undone"), "{error}");
            }
            sqlx::raw_sql("DROP TRIGGER undo").execute(writer).await.expect("it is there");

            queue.enqueue_many(tasks()).await.expect("it is done");
            let mail = [TaskType::new("mail").unwrap()];
            let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), mail, 10);
            assert_eq!(queue.dequeue_many(&request).await.expect("it is done").len(), 2);
        }
    }
}
