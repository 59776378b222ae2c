//! The tables of an SQLite file: those that are not there, made by several at once, of a newer version, of an application.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail them as the tests do")]

use std::path::Path;

use sqlx::{Connection, SqliteConnection};
use taskqueue_migrations::Engine;
use taskqueue_sqlite::{ErrorKind, NewTask, Queue, SqliteQueue};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

async fn queue_in(folder: &Path) -> SqliteQueue {
    let queue = SqliteQueue::connect(folder.join("q.db").to_str().unwrap()).await.unwrap();
    queue.migrate().await.unwrap();
    queue
}

fn task() -> NewTask {
    NewTask::raw("welcome", "1").unwrap()
}

#[tokio::test]
async fn a_database_that_was_not_migrated_says_so() {
    let folder = folder();
    let queue = SqliteQueue::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();

    for error in [queue.enqueue(task()).await.unwrap_err(), queue.stats().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NotMigrated);
        assert!(error.to_string().contains("migrate"), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn the_version_of_the_tables_is_told_and_is_none_before_they_are_made() {
    let folder = folder();
    let queue = SqliteQueue::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();

    let before = queue.schema_version().await.unwrap();
    queue.migrate().await.unwrap();

    assert_eq!((before, queue.schema_version().await.unwrap()), (0, Engine::Sqlite.newest()));
    queue.close().await;
    assert_eq!(queue.schema_version().await.unwrap_err().kind(), ErrorKind::QueueClosed);
}

#[tokio::test]
async fn processes_that_open_and_migrate_at_once_all_succeed() {
    let folder = folder();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let path = folder.path().to_owned();
            tokio::spawn(async move { queue_in(&path).await })
        })
        .collect();
    for queue in opening {
        queue.await.unwrap().enqueue(task()).await.unwrap();
    }
    assert_eq!(queue_in(folder.path()).await.stats().await.unwrap().pending, 8);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = folder();
    let queue = queue_in(folder.path()).await;
    let mut connection =
        SqliteConnection::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
    sqlx::query("INSERT INTO tasks_migrations VALUES (9000, 'later', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    let error = queue.migrate().await.unwrap_err();
    assert!(error.to_string().contains("9000"), "{error}");
}

#[tokio::test]
async fn a_table_of_the_application_is_refused_and_nothing_is_made_beside_it() {
    let folder = folder();
    let path = folder.path().join("q.db");
    let queue = SqliteQueue::connect(path.to_str().unwrap()).await.unwrap();
    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE Tasks (title TEXT)").execute(&mut other).await.unwrap();

    for _ in 0..2 {
        let error = queue.migrate().await.unwrap_err();
        assert!(error.to_string().contains("the table tasks is there and is no queue's"), "{error}");
    }

    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut other).await.unwrap();
    assert_eq!(tables, 1, "the application's own");
}
