//! Tasks spread over shards: where their rows are, what holds in one shard and over all, and that no queue works with
//! another number than the table was made with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cases.rs"]
mod cases;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use cases::on;
use sqlx::{Executor, Row};
use support::{Database, Server};
use taskqueue_mysql::{
    Claim, ClaimRequest, Enqueued, ErrorKind, MysqlConfig, MysqlQueue, NewTask, Outcome, Queue, Settled,
    Settlement, Shards, TaskId, TaskType, WorkerId,
};
use uuid::Uuid;

fn three() -> Shards {
    Shards::new(3).unwrap()
}

fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

fn mail() -> TaskType {
    TaskType::new("mail").unwrap()
}

async fn queue_of(database: &Database, shards: Option<u16>) -> MysqlQueue {
    let mut config: MysqlConfig = database.config();
    config.shards = shards;
    MysqlQueue::with_config(config).await.unwrap()
}

/// A table of three shards.
async fn in_three(server: Server) -> (Database, MysqlQueue) {
    let database = server.database().await;
    let queue = queue_of(&database, Some(3)).await;
    queue.migrate().await.unwrap();
    (database, queue)
}

/// Of each stored task its id and its shard.
async fn places(database: &Database) -> Vec<(TaskId, i16)> {
    let rows = sqlx::query("SELECT id, shard FROM tasks").fetch_all(&mut database.connect().await).await;
    let id = |bytes: Vec<u8>| TaskId::from(Uuid::from_slice(&bytes).unwrap());
    rows.unwrap().iter().map(|row| (id(row.get(0)), row.get(1))).collect()
}

fn id_in(shard: i16) -> TaskId {
    std::iter::repeat_with(TaskId::generate).find(|id| three().of(*id).number() == shard).unwrap()
}

async fn claim(queue: &MysqlQueue, limit: usize) -> Vec<Claim> {
    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [mail()], limit);
    queue.dequeue_many(&request).await.unwrap()
}

async fn every_task_is_in_the_shard_that_its_id_says(server: Server) {
    let (database, queue) = in_three(server).await;
    queue.enqueue_many(tasks(200)).await.unwrap();
    queue.enqueue_many((0..50).map(|key| task().unique_key(key)).collect()).await.unwrap();
    let complete = |claim: Claim| Settlement::new(claim.lease, Outcome::done().then(task()));
    queue.settle_many(claim(&queue, 1_000).await.into_iter().map(complete).collect()).await.unwrap();

    let places = places(&database).await;
    assert_eq!(places.len(), 500);
    for (id, shard) in &places {
        assert_eq!(*shard, three().of(*id).number(), "{id}");
    }
    assert_eq!(places.iter().map(|(_, shard)| *shard).collect::<BTreeSet<_>>().len(), 3);
}

async fn a_queue_set_to_another_number_of_shards_is_refused_and_changes_nothing(server: Server) {
    let (database, queue) = in_three(server).await;
    let id = queue.enqueue(task()).await.unwrap();
    let other = queue_of(&database, Some(2)).await;

    for refused in [
        other.migrate().await,
        other.enqueue(task()).await.map(drop),
        other.promote_due(10).await.map(drop),
        other.enqueue_in(&mut database.connect().await, task()).await.map(drop),
    ] {
        let refused = refused.expect_err("the table has three shards");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains("made with 3 shards"), "{refused}");
    }

    assert_eq!(queue_of(&database, None).await.get(id).await.unwrap().id, id);
    assert_eq!(places(&database).await.len(), 1);
}

async fn a_table_from_before_shards_has_one(server: Server) {
    let database = server.database().await;
    let queue = queue_of(&database, None).await;
    queue.migrate().await.unwrap();
    let ids: Vec<TaskId> =
        queue.enqueue_many(tasks(9)).await.unwrap().into_iter().map(Enqueued::id).collect();
    let mut connection = database.connect().await;
    connection.execute("DROP TABLE tasks_shards").await.unwrap();
    connection.execute("DELETE FROM tasks_migrations WHERE version >= 2").await.unwrap();

    let unready = queue_of(&database, None).await.get(ids[0]).await.unwrap_err();
    let refused = queue_of(&database, Some(3)).await.migrate().await.unwrap_err();
    let queue = queue_of(&database, None).await;
    queue.migrate().await.unwrap();

    assert_eq!(unready.kind(), ErrorKind::NotMigrated);
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    assert_eq!(claim(&queue, 100).await.len(), ids.len());
}

async fn claims_keep_the_order_within_each_shard(server: Server) {
    let (_database, queue) = in_three(server).await;
    let batch = tasks(200);
    let mut expected: BTreeMap<i16, Vec<TaskId>> = BTreeMap::new();
    for NewTask { id, .. } in &batch {
        expected.entry(three().of(*id).number()).or_default().push(*id);
    }
    queue.enqueue_many(batch).await.unwrap();

    let mut claimed: BTreeMap<i16, Vec<TaskId>> = BTreeMap::new();
    for limit in [1, 7, 30, 100, 100] {
        for claim in claim(&queue, limit).await {
            claimed.entry(three().of(claim.task.id).number()).or_default().push(claim.task.id);
        }
    }

    assert_eq!(claimed, expected);
}

async fn a_batch_over_several_shards_goes_in_whole_or_not_at_all(server: Server) {
    let (database, queue) = in_three(server).await;
    let trap = "ALTER TABLE tasks ADD CONSTRAINT trap CHECK (shard <> 2 OR region IS NULL)";
    database.connect().await.execute(trap).await.unwrap();
    let batch = |region: bool| {
        let of = |shard| if region { task().id(id_in(shard)).region("eu") } else { task().id(id_in(shard)) };
        vec![of(0), of(1), of(2)]
    };

    queue.enqueue_many(batch(true)).await.unwrap_err();
    assert_eq!(places(&database).await, []);

    queue.enqueue_many(batch(false)).await.unwrap();
    let claims = claim(&queue, 10).await;
    let follow = |claim: &Claim| {
        let bad = task().id(id_in(2)).region("eu");
        Settlement::new(claim.lease.clone(), Outcome::done().then(bad))
    };
    queue.settle_many(claims.iter().map(follow).collect()).await.unwrap_err();
    assert_eq!(queue.stats().await.unwrap().running, 3, "no settle is applied without its follow-up");
    let done = |claim: Claim| Settlement::new(claim.lease, Outcome::done());
    let settled = queue.settle_many(claims.into_iter().map(done).collect()).await.unwrap();
    assert_eq!(settled, [Settled::Applied; 3]);
}

on! {
    every_task_is_in_the_shard_that_its_id_says
    a_queue_set_to_another_number_of_shards_is_refused_and_changes_nothing
    a_table_from_before_shards_has_one
    claims_keep_the_order_within_each_shard
    a_batch_over_several_shards_goes_in_whole_or_not_at_all
}
