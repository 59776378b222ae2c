//! A node that is lost under load, and what its clients find at the next one.

use std::time::Duration;

use taskqueue_mysql::{Lease, MysqlQueue, Outcome, Queue, Settled, Settlement};

use crate::bed::{Cluster, claim_one, request, task, wait_until, wait_until_ok};
use crate::load::Load;

/// Soon over, so that what was claimed and not settled comes back within the test.
const LEASE: Duration = Duration::from_secs(5);

/// How one lease is settled.
pub(crate) async fn settle(queue: &MysqlQueue, lease: &Lease) -> Settled {
    let settlement = Settlement::new(lease.clone(), Outcome::done());
    wait_until_ok(async || queue.settle_many(vec![settlement.clone()]).await).await[0]
}

/// Loses the node that the address leads to, as `lose` does, which answers where to go on.
pub(crate) async fn assert_nothing_is_lost_with(cluster: &Cluster, lose: impl AsyncFnOnce() -> usize) {
    let (one, other) = (cluster.queue().await, cluster.queue().await);
    let stale = stale_lease(&one).await;
    let load = Load::that_loses(&[one.clone(), other], LEASE);
    load.completes(200).await;

    let next = lose().await;
    cluster.lead_to(next);

    load.completes(200).await;
    load.ends(&one).await;
    cluster.assert_stats_match_the_rows(&one, next).await;
    assert_eq!(settle(&one, &stale).await, Settled::LeaseLost, "somebody else has worked it");
}

/// A lease that its worker still has when it is over.
async fn stale_lease(queue: &MysqlQueue) -> Lease {
    wait_until_ok(async || queue.enqueue(task()).await).await;
    stale_lease_of(queue).await
}

/// What is claimed before a node is lost can be settled after it, by who has the lease and by nobody else.
pub(crate) async fn assert_leases_outlast(cluster: &Cluster, lose: impl AsyncFnOnce() -> usize) {
    let queue = cluster.queue().await;
    wait_until_ok(async || queue.enqueue(task()).await).await;
    let stale = stale_lease_of(&queue).await;
    let live = claim_one(&queue, Duration::from_secs(600)).await.lease;

    let next = lose().await;
    cluster.lead_to(next);
    cluster.proxy.cut().await;

    assert_eq!(settle(&queue, &stale).await, Settled::LeaseLost);
    assert_eq!(settle(&queue, &live).await, Settled::Applied);
    assert_eq!(settle(&queue, &live).await, Settled::Repeated);
    assert!(wait_until_ok(async || queue.dequeue_many(&request(1, LEASE)).await).await.is_empty());
}

/// A lease of the only task, which is over.
async fn stale_lease_of(queue: &MysqlQueue) -> Lease {
    let claim = claim_one(queue, Duration::from_secs(1)).await;
    wait_until("the lease ends", async || {
        wait_until_ok(async || queue.reclaim_stale(10).await).await.released > 0
    })
    .await;
    claim.lease
}
