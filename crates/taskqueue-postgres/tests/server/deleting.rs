//! Completions that delete: on queues that are set so, also inside the caller's own transaction.

use taskqueue_conformance::assert_completed_tasks_are_deleted;
use taskqueue_postgres::{Completed, ErrorKind, PostgresConfig, PostgresQueue, Queue, Status};

use crate::scratch::{PATIENCE, Scratch, claim_one, pool, request, task, tasks};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_keep_what_is_completed_and_queues_that_delete_it_share_a_table() {
    let (scratch, keeping) = Scratch::with_queue().await;
    let deleting = deleting_queue(&scratch).await;
    keeping.enqueue_many(tasks(4)).await.unwrap();
    let by_deleting = [claim_one(&deleting).await, claim_one(&deleting).await];
    let by_keeping = claim_one(&keeping).await;
    for queue in [&keeping, &deleting] {
        let stats = queue.stats().await.unwrap();
        assert_eq!((stats.pending, stats.running), (1, 3));
    }

    // Each completes what the other one has claimed.
    let [kept, running] = by_deleting;
    keeping.complete(kept.lease).await.unwrap();
    deleting.complete(by_keeping.lease).await.unwrap();
    assert_eq!(keeping.get(kept.task.id).await.unwrap().status, Status::Completed);
    assert_eq!(deleting.get(by_keeping.task.id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);

    let last = claim_one(&keeping).await;
    assert!(last.task.id != running.task.id, "it runs already");
    for queue in [&keeping, &deleting] {
        assert!(queue.dequeue_many(&request(4)).await.unwrap().is_empty());
        let stats = queue.stats().await.unwrap();
        assert_eq!((stats.pending, stats.running, stats.completed), (0, 2, 2));
    }
}
