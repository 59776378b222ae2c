//! A database whose tables are all published, as for logical replication or change capture.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};
use taskqueue_postgres::{Claim, Cleanup, PostgresQueue, Queue};

use crate::scratch::{Scratch, request, tasks};
use crate::support::say;

/// More rows of sums than statistics are fast with.
const SUMS: usize = 300;

async fn published() -> (Scratch, PostgresQueue) {
    let (scratch, queue) = Scratch::with_queue().await;
    let publish = "CREATE PUBLICATION everything FOR ALL TABLES".to_owned();
    say(&mut scratch.connect().await, publish).await.unwrap();
    (scratch, queue)
}

/// Claims a task, and ends its lease.
async fn lose_one(scratch: &Scratch, queue: &PostgresQueue) {
    queue.enqueue_many(tasks(1)).await.unwrap();
    assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1);
    let end = "UPDATE tasks SET lease_until = now() - interval '1 second' WHERE status = 2; \
         UPDATE tasks_leases SET check_at = now() - interval '1 second'";
    say(&mut scratch.connect().await, end.to_owned()).await.unwrap();
}

/// Completes so many tasks, each by a call of its own.
async fn complete_one_by_one(queue: &PostgresQueue, count: usize) {
    queue.enqueue_many(tasks(count)).await.unwrap();
    for Claim { lease, .. } in queue.dequeue_many(&request(count)).await.unwrap() {
        queue.complete(lease).await.unwrap();
    }
}

async fn number(scratch: &Scratch, sql: &'static str) -> i64 {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut scratch.connect().await).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_tables_are_published_reclaims_folds_and_cleanups_go_on() {
    let (scratch, queue) = published().await;
    complete_one_by_one(&queue, SUMS).await;
    lose_one(&scratch, &queue).await;

    assert_eq!(queue.reclaim_stale(10).await.unwrap().released, 1);
    assert_eq!(number(&scratch, "SELECT count(*) FROM tasks_totals").await, 1, "the sums are folded");
    let all = Cleanup::new(Duration::ZERO, 2 * SUMS);
    assert_eq!(queue.cleanup(all).await.unwrap(), SUMS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_fails_keeps_no_task_from_being_taken_back() {
    let (scratch, queue) = published().await;
    let unnamed = "ALTER TABLE tasks_totals REPLICA IDENTITY NOTHING".to_owned();
    say(&mut scratch.connect().await, unnamed).await.unwrap();
    lose_one(&scratch, &queue).await;

    assert_eq!(queue.reclaim_stale(10).await.unwrap().released, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_names_its_rows_to_those_who_follow_changes() {
    let (scratch, _queue) = Scratch::with_queue().await;
    let nameless = "SELECT count(*) FROM pg_class AS c WHERE relkind = 'r' AND relname LIKE 'tasks%' \
         AND relreplident <> 'f' \
         AND NOT EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)";
    assert_eq!(number(&scratch, nameless).await, 0);
    assert!(number(&scratch, "SELECT count(*) FROM pg_class WHERE relname = 'tasks_totals'").await == 1);
}
