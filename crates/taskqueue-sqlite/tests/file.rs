//! What is unique to the SQLite backend: the file, the processes that share it, the caller's own transactions. What every backend does is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail them as the tests do")]

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use taskqueue_conformance::{assert_completed_tasks_are_deleted, assert_inserted_tasks_are_like_any_other};
use taskqueue_sqlite::{
    ClaimRequest, Cleanup, Completed, Enqueued, ErrorKind, ManualClock, NewTask, Outcome, Queue, Redrive,
    Settled, Settlement, SqliteConfig, SqliteQueue, Status, TableName, TaskFilter, TaskType, WorkerId,
};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

async fn queue_in(folder: &Path) -> SqliteQueue {
    let queue = SqliteQueue::connect(folder.join("q.db").to_str().unwrap()).await.unwrap();
    queue.migrate().await.unwrap();
    queue
}

fn welcome(number: usize) -> NewTask {
    NewTask::raw("welcome", number.to_string()).unwrap()
}

fn claim_welcome(worker: &str, limit: usize) -> ClaimRequest {
    ClaimRequest::new(WorkerId::new(worker).unwrap(), [TaskType::new("welcome").unwrap()], limit)
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let folder = folder();
    let path = folder.path().join("missing").join("q.db");
    let error = SqliteQueue::connect(path.to_str().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, and long enough for it to be seen as none".repeat(20))
        .unwrap();
    let error = SqliteQueue::connect(text.to_str().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
}

#[tokio::test]
async fn what_was_enqueued_is_there_after_a_reopen() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let id = queue.enqueue(welcome(7).region("eu").metadata("trace", "1").unique_key(7)).await.unwrap();
    let before = queue.get(id).await.unwrap();
    queue.close().await;
    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::QueueClosed);

    let reopened = queue_in(folder.path()).await;
    assert_eq!(reopened.get(id).await.unwrap(), before);
}

#[tokio::test]
async fn completed_tasks_are_deleted_where_the_queue_is_set_so() {
    let folder = folder();
    let path = folder.path().join("q.db");
    let config = SqliteConfig::new(path.to_str().unwrap()).unwrap().completed(Completed::Delete);
    let queue = SqliteQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();

    assert_completed_tasks_are_deleted(&queue).await;
}

#[tokio::test]
async fn two_queues_in_one_file_do_not_see_each_other() {
    let folder = folder();
    let first = queue_in(folder.path()).await;
    let config = SqliteConfig::new(folder.path().join("q.db").to_str().unwrap()).unwrap();
    let second = SqliteQueue::with_config(config.table(TableName::new("outbox").unwrap())).await.unwrap();
    second.migrate().await.unwrap();

    first.enqueue(welcome(1)).await.unwrap();
    assert_eq!(second.stats().await.unwrap().pending, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_share_a_file_never_claim_the_same_task() {
    let folder = folder();
    queue_in(folder.path()).await.enqueue_many((0..600).map(welcome).collect()).await.unwrap();

    let claimers: Vec<_> = ["a", "b", "c"]
        .map(|worker| {
            let path = folder.path().to_owned();
            tokio::spawn(async move {
                let queue = queue_in(&path).await;
                let mut ids = Vec::new();
                loop {
                    let claims = queue.dequeue_many(&claim_welcome(worker, 7)).await.unwrap();
                    if claims.is_empty() {
                        return ids;
                    }
                    ids.extend(claims.iter().map(|claim| claim.task.id));
                    let settle =
                        |claim: taskqueue_sqlite::Claim| Settlement::new(claim.lease, Outcome::done());
                    let settled = queue.settle_many(claims.into_iter().map(settle).collect()).await.unwrap();
                    assert!(settled.iter().all(|settled| *settled == Settled::Applied));
                }
            })
        })
        .into_iter()
        .collect();

    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(all.len(), 600);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 600);
    assert_eq!(queue_in(folder.path()).await.stats().await.unwrap().completed, 600);
}

#[tokio::test]
async fn a_write_that_others_block_is_counted_and_can_be_tried_again() {
    let folder = folder();
    let config = SqliteConfig::new(folder.path().join("q.db").to_str().unwrap()).unwrap();
    let queue = SqliteQueue::with_config(config.busy_timeout(Duration::ZERO)).await.unwrap();
    queue.migrate().await.unwrap();
    let mut other = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    let blocking = other.begin_with("BEGIN IMMEDIATE").await.unwrap();

    let error = queue.enqueue(welcome(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    assert_eq!(queue.contention_retries(), 2);
    assert_eq!(
        (queue.clone().take_contention_retries(), queue.take_contention_retries()),
        (2, 0),
        "each once"
    );

    assert_eq!(queue.stats().await.unwrap().pending, 0, "readers are not blocked");
    blocking.rollback().await.unwrap();
    queue.enqueue(welcome(1)).await.unwrap();
}

#[tokio::test]
async fn an_enqueue_in_the_callers_transaction_is_there_only_if_that_commits() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let mut orders = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();

    let mut tx = orders.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let undone = queue.enqueue_in(&mut tx, welcome(1)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(queue.get(undone).await.unwrap_err().kind(), ErrorKind::TaskNotFound);

    let mut tx = orders.begin().await.unwrap();
    let done = queue.enqueue_in(&mut tx, welcome(2)).await.unwrap();
    assert_eq!(queue.get(done).await.unwrap_err().kind(), ErrorKind::TaskNotFound, "not before the commit");
    tx.commit().await.unwrap();
    assert_eq!(queue.get(done).await.unwrap().status, Status::Pending);
}

#[tokio::test]
async fn a_completion_in_the_callers_transaction_is_fenced_and_undone_with_it() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let id = queue.enqueue(welcome(1)).await.unwrap();
    let lease = queue.dequeue_many(&claim_welcome("a", 1)).await.unwrap().remove(0).lease;
    let mut orders = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();

    let mut tx = orders.begin().await.unwrap();
    queue.complete_in(&mut tx, lease.clone()).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running);

    queue.cancel(id).await.unwrap();
    let mut tx = orders.begin().await.unwrap();
    let error = queue.complete_in(&mut tx, lease).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn a_refused_enqueue_leaves_the_callers_transaction_usable() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let mut orders = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    let mut tx = orders.begin().await.unwrap();
    let first = queue.enqueue_in(&mut tx, welcome(1).unique_key("k")).await.unwrap();

    let error = queue.enqueue_in(&mut tx, welcome(2).unique_key("k")).await.unwrap_err();
    assert_eq!((error.kind(), error.task_id()), (ErrorKind::DuplicateUnique, Some(first)));
    let error = queue.enqueue_in(&mut tx, welcome(3).max_retries(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    tx.commit().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1);
}

#[tokio::test]
async fn a_follow_up_that_the_database_refuses_leaves_the_task_running_and_uncounted() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let id = queue.enqueue(welcome(1)).await.unwrap();
    let lease = queue.dequeue_many(&claim_welcome("a", 1)).await.unwrap().remove(0).lease;
    let mut other = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    sqlx::raw_sql(
        "CREATE TRIGGER refusal BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'none is taken'); END",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let next = welcome(2);
    let done = vec![Settlement::new(lease, Outcome::done().then(next.clone()))];

    let error = queue.settle_many(done.clone()).await.unwrap_err();
    assert!(error.to_string().contains("none is taken"), "{error}");
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.running, stats.completed), (1, 0));
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running);

    sqlx::raw_sql("DROP TRIGGER refusal").execute(&mut other).await.unwrap();
    assert_eq!(queue.settle_many(done).await.unwrap(), [Settled::Applied]);
    assert_eq!(queue.get(next.id).await.unwrap().status, Status::Pending);
}

#[tokio::test]
async fn a_dropped_call_leaves_no_transaction_open() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    for polls in 0..200 {
        let call = queue.enqueue_many((0..50).map(welcome).collect());
        tokio::select! {
            biased;
            _ = call => {}
            () = yield_times(polls) => {}
        }
    }
    queue.enqueue(welcome(1)).await.unwrap();
    queue.close().await;
    let reopened = queue_in(folder.path()).await;
    let pending = reopened.stats().await.unwrap().pending;
    assert_eq!(pending % 50, 1, "each call happened whole or not at all; {pending} tasks");
    let mut other = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut other).await.unwrap();
    other.begin_with("BEGIN EXCLUSIVE").await.expect("nothing holds a lock");
}

async fn yield_times(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_types_than_one_query_takes_are_claimed_in_one_order() {
    let queue = SqliteQueue::connect("sqlite::memory:").await.unwrap();
    queue.migrate().await.unwrap();
    let types: Vec<TaskType> = (0..250).map(|number| TaskType::new(format!("t{number}")).unwrap()).collect();
    let tasks: Vec<NewTask> =
        types.iter().rev().map(|name| NewTask::raw(name.as_str(), "1").unwrap()).collect();
    let expected: Vec<_> = tasks.iter().map(|task| task.id).take(120).collect();
    queue.enqueue_many(tasks).await.unwrap();

    let claims =
        queue.dequeue_many(&ClaimRequest::new(WorkerId::new("w").unwrap(), types, 120)).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_sums_over_finished_tasks_match_a_count_of_the_rows() {
    let clock = ManualClock::default();
    let folder = folder();
    let path = folder.path().join("q.db");
    let config = SqliteConfig::new(path.to_str().unwrap()).unwrap().clock(clock.clone()).max_reclaims(0);
    let queue = SqliteQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    queue.enqueue_many((0..40).map(welcome).collect()).await.unwrap();
    let mut claims = queue.dequeue_many(&claim_welcome("w", 30)).await.unwrap();
    clock.advance(Duration::from_millis(5));
    let outcomes = [Outcome::done(), Outcome::permanent("no"), Outcome::fail("later"), Outcome::Release];
    let settlements = claims.drain(..20).zip(outcomes.iter().cycle());
    let settlements =
        settlements.map(|(claim, outcome)| Settlement::new(claim.lease, outcome.clone())).collect();
    queue.settle_many(settlements).await.unwrap();
    queue.cancel(claims[0].task.id).await.unwrap();
    clock.advance(queue.visibility_timeout());
    assert_eq!(queue.reclaim_stale(3).await.unwrap().dead_lettered, 3);
    queue.redrive(&Redrive::Any { task_type: None, limit: 2 }).await.unwrap();
    queue.cleanup(Cleanup::new(Duration::ZERO, 4)).await.unwrap();

    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let counted: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT status, count(*), sum(CASE status WHEN 3 THEN completed_at - started_at ELSE 0 END) \
         FROM tasks WHERE status IN (3, 5, 6) GROUP BY status ORDER BY status",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let sums: Vec<(i64, i64, i64)> =
        sqlx::query_as("SELECT status, tasks, busy_us FROM tasks_totals WHERE tasks > 0 ORDER BY status")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(sums, counted);
    assert!(sums.len() >= 2, "the test reached several finished states: {sums:?}");
}

#[tokio::test]
async fn a_batch_answers_task_by_task_as_if_enqueued_alone() {
    let queue = SqliteQueue::connect("sqlite::memory:").await.unwrap();
    queue.migrate().await.unwrap();
    let holder = welcome(1).unique_key("k");
    let known = welcome(2);
    queue.enqueue_many(vec![holder.clone(), known.clone()]).await.unwrap();
    let fresh = welcome(3).unique_key("new");
    let batch = vec![
        welcome(4).unique_key("k"),
        welcome(2).id(known.id).unique_key("k"),
        fresh.clone(),
        welcome(5).unique_key("new"),
        fresh.clone(),
    ];

    let answers = queue.enqueue_many(batch).await.unwrap();
    assert_eq!(
        answers,
        [
            Enqueued::Duplicate(holder.id),
            Enqueued::Repeated(known.id),
            Enqueued::Created(fresh.id),
            Enqueued::Duplicate(fresh.id),
            Enqueued::Repeated(fresh.id),
        ]
    );
    let filter = TaskFilter { status: Some(Status::Pending), ..TaskFilter::default() };
    assert_eq!(queue.list(&filter).await.unwrap().tasks.len(), 3);
}

#[tokio::test]
async fn a_task_that_was_inserted_by_sql_is_a_task_like_any_other() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let mut other = SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    let run = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    };
    assert_inserted_tasks_are_like_any_other(&queue, "SQLite", run).await;
}
