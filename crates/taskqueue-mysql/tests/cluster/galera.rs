//! MariaDB's Galera: every node writes, conflicts are seen at the commit, and a node without a majority refuses all.

use std::time::Duration;

use taskqueue_mysql::{Enqueued, Heartbeat, Outcome, Queue, Settled, Settlement};
use tokio::time::{Instant, timeout};

use crate::all_nodes::{assert_ids_and_keys_meet, assert_workers_share_the_tasks};
use crate::bed::{
    Cluster, Kind, LIMIT, STATEMENT, assert_unavailable, claim_one, say, task, wait_until, wait_until_ok,
};
use crate::losing::{assert_leases_outlast, assert_nothing_is_lost_with};

async fn cluster() -> Cluster {
    Cluster::whole(Kind::Galera).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_and_a_unique_key_that_nodes_meet_over_are_created_once() {
    assert_ids_and_keys_meet(&cluster().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_all_nodes_share_the_tasks() {
    assert_workers_share_the_tasks(&cluster().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_node_that_is_killed_under_load() {
    let cluster = cluster().await;
    let kill = async || {
        cluster.node(0).kill().await;
        1
    };
    assert_nothing_is_lost_with(&cluster, kill).await;
    cluster.node(0).start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlasts_the_node_that_it_was_claimed_on() {
    let cluster = cluster().await;
    assert_leases_outlast(&cluster, async || 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrators_on_two_nodes_at_once_make_one_schema() {
    let cluster = cluster().await;
    for table in ["one", "two", "three"] {
        let [one, other] = [cluster.of_table(0, table).await, cluster.of_table(1, table).await];
        let (migrated, also) = tokio::join!(one.migrate(), other.migrate());
        migrated.unwrap();
        also.unwrap();
        one.enqueue(task()).await.unwrap();
        wait_until("the task is on the other node", async || other.stats().await.unwrap().pending == 1).await;
    }
}

/// Two of three are away: what remains is no majority, until they are back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_majority_refuses_in_time_and_recovers() {
    let cluster = cluster().await;
    let queue = cluster.queue_on(0).await;
    let doubtful = task();
    let caller = queue.clone();
    let calling = tokio::spawn(async move {
        loop {
            if let Err(error) = caller.enqueue(task()).await {
                return error;
            }
        }
    });
    for number in cluster.others(0) {
        cluster.node(number).pause().await;
    }
    assert_unavailable(&timeout(LIMIT, calling).await.expect("the call ends").unwrap());

    // At first a commit waits for the others; then the node knows that it is alone.
    let in_time = STATEMENT + Duration::from_secs(5);
    wait_until("the node knows that it is alone", async || {
        let began = Instant::now();
        let error = queue.enqueue(doubtful.clone()).await.expect_err("it has no majority");
        assert!(began.elapsed() < in_time, "it took {:?}: {error}", began.elapsed());
        assert_unavailable(&error);
        error.to_string().contains("(1047)")
    })
    .await;
    assert_unavailable(&queue.stats().await.expect_err("it does not read either"));
    let opened = cluster.connect_to(0).await.unwrap();
    assert_unavailable(&opened.enqueue(task()).await.expect_err("nor for others"));

    for number in cluster.others(0) {
        cluster.node(number).unpause().await;
    }
    let enqueued = wait_until_ok(async || queue.enqueue_many(vec![doubtful.clone()]).await).await;
    assert_eq!(enqueued.iter().map(|it| it.id()).collect::<Vec<_>>(), [doubtful.id]);
    assert!(matches!(enqueued[0], Enqueued::Created(_) | Enqueued::Repeated(_)));
    let count = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM tasks WHERE HEX(id) = '{:X}'",
        doubtful.id.as_uuid().simple()
    );
    assert_eq!(cluster.ask(0, &count).await.unwrap(), "1", "it is there once");
    cluster.becomes_whole().await;
}

/// What a node has committed is on the others a moment later. Who goes on there must have them wait for it, or might be told that a
/// lease is lost which is live.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_wait_for_the_cluster_settle_and_read_what_was_claimed_on_another() {
    let cluster = cluster().await;
    let one = cluster.queue_on(0).await;
    say(cluster.node(1), "SET GLOBAL wsrep_sync_wait = 1").await;
    let other = cluster.connect_to(1).await.unwrap();
    for _ in 0..100 {
        let id = one.enqueue(task()).await.unwrap();
        other.get(id).await.unwrap();
        let lease = claim_one(&one, Duration::from_secs(600)).await.lease;
        let beat = other.heartbeat_many(std::slice::from_ref(&lease), None).await.unwrap();
        assert_eq!(beat, [Heartbeat::Extended]);
        let settlement = Settlement::new(lease, Outcome::done());
        assert_eq!(other.settle_many(vec![settlement]).await.unwrap(), [Settled::Applied]);
    }
    say(cluster.node(1), "SET GLOBAL wsrep_sync_wait = 0").await;
}

/// It still takes connections, and refuses what they say; the queue goes on at another node as soon as the address leads there.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_node_that_is_parted_from_the_others_under_load() {
    let cluster = cluster().await;
    let part = async || {
        say(cluster.node(0), "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'").await;
        cluster.sees(1, 2).await;
        1
    };
    assert_nothing_is_lost_with(&cluster, part).await;
    say(cluster.node(0), "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'").await;
}
