//! The replica that takes over has not got the last commits: asynchronous replication. What was lost is lost, and what a process
//! remembers of it misleads nobody.

use std::time::Duration;

use taskqueue_postgres::{
    Enqueued, Heartbeat, Outcome, PostgresQueue, Queue, Scanning, Settled, Settlement, Status,
};

use crate::bed::{
    Cluster, assert_stats_match_the_rows, claim_all, claim_one, request, say, task, tasks, wait_until,
    wait_until_ok,
};

/// Claims start at the cursors from the first one on.
const ALWAYS_AHEAD: Scanning = Scanning { slow: Duration::ZERO, rests: 0 };

async fn complete(queue: &PostgresQueue, lease: &taskqueue_postgres::Lease) -> Settled {
    let done = || vec![Settlement::new(lease.clone(), Outcome::done().then(task()))];
    wait_until_ok(async || queue.settle_many(done()).await).await[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_claim_was_lost_can_settle_neither_the_task_nor_the_next_workers_run() {
    let cluster = Cluster::asynchronous().await;
    let queue = cluster.queue().await;
    let ids = queue.enqueue_many(tasks(2)).await.unwrap();
    cluster.part().await;
    let claims = queue.dequeue_many(&request(2)).await.unwrap();
    let [one, other] = [0, 1].map(|number: usize| claims[number].lease.clone());

    cluster.fail_over().await;

    assert_eq!(complete(&queue, &one).await, Settled::LeaseLost, "nobody has claimed it yet");
    let next = claim_all(&queue, ids.len()).await;
    let of_one = next.iter().find(|claim| claim.task.id == one.task_id).unwrap();
    assert_eq!(of_one.lease.number, one.number, "the number of the lost claim is given again");
    assert_eq!(complete(&queue, &one).await, Settled::LeaseLost);
    assert_eq!(complete(&queue, &other).await, Settled::LeaseLost);
    let heard = queue.heartbeat_many(&[one], None).await.unwrap();
    assert_eq!(heard, [Heartbeat::Lost]);
    for claim in next {
        assert_eq!(complete(&queue, &claim.lease).await, Settled::Applied);
    }
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.completed, stats.pending), (2, 2), "each has one follow-up");
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_can_be_enqueued_again_and_totals_count_what_is_there() {
    let cluster = Cluster::asynchronous().await;
    let queue = cluster.queue().await;
    for id in queue.enqueue_many(tasks(3)).await.unwrap() {
        assert!(matches!(id, Enqueued::Created(_)));
        let claim = claim_one(&queue).await;
        queue.complete(claim.lease).await.unwrap();
    }
    let kept = queue.enqueue(task().unique_key("kept")).await.unwrap();
    cluster.part().await;
    let lost = [task(), task().unique_key("lost")];
    queue.enqueue_many(lost.to_vec()).await.unwrap();
    let leases = queue.dequeue_many(&request(3)).await.unwrap().into_iter().map(|claim| claim.lease);
    let done = leases.map(|lease| Settlement::new(lease, Outcome::done())).collect();
    assert_eq!(queue.settle_many(done).await.unwrap(), [Settled::Applied; 3]);
    assert_eq!(queue.stats().await.unwrap().completed, 6);

    cluster.fail_over().await;

    let stats = wait_until_ok(async || queue.stats().await).await;
    assert_eq!((stats.completed, stats.pending), (3, 1), "what was lost is lost");
    assert_eq!(queue.get(kept).await.unwrap().status, Status::Pending);
    let again = queue.enqueue_many(lost.to_vec()).await.unwrap();
    assert_eq!(again, lost.each_ref().map(|task| Enqueued::Created(task.id)));
    let claims = claim_all(&queue, 3).await;
    let done = claims.into_iter().map(|claim| Settlement::new(claim.lease, Outcome::done())).collect();
    assert_eq!(queue.settle_many(done).await.unwrap(), [Settled::Applied; 3]);
    // The fold and the check of claims go by what the new server has.
    queue.reclaim_stale(1_000).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().completed, 6);
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
}

/// Cursors are always in use here, and stand behind all that the new server has.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_are_ahead_of_the_new_server_hide_no_task() {
    let cluster = Cluster::asynchronous().await;
    let queue = cluster.queue_with(|config| config.testing.scanning = ALWAYS_AHEAD).await;
    queue.enqueue_many(tasks(50)).await.unwrap();
    cluster.part().await;
    queue.enqueue_many(tasks(200)).await.unwrap();
    let mut claimed = 0;
    while claimed < 250 {
        let claims = queue.dequeue_many(&request(10)).await.unwrap();
        claimed += claims.len();
        let done = claims.into_iter().map(|claim| Settlement::new(claim.lease, Outcome::done())).collect();
        queue.settle_many(done).await.unwrap();
    }

    cluster.fail_over().await;
    // The cursors stand where nothing has been on this server; what it has is behind them.
    say(cluster.replica(), "UPDATE tasks SET queue_at = queue_at - interval '1 minute'").await;

    let mut again = 0;
    wait_until("what the new server has is claimed", async || {
        again += wait_until_ok(async || queue.dequeue_many(&request(10)).await).await.len();
        again == 50
    })
    .await;
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
}
