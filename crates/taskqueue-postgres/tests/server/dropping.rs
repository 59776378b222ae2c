//! Callers that give up: their futures are dropped anywhere, and the pool stays clean.

use std::time::Duration;

use rand::RngExt as _;
use sqlx::{PgConnection, Row as _};
use taskqueue_postgres::{
    Cleanup, ErrorKind, Outcome, PostgresQueue, Queue, Redrive, Settlement, TaskFilter, TaskId,
};

use crate::scratch::{Scratch, mail, request, task, tasks};

const ROUNDS: usize = 40;
const OPERATIONS: usize = 16;

/// One call of each kind; what it answers is nobody's business here.
async fn call(queue: PostgresQueue, operation: usize) {
    match operation {
        0 => drop(queue.enqueue_many(tasks(3)).await),
        1 => drop(queue.dequeue_many(&request(2)).await),
        2 => {
            if let Ok(claims) = queue.dequeue_many(&request(2)).await {
                let settle = |claim: taskqueue_postgres::Claim| {
                    Settlement::new(claim.lease, Outcome::done().then(task()))
                };
                drop(queue.settle_many(claims.into_iter().map(settle).collect()).await);
            }
        }
        3 => {
            if let Ok(claims) = queue.dequeue_many(&request(2)).await {
                let leases: Vec<_> = claims.into_iter().map(|claim| claim.lease).collect();
                drop(queue.heartbeat_many(&leases, None).await);
            }
        }
        4 => drop(queue.cancel(TaskId::generate()).await),
        5 => drop(queue.get(TaskId::generate()).await),
        6 => drop(queue.list(&TaskFilter::default()).await),
        7 => drop(queue.stats().await),
        8 => drop(queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await),
        9 => drop(queue.reclaim_stale(10).await),
        10 => drop(queue.promote_due(10).await),
        11 => drop(queue.redrive(&Redrive::Any { task_type: None, limit: 10 }).await),
        12 => drop(queue.pause(&mail()).await),
        13 => drop(queue.resume(&mail()).await),
        14 => drop(queue.paused().await),
        _ => drop(queue.backend().await),
    }
}

async fn sessions_in_transactions(connection: &mut PgConnection) -> i64 {
    let look = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'";
    sqlx::query_scalar(look).fetch_one(connection).await.unwrap()
}

async fn locks(connection: &mut PgConnection) -> i64 {
    let look = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) \
         WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND pid <> pg_backend_pid()";
    sqlx::query_scalar(look).fetch_one(connection).await.unwrap()
}

async fn wait_until_settled(observer: &mut PgConnection) {
    let settling = async {
        while sessions_in_transactions(observer).await > 0 || locks(observer).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), settling).await.expect("no transaction stays open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_leaves_no_transaction_and_no_lock_in_the_pool() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut observer = scratch.connect().await;

    for _ in 0..ROUNDS {
        for operation in 0..OPERATIONS {
            let patience = Duration::from_micros(rand::rng().random_range(0..4000));
            drop(tokio::time::timeout(patience, call(queue.clone(), operation)).await);
        }
        // Dropped calls run on to their end. The pool is fair: this one is behind them, so that a busy machine piles up
        // no more of them than it can end while the test waits.
        queue.stats().await.unwrap();
    }

    wait_until_settled(&mut observer).await;
    all_connections_are_usable(&queue).await;
    queue.resume(&mail()).await.unwrap();
    queue.enqueue(task()).await.unwrap();
}

/// A caller that uses the queue's pool itself gets no transaction of ours, and every place in it is free.
async fn all_connections_are_usable(queue: &PostgresQueue) {
    let mut held = Vec::new();
    for _ in 0..queue.pool().options().get_max_connections() {
        let mut connection = queue.pool().acquire().await.expect("every place of the pool is free");
        // Unprepared: a prepared statement begins its transaction before it runs.
        let open = sqlx::raw_sql("SELECT now() <> statement_timestamp()").fetch_one(&mut *connection);
        assert!(!open.await.unwrap().get::<bool, _>(0), "a transaction is open");
        held.push(connection);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_call_leaves_no_transaction_in_the_pool() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut observer = scratch.connect().await;
    sqlx::query("ALTER TABLE tasks RENAME TO hidden").execute(&mut observer).await.unwrap();

    for _ in 0..20 {
        let error = queue.enqueue(task()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotMigrated, "{error}");
        // It has a transaction of its own, as a plain enqueue has not.
        let error = queue.cancel(TaskId::generate()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotMigrated, "{error}");
    }
    sqlx::query("ALTER TABLE hidden RENAME TO tasks").execute(&mut observer).await.unwrap();

    queue.enqueue(task()).await.unwrap();
    all_connections_are_usable(&queue).await;
}
