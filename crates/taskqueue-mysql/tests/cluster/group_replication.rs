//! MySQL's Group Replication: one member writes, the others take over.

use std::time::Duration;

use taskqueue_mysql::{ErrorKind, Outcome, Queue, Settled, Settlement};
use tokio::time::Instant;

use crate::all_nodes::{assert_ids_and_keys_meet, assert_workers_share_the_tasks};
use crate::bed::{Cluster, Kind, STATEMENT, assert_unavailable, claim_one, say, task, until_ok};
use crate::losing::{assert_leases_outlast, assert_nothing_is_lost_with};

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
