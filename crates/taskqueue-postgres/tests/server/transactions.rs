//! Enqueues and settles in the caller's own transaction.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection};
use taskqueue_conformance::assert_inserted_tasks_are_like_any_other;
use taskqueue_postgres::{
    Enqueued, ErrorKind, Outcome, PostgresConfig, PostgresQueue, Queue, Redrive, Settled, Settlement, Status,
};

use crate::scratch::{PATIENCE, Scratch, claim_one, task};
use crate::support::say;

async fn with_orders(scratch: &Scratch) -> PgConnection {
    let mut connection = scratch.connect().await;
    say(&mut connection, "CREATE TABLE orders (id int)".to_owned()).await.unwrap();
    connection
}

async fn orders(scratch: &Scratch) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut scratch.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_commits_or_rolls_back_with_the_callers_rows() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = with_orders(&scratch).await;

    let mut dropped = connection.begin().await.unwrap();
    say(&mut dropped, "INSERT INTO orders VALUES (1)".to_owned()).await.unwrap();
    let lost = queue.enqueue_in(&mut dropped, task()).await.unwrap();
    dropped.rollback().await.unwrap();
    let mut kept = connection.begin().await.unwrap();
    say(&mut kept, "INSERT INTO orders VALUES (2)".to_owned()).await.unwrap();
    let id = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap();
    let early = queue.get(id).await.unwrap_err();
    let taken = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap_err();
    kept.commit().await.unwrap();

    assert_eq!(early.kind(), ErrorKind::TaskNotFound, "it is not committed yet");
    assert_eq!(taken.kind(), ErrorKind::DuplicateUnique);
    assert_eq!(queue.get(lost).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
    assert_eq!(orders(&scratch).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_commit_with_the_callers_rows_and_one_whose_key_is_taken_stops_no_other() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = with_orders(&scratch).await;
    let holder = queue.enqueue(task().unique_key("k")).await.unwrap();
    let tasks = vec![task(), task().unique_key("k"), task().unique_key("l")];
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();

    let mut transaction = connection.begin().await.unwrap();
    let answers = queue.enqueue_many_in(&mut transaction, tasks).await.unwrap();
    say(&mut transaction, "INSERT INTO orders VALUES (1)".to_owned()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1, "it is not committed yet");
    transaction.commit().await.unwrap();

    let expected = [Enqueued::Created(ids[0]), Enqueued::Duplicate(holder), Enqueued::Created(ids[2])];
    assert_eq!(answers, expected);
    assert_eq!(queue.stats().await.unwrap().pending, 3);
    assert_eq!(orders(&scratch).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_passes_over_a_dead_letter_whose_key_is_taken_in_that_moment() {
    let (scratch, queue) = Scratch::with_queue().await;
    let kinds = [task().unique_key("k"), task()];
    for task in kinds {
        queue.enqueue(task).await.unwrap();
        let lease = claim_one(&queue).await.lease;
        queue.settle_many(vec![Settlement::new(lease, Outcome::permanent("no"))]).await.unwrap();
    }
    let mut connection = scratch.connect().await;
    let mut holder = connection.begin().await.unwrap();
    queue.enqueue_in(&mut holder, task().unique_key("k")).await.unwrap();

    let redriving = tokio::spawn({
        let queue = queue.clone();
        async move { queue.redrive(&Redrive::Any { task_type: None, limit: 10 }).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut beside = scratch.connect().await;
    let waiting = async {
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut beside).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the redrive waits for the key");
    holder.commit().await.unwrap();

    assert_eq!(redriving.await.unwrap().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_closed_leaves_the_services_pool_open() {
    let (scratch, _) = Scratch::with_queue().await;
    let pool = PgPoolOptions::new().connect_with(scratch.options()).await.unwrap();
    let queue = PostgresQueue::with_config(PostgresConfig::pool(pool.clone())).await.unwrap();
    queue.enqueue(task()).await.unwrap();

    queue.close().await;

    assert_eq!(queue.enqueue(task()).await.unwrap_err().kind(), ErrorKind::QueueClosed);
    say(&mut pool.acquire().await.unwrap(), "SELECT 1".to_owned()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_and_its_follow_ups_commit_or_roll_back_with_the_callers_rows() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = with_orders(&scratch).await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let next = task();
    let done = || vec![Settlement::new(lease.clone(), Outcome::done().then(next.clone()))];

    let mut dropped = connection.begin().await.unwrap();
    say(&mut dropped, "INSERT INTO orders VALUES (1)".to_owned()).await.unwrap();
    assert_eq!(queue.settle_in(&mut dropped, done()).await.unwrap(), [Settled::Applied]);
    dropped.rollback().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running, "it is still leased");
    assert_eq!(queue.get(next.id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    let mut kept = connection.begin().await.unwrap();
    say(&mut kept, "INSERT INTO orders VALUES (2)".to_owned()).await.unwrap();
    assert_eq!(queue.settle_in(&mut kept, done()).await.unwrap(), [Settled::Applied]);
    kept.commit().await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(queue.get(next.id).await.unwrap().status, Status::Pending);
    assert_eq!(queue.stats().await.unwrap().completed, 1);
    assert_eq!(orders(&scratch).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_a_callers_transaction_completes_keeps_no_task_from_being_run_now() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let waiting = queue.enqueue(task().delay(std::time::Duration::from_secs(3600))).await.unwrap();
    let mut connection = scratch.connect().await;

    let mut open = connection.begin().await.unwrap();
    queue.complete_in(&mut open, lease.clone()).await.unwrap();
    let ids = [lease.task_id, waiting];
    let made_ready = tokio::time::timeout(PATIENCE, queue.run_now(&ids)).await;
    open.commit().await.unwrap();

    assert_eq!(made_ready.expect("it waits for nobody").unwrap(), 1);
    assert_eq!(queue.get(lease.task_id).await.unwrap().status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_completion_rolled_back_settles_as_if_nothing_had_been() {
    let (scratch, queue) = Scratch::with_queue().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let mut connection = scratch.connect().await;

    let mut dropped = connection.begin().await.unwrap();
    queue.complete_in(&mut dropped, lease.clone()).await.unwrap();
    dropped.rollback().await.unwrap();
    queue.heartbeat(&lease).await.unwrap();
    let settled = queue.settle_many(vec![Settlement::new(lease, Outcome::permanent("no"))]).await.unwrap();

    assert_eq!(settled, [Settled::Applied]);
    assert_eq!(queue.get(id).await.unwrap().status, Status::DeadLetter);
    assert_eq!(queue.stats().await.unwrap().completed, 0);
}

/// A pool whose users drop their futures can hold connections inside a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_left_open_in_the_callers_pool_is_none_of_the_queues() {
    let (scratch, _) = Scratch::with_queue().await;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(scratch.options()).await.unwrap();
    let queue = PostgresQueue::with_config(PostgresConfig::pool(pool.clone())).await.unwrap();
    queue.stats().await.unwrap();

    for calls in 1..=4 {
        let mut left = pool.acquire().await.unwrap();
        say(&mut left, "BEGIN".to_owned()).await.unwrap();
        if calls > 2 {
            say(&mut left, "SELECT 1 / 0".to_owned()).await.expect_err("the transaction has failed");
        }
        left.return_to_pool().await;
        let id = match calls {
            1 | 3 => queue.enqueue(task()).await.unwrap(),
            _ => queue.enqueue(task().unique_key(calls)).await.unwrap(),
        };

        let stored = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM tasks");
        let stored = stored.fetch_one(&mut scratch.connect().await).await.unwrap();
        assert_eq!(stored, calls, "{id} is committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_inserted_by_sql_is_a_task_like_any_other() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = scratch.connect().await;
    let run = async |sql: &'static str| say(&mut connection, sql.to_owned()).await.unwrap();
    assert_inserted_tasks_are_like_any_other(&queue, "PostgreSQL", run).await;
}
