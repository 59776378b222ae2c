//! Claims that start at cursors, and what lies behind those or in none of them.

use std::time::Duration;

use sqlx::{Connection, Executor};
use taskqueue_mysql::{
    Claim, ClaimRequest, MysqlQueue, NewTask, Priority, Queue, Scanning, TaskType, WorkerId,
};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{claim, fresh, wait_until};

const TYPES: [&str; 2] = ["mail", "image"];
/// Every claim but the first goes by cursors, for a minute.
const HARDLY_EVER: Scanning = Scanning { slow: Duration::ZERO, rests: 1_000_000_000 };
const AT_ONCE: Scanning = Scanning { slow: Duration::ZERO, rests: 0 };

async fn scanning(database: &Database, scanning: Scanning) -> MysqlQueue {
    let mut config = database.config();
    config.testing.scanning = scanning;
    MysqlQueue::with_config(config).await.unwrap()
}

async fn claim_of(queue: &MysqlQueue, types: &[&str], limit: usize) -> Vec<Claim> {
    let types: Vec<_> = types.iter().map(|name| TaskType::new(name).unwrap()).collect();
    queue.dequeue_many(&ClaimRequest::new(WorkerId::new("ada").unwrap(), types, limit)).await.unwrap()
}

fn of_kind((name, priority): &(&str, i32)) -> NewTask {
    NewTask::raw(*name, "{}").unwrap().priority(Priority(*priority))
}

/// A full scan that was cut off does not know what lies behind its limit, and the next one is a minute away.
async fn kinds_of_task_that_a_scan_did_not_come_to_are_claimed_in_order_without_another(server: Server) {
    let (producer, database) = fresh(server).await;
    for types in [&TYPES[..1], &TYPES[..2]] {
        let queue = scanning(&database, HARDLY_EVER).await;
        let kinds = [("mail", 9, 3), ("image", 5, 2), ("mail", 1, 2)];
        let kinds = kinds.into_iter().filter(|(name, ..)| types.contains(name));
        let kinds: Vec<_> = kinds.flat_map(|(name, priority, count)| vec![(name, priority); count]).collect();
        producer.enqueue_many(kinds.iter().rev().map(of_kind).collect()).await.unwrap();

        let mut claimed = Vec::new();
        while let claims @ [_, ..] = claim_of(&queue, types, 2).await.as_slice() {
            claimed
                .extend(claims.iter().map(|claim| (claim.task.task_type.to_string(), claim.task.priority.0)));
        }

        let kinds: Vec<_> = kinds.into_iter().map(|(name, priority)| (name.to_owned(), priority)).collect();
        assert_eq!(claimed, kinds);
    }
}

/// The scan of one type was cut off, and the other type, of which all is known, has enough.
async fn what_a_scan_of_one_type_did_not_come_to_goes_before_less_urgent_tasks_of_others(server: Server) {
    let (producer, database) = fresh(server).await;
    let queue = scanning(&database, HARDLY_EVER).await;
    let enqueue = async |kinds: &[(&str, i32)]| {
        producer.enqueue_many(kinds.iter().map(of_kind).collect()).await.unwrap();
    };
    enqueue(&[("mail", 9), ("mail", 5), ("image", 1)]).await;
    assert_eq!(claim_of(&queue, &["mail"], 1).await.len(), 1);
    assert_eq!(claim_of(&queue, &["image"], 2).await.len(), 1);
    enqueue(&[("image", 1)]).await;

    let claims = claim_of(&queue, &TYPES, 1).await;

    assert_eq!(claims[0].task.priority, Priority(5));
}

/// Claims bring less than was asked for because others hold the rest; the next full scan is a minute away.
async fn what_others_have_locked_is_not_taken_for_all_there_is(server: Server) {
    let (producer, database) = fresh(server).await;
    let queue = scanning(&database, HARDLY_EVER).await;
    let kinds = [("mail", 9, 9), ("image", 5, 1), ("image", 1, 5)];
    let kinds = kinds.into_iter().flat_map(|(name, priority, count)| vec![(name, priority); count]);
    producer.enqueue_many(kinds.map(|kind| of_kind(&kind)).collect()).await.unwrap();
    let mut other = database.connect().await;
    other.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    let mut claim = other.begin().await.unwrap();
    let lock = "SELECT id FROM tasks WHERE shard = 0 AND listed = 0 AND type = 'mail' FOR UPDATE";
    claim.execute(lock).await.unwrap();
    let mut claimed = claim_of(&queue, &TYPES, 10).await.len();
    assert_eq!(claimed, 6, "all others");
    claim.rollback().await.unwrap();

    while let claims @ [_, ..] = claim_of(&queue, &TYPES, 10).await.as_slice() {
        claimed += claims.len();
    }

    assert_eq!(claimed, 15);
}

/// A task of another process that became ready so long before now, and is committed after later ones were claimed.
async fn late(producer: &MysqlQueue, database: &Database, milliseconds: u32) {
    producer.enqueue(NewTask::raw("mail", "{}").unwrap()).await.unwrap();
    let behind = format!(
        "UPDATE tasks SET queue_at = UTC_TIMESTAMP(6) - INTERVAL {milliseconds}000 MICROSECOND WHERE status = 0"
    );
    database.connect().await.execute(sqlx::AssertSqlSafe(behind)).await.unwrap();
}

async fn what_became_ready_a_moment_ago_behind_a_cursor_is_claimed_without_a_scan(server: Server) {
    let (producer, database) = fresh(server).await;
    let queue = scanning(&database, HARDLY_EVER).await;
    producer.enqueue(NewTask::raw("mail", "{}").unwrap()).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1);

    late(&producer, &database, 300).await;

    assert_eq!(claim(&queue, 2).await.len(), 1);
}

async fn what_became_ready_long_ago_behind_a_cursor_is_claimed_by_a_scan(server: Server) {
    let (producer, database) = fresh(server).await;
    let [waiting, scanning] = [scanning(&database, HARDLY_EVER).await, scanning(&database, AT_ONCE).await];
    for queue in [&waiting, &scanning] {
        producer.enqueue(NewTask::raw("mail", "{}").unwrap()).await.unwrap();
        assert_eq!(claim(queue, 2).await.len(), 1);
    }

    late(&producer, &database, 3_600_000).await;

    assert!(claim(&waiting, 2).await.is_empty(), "it goes by its cursor");
    assert_eq!(claim(&scanning, 2).await.len(), 1);
}

/// One of a rank that was claimed before, and one of a rank of which no place is known.
async fn what_is_run_now_is_claimed_without_a_scan(server: Server) {
    let (producer, database) = fresh(server).await;
    let queue = scanning(&database, HARDLY_EVER).await;
    let waiting = [5, 9].map(|priority| of_kind(&("mail", priority)).delay(Duration::from_secs(3600)));
    let ids = [waiting[0].id, waiting[1].id];
    producer.enqueue_many(waiting.into()).await.unwrap();
    producer.enqueue(of_kind(&("mail", 5))).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1);
    assert!(claim(&queue, 2).await.is_empty(), "it goes by its cursor");

    producer.run_now(&ids[..1]).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1, "it is ahead of every cursor");
    queue.run_now(&ids).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1, "the cursors are forgotten");
}

/// A rank of which no place is known, and scans that rest after each one.
async fn an_idle_queue_finds_what_only_a_scan_finds(server: Server) {
    let (producer, database) = fresh(server).await;
    let queue = scanning(&database, Scanning { slow: Duration::ZERO, rests: 20 }).await;
    producer.enqueue(of_kind(&("mail", 5))).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1);
    assert!(claim(&queue, 2).await.is_empty());

    producer.enqueue(of_kind(&("mail", 9))).await.unwrap();

    wait_until("the task is claimed", async || !claim(&queue, 2).await.is_empty()).await;
}

on! {
    what_is_run_now_is_claimed_without_a_scan
    what_others_have_locked_is_not_taken_for_all_there_is
    an_idle_queue_finds_what_only_a_scan_finds
    what_a_scan_of_one_type_did_not_come_to_goes_before_less_urgent_tasks_of_others
    kinds_of_task_that_a_scan_did_not_come_to_are_claimed_in_order_without_another
    what_became_ready_a_moment_ago_behind_a_cursor_is_claimed_without_a_scan
    what_became_ready_long_ago_behind_a_cursor_is_claimed_by_a_scan
}
