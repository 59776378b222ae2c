//! MySQL's Group Replication: one member writes and another takes over; or, where it is asked to, all write, and conflicts are
//! seen at the commit.

use std::time::Duration;

use taskqueue_mysql::{ErrorKind, NewTask, Outcome, Queue, Settled, Settlement};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::all_nodes::{assert_ids_and_keys_meet, assert_workers_share_the_tasks};
use crate::bed::{
    Cluster, Kind, STATEMENT, assert_unavailable, claim_one, say, task, wait_until, wait_until_ok,
};
use crate::losing::{assert_leases_outlast, assert_nothing_is_lost_with, settle};

async fn cluster() -> Cluster {
    Cluster::whole(Kind::GroupReplication).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_primary_that_is_killed_under_load() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    let kill = async || {
        cluster.node(primary).kill().await;
        cluster.primary_among(cluster.others(primary)).await
    };
    assert_nothing_is_lost_with(&cluster, kill).await;
    cluster.node(primary).start().await;
}

/// It goes on as a secondary, and so do its connections, until the queue closes them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_primary_that_hands_over_under_load() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    assert_nothing_is_lost_with(&cluster, async || hand_over(&cluster, primary).await).await;
}

/// Has another member become the primary; answers which.
async fn hand_over(cluster: &Cluster, primary: usize) -> usize {
    let next = cluster.others(primary).next().unwrap();
    let member = cluster.ask(next, "SELECT @@server_uuid").await.unwrap();
    say(cluster.node(primary), &format!("SELECT group_replication_set_as_primary('{member}')")).await;
    cluster.primary_among([next]).await
}

/// Its commits under way are rolled back by the server, or go on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_primary_that_leaves_under_load() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    let leave = async || {
        say(cluster.node(primary), "STOP GROUP_REPLICATION").await;
        cluster.primary_among(cluster.others(primary)).await
    };
    assert_nothing_is_lost_with(&cluster, leave).await;
    cluster.rejoin(primary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlasts_the_primary_that_it_was_claimed_on() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    assert_leases_outlast(&cluster, async || hand_over(&cluster, primary).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_reads_and_says_why_it_does_not_write() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    let secondary = cluster.others(primary).next().unwrap();
    wait_until("the database is there", async || cluster.ask(secondary, "SELECT 'yes'").await.is_ok()).await;
    let queue = cluster.connect_to(secondary).await.unwrap();
    assert_eq!(queue.stats().await.unwrap_err().kind(), ErrorKind::NotMigrated);
    let error = queue.migrate().await.unwrap_err();
    assert_unavailable(&error);
    assert!(error.to_string().contains("read-only"), "{error}");

    let id = cluster.queue_on(primary).await.enqueue(task()).await.unwrap();
    wait_until("the task is on the secondary", async || queue.get(id).await.is_ok()).await;
    queue.migrate().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1);
    for error in [
        queue.enqueue(task()).await.unwrap_err(),
        queue.enqueue(task().unique_key("key")).await.unwrap_err(),
        queue.cancel(id).await.unwrap_err(),
    ] {
        assert_unavailable(&error);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

/// Two of three are away. Commits wait for them, as long as a statement may; they are done when those are back, whatever their
/// callers were told, who repeat them. Enqueues that share one are not tried one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_majority_is_given_up_in_time_and_can_be_repeated() {
    let cluster = cluster().await;
    let primary = cluster.primary().await;
    let queue = cluster.queue().await;
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue, Duration::from_secs(600)).await.lease;
    let doubtful: Vec<NewTask> = std::iter::repeat_with(task).take(20).collect();
    for number in cluster.others(primary) {
        cluster.node(number).pause().await;
    }

    let (began, in_time) = (Instant::now(), STATEMENT + Duration::from_secs(5));
    let settlement = Settlement::new(lease.clone(), Outcome::done());
    let mut enqueuing = JoinSet::new();
    for task in doubtful.clone() {
        let queue = queue.clone();
        enqueuing.spawn(async move { queue.enqueue(task).await });
    }
    let settled = queue.settle_many(vec![settlement]).await;
    assert_unavailable(&settled.expect_err("it waits for a majority"));
    for enqueued in enqueuing.join_all().await {
        assert_unavailable(&enqueued.expect_err("it waits for a majority"));
    }
    assert!(began.elapsed() < in_time, "it took {:?}", began.elapsed());
    assert_eq!(queue.stats().await.unwrap().running, 1, "it still reads");

    for number in cluster.others(primary) {
        cluster.node(number).unpause().await;
    }
    // Whoever was not heard of for so long may be put out of the group first, the primary too.
    cluster.becomes_whole().await;
    cluster.lead_to(cluster.primary().await);
    let enqueued = wait_until_ok(async || queue.enqueue_many(doubtful.clone()).await).await;
    assert!(enqueued.iter().map(|enqueued| enqueued.id()).eq(doubtful.iter().map(|task| task.id)));
    assert_ne!(settle(&queue, &lease).await, Settled::LeaseLost);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.running, stats.completed), (20, 0, 1), "each is there once");
}

/// A group whose members all write, for as long as this is.
async fn several_primaries(test: impl AsyncFnOnce(&Cluster)) {
    let cluster = cluster().await;
    cluster.takes("SELECT group_replication_switch_to_multi_primary_mode()").await;
    cluster.all_write().await;
    test(&cluster).await;
    // The mode is not changed without one of them.
    cluster.becomes_whole().await;
    cluster.takes("SELECT group_replication_switch_to_single_primary_mode()").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_and_a_unique_key_that_primaries_meet_over_are_created_once() {
    several_primaries(async |cluster| assert_ids_and_keys_meet(cluster).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_several_primaries_share_the_tasks() {
    several_primaries(async |cluster| assert_workers_share_the_tasks(cluster).await).await;
}
