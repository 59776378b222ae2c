//! A server that takes no writes any more, as after a failover: an error that says so, and no connection to it is
//! used again.

use sqlx::Connection;
use taskqueue_postgres::{Queue, Status};

use crate::scratch::{Scratch, assert_unavailable, claim_one, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_turned_read_only_is_unavailable_and_its_connections_are_not_kept() {
    let (scratch, queue) = Scratch::with_queue().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;

    scratch.set("default_transaction_read_only = on").await;
    scratch.end_sessions().await;
    // Meets the connections that were ended, then the server that takes no writes.
    let mut errors = Vec::new();
    while !errors.iter().any(|error: &taskqueue_postgres::Error| error.to_string().contains("read-only")) {
        errors.push(queue.enqueue(task()).await.unwrap_err());
        assert!(errors.len() < 20, "{errors:?}");
    }
    let settled = queue.complete(lease.clone()).await.unwrap_err();
    scratch.set("default_transaction_read_only = off").await;
    let back = queue.complete(lease).await;

    errors.iter().chain([&settled]).for_each(assert_unavailable);
    back.expect("the connections that said read-only are closed");
    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_read_only_transaction_is_refused_as_unavailable() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = scratch.connect().await;
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await.unwrap();

    let error = queue.enqueue_in(&mut transaction, task()).await.unwrap_err();

    assert_unavailable(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_the_server_cancels_is_unavailable() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut connection = scratch.connect().await;
    let mut holder = connection.begin().await.unwrap();
    queue.enqueue_in(&mut holder, task().unique_key("k")).await.unwrap();
    scratch.set("statement_timeout = '100ms'").await;
    let hurried = scratch.queue_by_url().await;

    let error = hurried.enqueue(task().unique_key("k")).await.unwrap_err();

    assert_unavailable(&error);
    assert!(error.to_string().contains("statement timeout"), "{error}");
}
