//! Tasks spread over shards: where their rows are, what holds in one shard and over all, and that no queue works with
//! another number than the table was made with.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use taskqueue_postgres::{
    Claim, Enqueued, ErrorKind, NewTask, Outcome, PostgresConfig, PostgresQueue, Queue, Result, Settled,
    Settlement, Shards, TaskId,
};
use uuid::Uuid;

use crate::scratch::{PATIENCE, Scratch, mail, pool, request, task, tasks};
use crate::support::{prepares, say};

fn three() -> Shards {
    Shards::new(3).unwrap()
}

async fn queue_of(scratch: &Scratch, shards: Option<u16>) -> PostgresQueue {
    let mut config = PostgresConfig::pool(pool(scratch.options(), PATIENCE));
    config.prepared_statements = prepares();
    config.shards = shards;
    PostgresQueue::with_config(config).await.unwrap()
}

/// A table of three shards.
async fn in_three() -> (Scratch, PostgresQueue) {
    let scratch = Scratch::new().await;
    let queue = queue_of(&scratch, Some(3)).await;
    queue.migrate().await.unwrap();
    (scratch, queue)
}

/// Of each stored task its id and its shard.
async fn places(scratch: &Scratch) -> Vec<(TaskId, i16)> {
    let rows = sqlx::query("SELECT id, shard FROM tasks").fetch_all(&mut scratch.connect().await).await;
    rows.unwrap().iter().map(|row| (TaskId::from(row.get::<Uuid, _>(0)), row.get(1))).collect()
}

fn id_in(shard: i16) -> TaskId {
    std::iter::repeat_with(TaskId::generate).find(|id| three().of(*id).number() == shard).unwrap()
}

async fn claim_all(queue: &PostgresQueue) -> Vec<Claim> {
    queue.dequeue_many(&request(1_000)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_is_in_the_shard_that_its_id_says() {
    let (scratch, queue) = in_three().await;
    queue.enqueue_many(tasks(200)).await.unwrap();
    queue.enqueue_many((0..50).map(|key| task().unique_key(key)).collect()).await.unwrap();
    for number in 0..20 {
        queue.enqueue(task().region("eu").unique_key(100 + number)).await.unwrap();
    }
    let claims = claim_all(&queue).await;
    let complete = |claim: Claim| Settlement::new(claim.lease, Outcome::done().then(task()));
    queue.settle_many(claims.into_iter().map(complete).collect()).await.unwrap();

    let places = places(&scratch).await;
    assert_eq!(places.len(), 540);
    for (id, shard) in &places {
        assert_eq!(*shard, three().of(*id).number(), "{id}");
    }
    assert_eq!(places.iter().map(|(_, shard)| *shard).collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_claimed_in_a_shard_is_checked_in_that_shard() {
    let (scratch, queue) = in_three().await;
    queue.enqueue_many(tasks(60)).await.unwrap();
    assert_eq!(claim_all(&queue).await.len(), 60);

    let mut connection = scratch.connect().await;
    let leases = sqlx::query("SELECT shard, ids FROM tasks_leases").fetch_all(&mut connection).await.unwrap();

    assert_eq!(leases.len(), 3);
    for lease in &leases {
        for id in lease.get::<Vec<Uuid>, _>(1) {
            assert_eq!(lease.get::<i16, _>(0), three().of(id.into()).number());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_set_to_another_number_of_shards_is_refused_and_changes_nothing() {
    let (scratch, queue) = in_three().await;
    let id = queue.enqueue(task()).await.unwrap();
    let other = queue_of(&scratch, Some(2)).await;

    for refused in [
        other.migrate().await,
        other.enqueue(task()).await.map(drop),
        other.dequeue_many(&request(1)).await.map(drop),
        other.reclaim_stale(10).await.map(drop),
        other.enqueue_in(&mut scratch.connect().await, task()).await.map(drop),
    ] {
        let refused = refused.expect_err("the table has three shards");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains("made with 3 shards"), "{refused}");
    }

    let found_out = queue_of(&scratch, None).await;
    assert_eq!(found_out.get(id).await.unwrap().id, id);
    assert_eq!(places(&scratch).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_migrators_at_once_with_different_numbers_one_wins() {
    let scratch = Scratch::new().await;
    let queues = [queue_of(&scratch, Some(2)).await, queue_of(&scratch, Some(5)).await];

    let (first, second) = tokio::join!(queues[0].migrate(), queues[1].migrate());

    let won: Vec<&Result<()>> = [&first, &second].into_iter().filter(|migrated| migrated.is_ok()).collect();
    assert_eq!(won.len(), 1, "{first:?}, {second:?}");
    let [one, other] = [first.is_ok(), second.is_ok()].map(usize::from);
    queues[other].enqueue(task()).await.unwrap();
    assert_eq!(queues[one].enqueue(task()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_from_before_shards_has_one() {
    let (scratch, queue) = Scratch::with_queue().await;
    let ids: Vec<TaskId> =
        queue.enqueue_many(tasks(9)).await.unwrap().into_iter().map(Enqueued::id).collect();
    let before = "DROP TABLE tasks_shards; DELETE FROM tasks_migrations WHERE version >= 2";
    say(&mut scratch.connect().await, before.to_owned()).await.unwrap();

    let unready = queue_of(&scratch, None).await.get(ids[0]).await.unwrap_err();
    let refused = queue_of(&scratch, Some(3)).await.migrate().await.unwrap_err();
    let queue = queue_of(&scratch, None).await;
    queue.migrate().await.unwrap();

    assert_eq!(unready.kind(), ErrorKind::NotMigrated);
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    assert_eq!(claim_all(&queue).await.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_nobody_recorded_is_asked_for() {
    let (scratch, _) = in_three().await;
    say(&mut scratch.connect().await, "TRUNCATE tasks_shards".to_owned()).await.unwrap();

    let refused = queue_of(&scratch, Some(3)).await.enqueue(task()).await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::NotMigrated, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_keep_the_order_within_each_shard() {
    let (_scratch, queue) = in_three().await;
    let mut expected: BTreeMap<i16, Vec<TaskId>> = BTreeMap::new();
    for _ in 0..10 {
        let batch = tasks(20);
        for NewTask { id, .. } in &batch {
            expected.entry(three().of(*id).number()).or_default().push(*id);
        }
        queue.enqueue_many(batch).await.unwrap();
    }

    let mut claimed: BTreeMap<i16, Vec<TaskId>> = BTreeMap::new();
    for limit in [1, 7, 30, 100, 100] {
        for claim in queue.dequeue_many(&request(limit)).await.unwrap() {
            claimed.entry(three().of(claim.task.id).number()).or_default().push(claim.task.id);
        }
    }

    assert_eq!(claimed, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_one_come_from_every_shard_in_turn() {
    let (_scratch, queue) = in_three().await;
    for shard in [0, 1, 2, 0, 1, 2] {
        queue.enqueue(task().id(id_in(shard))).await.unwrap();
    }

    for _ in 0..2 {
        let mut round = BTreeSet::new();
        for _ in 0..3 {
            round.extend(
                queue.dequeue_many(&request(1)).await.unwrap().iter().map(|it| three().of(it.task.id)),
            );
        }
        assert_eq!(round.len(), 3, "none waits behind another that has enough");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_over_several_shards_goes_in_whole_or_not_at_all() {
    let (scratch, queue) = in_three().await;
    let trap = "ALTER TABLE tasks ADD CHECK (shard <> 2 OR region IS NULL)";
    say(&mut scratch.connect().await, trap.to_owned()).await.unwrap();
    let batch = |region: bool| {
        let of = |shard| if region { task().id(id_in(shard)).region("eu") } else { task().id(id_in(shard)) };
        vec![of(0), of(1), of(2)]
    };

    queue.enqueue_many(batch(true)).await.unwrap_err();
    assert_eq!(places(&scratch).await, []);

    queue.enqueue_many(batch(false)).await.unwrap();
    let claims = claim_all(&queue).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_beside_its_unique_key_is_refused_with_what_to_do() {
    let (scratch, queue) = in_three().await;
    let keyed = task().unique_key("k");
    let elsewhere = (0..3).find(|shard| three().of(keyed.id).number() != *shard).map(id_in).unwrap();

    let refused = queue.enqueue(keyed.clone().id(elsewhere)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("TaskId::for_unique_key"), "{refused}");
    assert_eq!(places(&scratch).await, []);

    let id = TaskId::for_unique_key(&mail(), "k");
    assert_eq!(queue.enqueue(task().unique_key("k").id(id)).await.unwrap(), id);
    assert_eq!(queue.enqueue(keyed).await.unwrap_err().kind(), ErrorKind::DuplicateUnique);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_shards_work_as_few_do() {
    let scratch = Scratch::new().await;
    let queue = queue_of(&scratch, Some(1_024)).await;
    queue.migrate().await.unwrap();
    queue.enqueue_many(tasks(50)).await.unwrap();

    let claims = claim_all(&queue).await;
    assert_eq!(claims.len(), 50);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.running), (0, 50));
    let done = |claim: Claim| Settlement::new(claim.lease, Outcome::done());
    let settled = queue.settle_many(claims.into_iter().map(done).collect()).await.unwrap();
    assert_eq!(settled, [Settled::Applied; 50]);
}
