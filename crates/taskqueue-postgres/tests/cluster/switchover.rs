//! A primary that becomes a replica in good order, and a queue that meets a server that takes no writes.

use taskqueue_postgres::{Error, PostgresQueue, Queue, Status, TaskFilter, TaskId};

use crate::bed::{
    Cluster, LIMIT, assert_stats_match_the_rows, assert_unavailable, claim_all, claim_one, request, task,
    tasks, wait_until, wait_until_ok, wait_until_says,
};
use crate::load::{Load, worker};

/// What the queues have on a server.
const SESSIONS: &str = "SELECT count(*)::text FROM pg_stat_activity \
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// Enqueues until the server says that it takes no writes; answers how it says so.
async fn refusal(queue: &PostgresQueue) -> Error {
    let refusing = async {
        loop {
            if let Err(error) = queue.enqueue(task()).await {
                assert_unavailable(&error);
                if error.to_string().contains("takes no writes") {
                    return error;
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, refusing).await.expect("a replica refuses")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_switchover_the_queue_goes_on_and_keeps_no_connection_to_the_old_primary() {
    let cluster = Cluster::synchronous().await;
    let queue = cluster.queue().await;
    let mut listener = queue.wake_up().listen();
    let working = worker(&queue).start();
    let load = Load::start(&queue);
    wait_until("it hears others", async || listener.hears_others()).await;
    wait_until("tasks are enqueued", async || load.answered.enqueued().len() >= 500).await;

    cluster.switch_over().await;
    // Where it was, there is a replica now.
    cluster.lead_to(cluster.primary());
    refusal(&queue).await;
    assert!(!listener.hears_others(), "a replica lets nobody listen");
    cluster.lead_to(cluster.replica());

    let enqueued = load.answered.enqueued().len();
    wait_until("more is enqueued", async || load.answered.enqueued().len() >= enqueued + 500).await;
    let answered = load.stop().await;
    let is_idle = async || {
        let stats = wait_until_ok(async || queue.stats().await).await;
        stats.pending + stats.running + stats.failed == 0
    };
    wait_until("every task is worked", is_idle).await;
    wait_until("it hears others again", async || listener.hears_others()).await;
    tokio::time::timeout(LIMIT, listener.notified()).await.unwrap();
    working.stop().await;
    let some: Vec<TaskId> = answered.enqueued().iter().copied().take(100).collect();
    for id in some {
        assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    }
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
    wait_until_says(cluster.primary(), SESSIONS, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_a_replica_reads_and_says_why_it_writes_nothing_until_that_is_promoted() {
    let cluster = Cluster::asynchronous().await;
    let primary = cluster.queue().await;
    let ids = primary.enqueue_many(tasks(3)).await.unwrap();
    primary.complete(claim_one(&primary).await.lease).await.unwrap();
    let lease = claim_one(&primary).await.lease;
    cluster.part().await;

    cluster.lead_to(cluster.replica());
    let queue = cluster.queue().await;
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
    assert_eq!(queue.list(&TaskFilter::default()).await.unwrap().tasks.len(), ids.len());
    assert_eq!(queue.get(ids[2].id()).await.unwrap().status, Status::Pending);
    assert!(queue.paused().await.unwrap().is_empty());
    let refusals = [
        queue.enqueue(task()).await.unwrap_err(),
        queue.dequeue_many(&request(1)).await.unwrap_err(),
        queue.reclaim_stale(10).await.unwrap_err(),
        queue.promote_due(10).await.unwrap_err(),
        queue.pause(&crate::bed::mail()).await.unwrap_err(),
    ];
    cluster.lead_to(cluster.primary());
    queue.complete(lease).await.expect("connections that refused a write are closed");
    cluster.primary().kill().await;
    cluster.promote().await;

    for refusal in refusals {
        assert_unavailable(&refusal);
        assert!(refusal.to_string().contains("takes no writes"), "{refusal}");
    }
    wait_until_ok(async || queue.enqueue(task()).await).await;
    assert_eq!(claim_all(&queue, 2).await.len(), 2);
}
