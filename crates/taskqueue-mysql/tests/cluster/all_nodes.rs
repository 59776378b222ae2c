//! Several nodes that are written to at once. The same for Galera and for a group with several primaries.

use std::collections::BTreeSet;

use taskqueue_mysql::{Enqueued, MysqlQueue, NewTask};

use crate::bed::{Cluster, task, wait_until};
use crate::load::{Answered, Load};

/// How often the nodes meet over one task.
const MEETINGS: usize = 30;

/// A queue on each node.
pub(crate) async fn queues(cluster: &Cluster) -> Vec<MysqlQueue> {
    const HAS_TABLES: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM tasks_shards";
    let mut queues = vec![cluster.queue_on(0).await];
    for number in cluster.others(0) {
        let has_tables = async || cluster.ask(number, HAS_TABLES).await.is_ok_and(|tables| tables == "1");
        wait_until("the tables are on each node", has_tables).await;
        queues.push(cluster.queue_on(number).await);
    }
    queues
}

/// Has each of the queues enqueue one of these at the same moment.
async fn enqueue_at_once(queues: &[MysqlQueue], tasks: Vec<NewTask>) -> Vec<Enqueued> {
    let mut calls = tokio::task::JoinSet::new();
    for (queue, task) in queues.iter().cloned().zip(tasks) {
        calls.spawn(async move { Answered::default().enqueue(&queue, vec![task]).await[0] });
    }
    calls.join_all().await
}

/// Of all that enqueue one task, or one unique key, one creates it, and the others are told which it is.
pub(crate) async fn assert_ids_and_keys_meet(cluster: &Cluster) {
    let queues = queues(cluster).await;
    for meeting in 0..MEETINGS {
        let same = task();
        let same_id = enqueue_at_once(&queues, vec![same.clone(); queues.len()]).await;
        let created = |answers: &[Enqueued]| {
            answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).count()
        };
        assert_eq!(created(&same_id), 1, "one id: {same_id:?}");
        let keyed = queues.iter().map(|_| task().unique_key(format!("key {meeting}"))).collect();
        let same_key = enqueue_at_once(&queues, keyed).await;
        assert_eq!(created(&same_key), 1, "one key: {same_key:?}");
        let holders: BTreeSet<_> = same_key.iter().map(|answer| answer.id()).collect();
        assert_eq!(holders.len(), 1, "one task holds the key: {same_key:?}");
    }
    let expected = (2 * MEETINGS).to_string();
    assert_eq!(cluster.ask(0, "SELECT CAST(COUNT(*) AS CHAR) FROM tasks").await.unwrap(), expected);
}

/// Workers on all nodes: nothing is lost, leased twice or completed twice, keys hold all the time, and sums are right.
pub(crate) async fn assert_workers_share_the_tasks(cluster: &Cluster) {
    const HELD_TWICE: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM (SELECT unique_key FROM tasks \
        WHERE status IN (0, 1, 2, 4) AND unique_key IS NOT NULL GROUP BY unique_key HAVING COUNT(*) > 1) AS held";
    let queues = queues(cluster).await;
    let load = Load::on(&queues);
    for _ in 0..10 {
        load.completes(100).await;
        for number in 0..cluster.nodes().len() {
            assert_eq!(cluster.ask(number, HELD_TWICE).await.unwrap(), "0", "keys with two holders");
        }
    }
    load.ends(&queues[0]).await;
    cluster.assert_stats_match_the_rows(&queues[0], 0).await;
}
