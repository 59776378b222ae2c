//! Workers are roused by what others do to the file.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail them as the tests do")]

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use sqlx::{Connection, SqliteConnection};
use taskqueue_sqlite::{NewTask, Queue, SqliteConfig, SqliteQueue, WakeListener, WakeUpMode};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far more than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn path(folder: &TempDir) -> String {
    folder.path().join("q.db").to_str().unwrap().to_owned()
}

async fn queue_in(folder: &TempDir) -> SqliteQueue {
    let queue = SqliteQueue::connect(&path(folder)).await.unwrap();
    queue.migrate().await.unwrap();
    queue
}

fn welcome() -> NewTask {
    NewTask::raw("welcome", "{}").unwrap()
}

async fn soon<T>(waited_for: impl Future<Output = T>) -> T {
    timeout(LIMIT, waited_for).await.expect("it never comes")
}

/// A signal of the queue that watches: its first notification says so.
async fn watching(queue: &SqliteQueue) -> WakeListener {
    let mut listener = queue.wake_up().listen();
    soon(listener.notified()).await;
    listener
}

#[tokio::test]
async fn an_enqueue_of_another_process_rouses_whoever_waits() {
    let folder = folder();
    let (waiting, other) = (queue_in(&folder).await, queue_in(&folder).await);
    let mut listener = watching(&waiting).await;
    for _ in 0..3 {
        other.enqueue(welcome()).await.unwrap();
        soon(listener.notified()).await;
    }
}

#[tokio::test]
async fn a_commit_of_the_callers_own_transaction_rouses_whoever_waits() {
    let folder = folder();
    let queue = queue_in(&folder).await;
    let mut listener = watching(&queue).await;
    let mut orders = SqliteConnection::connect(&path(&folder)).await.unwrap();
    let mut tx = orders.begin_with("BEGIN IMMEDIATE").await.unwrap();
    queue.enqueue_in(&mut tx, welcome()).await.unwrap();
    assert!(listener.notified().now_or_never().is_none(), "not before the commit");
    tx.commit().await.unwrap();
    soon(listener.notified()).await;
}

#[tokio::test]
async fn a_queue_that_is_dropped_or_closed_watches_no_more() {
    for is_closed in [false, true] {
        let folder = folder();
        let queue = queue_in(&folder).await;
        watching(&queue).await;
        if is_closed {
            queue.close().await;
        }
        drop(queue);
        // The last connection takes the log with it.
        let log = format!("{}-wal", path(&folder));
        let gone = async {
            while Path::new(&log).exists() {
                tokio::task::yield_now().await;
            }
        };
        soon(gone).await;
    }
}

#[tokio::test]
async fn a_queue_that_is_set_not_to_watch_is_roused_by_itself_only() {
    let folder = folder();
    let other = queue_in(&folder).await;
    let config = SqliteConfig::new(&path(&folder)).unwrap().wake_up(WakeUpMode::Off);
    let queue = SqliteQueue::with_config(config).await.unwrap();
    let watched = queue_in(&folder).await;
    let mut listener = queue.wake_up().listen();
    let mut of_watched = watching(&watched).await;
    other.enqueue(welcome()).await.unwrap();
    soon(of_watched.notified()).await;
    assert!(listener.notified().now_or_never().is_none());
    queue.enqueue(welcome()).await.unwrap();
    assert!(listener.notified().now_or_never().is_some());
}
