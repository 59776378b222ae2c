//! Completions that delete: on queues that are set so, also inside the caller's own transaction.

use taskqueue_conformance::assert_completed_tasks_are_deleted;
use taskqueue_postgres::{Completed, ErrorKind, PostgresConfig, PostgresQueue, Queue, Status};

use crate::scratch::{PATIENCE, Scratch, claim_one, pool, task};
use crate::support::prepares;

async fn deleting_queue(scratch: &Scratch) -> PostgresQueue {
    let mut config = PostgresConfig::pool(pool(scratch.options(), PATIENCE));
    config.prepared_statements = prepares();
    config.options.completed = Completed::Delete;
    let queue = PostgresQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    queue
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed_tasks_are_deleted_where_the_queue_is_set_so() {
    let scratch = Scratch::new().await;

    assert_completed_tasks_are_deleted(&deleting_queue(&scratch).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_in_the_callers_transaction_is_undone_with_it() {
    let scratch = Scratch::new().await;
    let queue = deleting_queue(&scratch).await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let mut transaction = queue.pool().begin().await.unwrap();
    queue.complete_in(&mut transaction, lease.clone()).await.unwrap();
    transaction.rollback().await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().status, Status::Running);
    assert_eq!(queue.stats().await.unwrap().completed, 0);
    queue.complete(lease).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
}
