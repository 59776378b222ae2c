//! An order and the task that confirms it, in one transaction: both are there, or neither is. Then a worker's
//! handler completes the task together with what it writes.
//!
//! `DATABASE_URL=mysql://… cargo run -p taskqueue-mysql --example transactional_mysql`

use std::error::Error;

use serde::{Deserialize, Serialize};
use sqlx::MySqlPool;
use taskqueue_mysql::{MysqlConfig, MysqlQueue, Payload, Queue};
use taskqueue_worker::{Data, Outcome, TaskContext, TaskError, Worker};

#[derive(Serialize, Deserialize)]
struct Confirm {
    order: u64,
}

impl Payload for Confirm {
    const TYPE: &'static str = "confirm";
}

/// What the handler works on.
struct Shop {
    pool: MySqlPool,
    queue: MysqlQueue,
}

/// What the task does and its completion commit together, so that the order is confirmed once. An error before the commit
/// undoes both: the task is tried again.
async fn confirm(task: Confirm, cx: TaskContext, shop: Data<Shop>) -> Result<Outcome, TaskError> {
    let mut transaction = shop.pool.begin().await?;
    sqlx::query("UPDATE orders SET confirmed = true WHERE id = ?")
        .bind(task.order)
        .execute(&mut *transaction)
        .await?;
    shop.queue.complete_in(&mut transaction, cx.lease()).await?;
    transaction.commit().await?;
    Ok(Outcome::settled())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = MySqlPool::connect(&std::env::var("DATABASE_URL")?).await?;
    let create = "CREATE TABLE IF NOT EXISTS orders \
        (id bigint AUTO_INCREMENT PRIMARY KEY, item text NOT NULL, confirmed boolean NOT NULL DEFAULT false)";
    sqlx::query(create).execute(&pool).await?;
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool.clone())).await?;
    queue.migrate().await?;

    // The order and its task commit together.
    let mut transaction = pool.begin().await?;
    let insert = sqlx::query("INSERT INTO orders (item) VALUES ('a book')");
    let order = insert.execute(&mut *transaction).await?.last_insert_id();
    let id = queue.enqueue_in(&mut transaction, Confirm { order }).await?;
    transaction.commit().await?;
    println!("order {order} is there, and task {id} is {}", queue.get(id).await?.status);

    // The second order is taken back, and its task with it.
    let mut transaction = pool.begin().await?;
    let insert = sqlx::query("INSERT INTO orders (item) VALUES ('a mistake')");
    let lost = insert.execute(&mut *transaction).await?.last_insert_id();
    let lost_id = queue.enqueue_in(&mut transaction, Confirm { order: lost }).await?;
    transaction.rollback().await?;
    let orders: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders WHERE id = ?").bind(lost).fetch_one(&pool).await?;
    println!(
        "order {lost}: {orders} rows; {}",
        queue.get(lost_id).await.expect_err("it went with the order")
    );

    let shop = Shop { pool, queue: queue.clone() };
    let report = Worker::builder(queue.clone()).data(shop).handler(confirm).build()?.drain().await;
    println!("{} confirmed: the task is {}", report.completed, queue.get(id).await?.status);
    Ok(())
}
