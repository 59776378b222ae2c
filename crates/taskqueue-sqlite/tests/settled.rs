//! Handlers of a worker that complete their tasks in their own transaction on the queue's file.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail them as the tests do")]

use sqlx::{Connection, SqliteConnection};
use taskqueue_sqlite::{Completed, ErrorKind, NewTask, Queue, SqliteConfig, SqliteQueue, Status};
use taskqueue_worker::{
    Data, Handler, Outcome, Report, TaskContext, TaskError, TaskId, TaskType, Worker, async_trait,
};
use tempfile::TempDir;

struct Shop {
    folder: TempDir,
    queue: SqliteQueue,
}

impl Shop {
    async fn open(completed: Completed) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").display().to_string();
        let queue =
            SqliteQueue::with_config(SqliteConfig::new(&path).unwrap().completed(completed)).await.unwrap();
        queue.migrate().await.unwrap();
        let shop = Self { folder, queue };
        let create = sqlx::query("CREATE TABLE orders (number INTEGER)");
        create.execute(&mut shop.connect().await.unwrap()).await.unwrap();
        shop
    }

    async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        SqliteConnection::connect(&self.folder.path().join("q.db").display().to_string()).await
    }

    async fn orders(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        count.fetch_one(&mut self.connect().await.unwrap()).await.unwrap()
    }

    /// Works one task; the handler's transaction ends so.
    async fn work(self, end: End) -> (Data<Self>, TaskId, Report) {
        let queue = self.queue.clone();
        let id = queue.enqueue(NewTask::raw("order", "1").unwrap().max_retries(1)).await.unwrap();
        let order_type = TaskType::new("order").unwrap();
        let shop = std::sync::Arc::new(self);
        let builder = Worker::builder(queue).data_arc(std::sync::Arc::clone(&shop));
        let report = builder.handle(order_type, Order(end)).build().unwrap().drain().await;
        (Data(shop), id, report)
    }
}

/// How a handler's transaction ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Commit,
    Rollback,
}

struct Order(End);

#[async_trait]
impl Handler for Order {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let shop = cx.data().get::<Shop>().expect("it was given");
        let mut connection = shop.connect().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *transaction).await?;
        shop.queue.complete_in(&mut transaction, cx.lease()).await?;
        if self.0 == End::Rollback {
            return Err(TaskError::from("out of stock"));
        }
        transaction.commit().await?;
        // As the worker's own would.
        let heartbeat = cx.heartbeat().await.expect_err("there is no lease any more");
        assert_eq!(heartbeat.kind(), ErrorKind::LeaseLost);
        assert!(!cx.cancelled().is_cancelled());
        Ok(Outcome::settled())
    }
}

#[tokio::test]
async fn what_a_handler_writes_and_its_tasks_completion_commit_together() {
    let (shop, id, report) = Shop::open(Completed::Keep).await.work(End::Commit).await;

    assert_eq!((report.completed, report.leases_lost, report.failed), (1, 0, 0));
    assert_eq!(shop.queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(shop.queue.stats().await.unwrap().completed, 1);
    assert_eq!(shop.orders().await, 1);
}

#[tokio::test]
async fn a_handler_that_completes_its_task_itself_deletes_it_where_completed_tasks_are_deleted() {
    let (shop, id, report) = Shop::open(Completed::Delete).await.work(End::Commit).await;

    assert_eq!((report.completed, report.leases_lost, report.failed), (1, 0, 0));
    assert_eq!(shop.queue.get(id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    assert_eq!(shop.queue.stats().await.unwrap().completed, 1);
    assert_eq!(shop.orders().await, 1);
}

#[tokio::test]
async fn what_a_handler_writes_is_undone_with_its_tasks_completion() {
    let (shop, id, report) = Shop::open(Completed::Keep).await.work(End::Rollback).await;

    assert_eq!((report.completed, report.dead_lettered, report.leases_lost), (0, 1, 0));
    assert_eq!(shop.queue.get(id).await.unwrap().last_error.as_deref(), Some("out of stock"));
    assert_eq!(shop.orders().await, 0);
}
