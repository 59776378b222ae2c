//! Claims by many at once, and under plans that the server does not choose by itself.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Connection;
use taskqueue_postgres::{
    Claim, ClaimRequest, NewTask, PostgresConfig, PostgresQueue, Priority, Queue, Scanning, TaskId, TaskType,
    WorkerId,
};

use crate::scratch::{PATIENCE, Scratch, pool, request, tasks};
use crate::support::say;

const TYPES: [&str; 3] = ["mail", "image", "report"];

fn of_types(names: &[&str], limit: usize) -> ClaimRequest {
    let types: Vec<TaskType> = names.iter().map(|name| TaskType::new(name).unwrap()).collect();
    ClaimRequest::new(WorkerId::new("ada").unwrap(), types, limit)
}

fn of_kind((name, priority): &(&str, i32)) -> NewTask {
    NewTask::raw(*name, "{}").unwrap().priority(Priority(*priority))
}

/// A queue whose claims go by cursors, but for the first.
async fn without_scans(scratch: &Scratch) -> PostgresQueue {
    without_scans_and(scratch, |_| {}).await
}

/// The same with other settings.
async fn without_scans_and(scratch: &Scratch, set: impl FnOnce(&mut PostgresConfig)) -> PostgresQueue {
    let mut config = PostgresConfig::pool(pool(scratch.options(), PATIENCE));
    config.testing.scanning = Scanning { slow: Duration::ZERO, rests: 1_000_000_000 };
    set(&mut config);
    PostgresQueue::with_config(config).await.unwrap()
}

/// Ends the session that claims an urgent task.
const NO_URGENT_CLAIMS: &str = "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'; \
     CREATE TRIGGER no_urgent_claims BEFORE UPDATE ON tasks FOR EACH ROW WHEN (NEW.priority = 20) \
     EXECUTE FUNCTION end_session()";

fn ids(claims: &[Claim]) -> Vec<TaskId> {
    claims.iter().map(|claim| claim.task.id).collect()
}

/// Claims until nothing is left; every claim but the empty ones is asserted to keep to its limit.
async fn drain(queue: PostgresQueue, request: ClaimRequest) -> Vec<TaskId> {
    let mut claimed = Vec::new();
    while queue.stats().await.unwrap().pending > 0 {
        let claims = queue.dequeue_many(&request).await.unwrap();
        assert!(claims.len() <= request.limit, "{} of {}", claims.len(), request.limit);
        claimed.extend(ids(&claims));
    }
    claimed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_has_when_its_connection_breaks_is_answered_and_the_connection_is_not_kept() {
    let (scratch, other) = Scratch::with_queue().await;
    let no_scans = Scanning { slow: Duration::ZERO, rests: 1_000_000_000 };
    let queue = scratch.queue_with(|config| config.testing.scanning = no_scans).await;
    queue.enqueue_many(tasks(5)).await.unwrap();
    assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1, "cut off: there is more to look for");
    say(&mut scratch.connect().await, NO_URGENT_CLAIMS.to_owned()).await.unwrap();
    other.enqueue(of_kind(&("mail", 20))).await.unwrap();

    let claims = queue.dequeue_many(&request(10)).await.unwrap();

    assert_eq!(claims.len(), 4);
    queue.complete(claims[0].lease.clone()).await.expect("another connection is used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimers_at_once_take_disjoint_sets_and_leave_nothing() {
    let (scratch, queue) = Scratch::with_queue().await;
    let tasks = tasks(600);
    let all: HashSet<TaskId> = tasks.iter().map(|task| task.id).collect();
    queue.enqueue_many(tasks).await.unwrap();
    let other = scratch.queue().await;

    let claimers = (0..12).map(|claimer| {
        let queue = if claimer % 2 == 0 { queue.clone() } else { other.clone() };
        tokio::spawn(drain(queue, request(1 + claimer)))
    });
    let claimers: Vec<_> = claimers.collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.unwrap());
    }

    assert_eq!(claimed.len(), all.len(), "no task is claimed twice");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_extra_claims_at_once_one_looks_for_tasks() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue_many(tasks(4)).await.unwrap();
    let mut other = scratch.connect().await;

    say(&mut other, "BEGIN; SELECT one FROM tasks_shards FOR UPDATE".to_owned()).await.unwrap();
    assert!(queue.dequeue_many(&request(3).extra()).await.unwrap().is_empty(), "another one is on its way");
    assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1);
    say(&mut other, "ROLLBACK".to_owned()).await.unwrap();

    assert_eq!(queue.dequeue_many(&request(2).extra()).await.unwrap().len(), 2);
    assert_eq!(queue.stats().await.unwrap().pending, 1);
}

/// The claim index has the hash of a type, and these two have one in common.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_of_one_hash_do_not_meet() {
    let (scratch, queue) = Scratch::with_queue().await;
    let (one, other) = ("type_23217", "type_73423");
    let hashes = sqlx::query_scalar("SELECT hashtext($1) = hashtext($2)").bind(one).bind(other);
    let are_equal: bool = hashes.fetch_one(&mut scratch.connect().await).await.unwrap();
    assert!(are_equal, "the server hashes otherwise: look for two other types");

    // By itself and merged with another; each time again from a known place.
    for types in [&[one][..], &[one], &[one, "mail"], &[one, "mail"]] {
        let tasks = [other, one, other, one].map(|name| NewTask::raw(name, "{}").unwrap());
        let wanted = [tasks[1].id, tasks[3].id];
        queue.enqueue_many(tasks.into()).await.unwrap();
        assert_eq!(ids(&queue.dequeue_many(&of_types(types, 10)).await.unwrap()), wanted);
    }
    assert_eq!(queue.dequeue_many(&of_types(&[other], 10)).await.unwrap().len(), 8);
}

/// A nested loop runs its inner side again for each outer row. A claim whose limit stood there would take more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_keeps_to_its_limit_under_nested_loops_and_generic_plans() {
    let (scratch, queue) = Scratch::with_queue().await;
    // Whatever else would keep the inner side's rows.
    for kind in ["hashjoin", "mergejoin", "bitmapscan", "tidscan", "material", "hashagg", "sort"] {
        scratch.set(&format!("enable_{kind} = off")).await;
    }
    scratch.set("plan_cache_mode = force_generic_plan").await;
    let forced = scratch.queue().await;
    let of = |name: &&str| NewTask::raw(name, "{}").unwrap();
    queue.enqueue_many((0..200).flat_map(|_| TYPES.iter().map(of)).collect()).await.unwrap();
    say(&mut scratch.connect().await, "ANALYZE".to_owned()).await.unwrap();

    for limit in [1, 2, 7, 30] {
        let one = forced.dequeue_many(&of_types(&TYPES[..1], limit)).await.unwrap();
        let many = forced.dequeue_many(&of_types(&TYPES, limit)).await.unwrap();

        assert_eq!(one.len(), limit);
        assert_eq!(many.len(), limit);
    }
    let left = drain(forced.clone(), of_types(&TYPES, 50)).await;
    assert_eq!(left.len(), 600 - 2 * (1 + 2 + 7 + 30));
}

/// Locks the first ready tasks, as a claim does that is under way.
const LOCKED: &str =
    "SELECT id FROM tasks WHERE shard = 0 AND status = 0 ORDER BY queue_rank, queue_at LIMIT $1 FOR UPDATE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_claims_of_several_types_at_once_both_find_their_limit() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue_many((0..3_000).map(|number| of_kind(&(TYPES[number % 2], 0))).collect()).await.unwrap();
    let mut other = scratch.connect().await;
    let mut claim = other.begin().await.unwrap();
    sqlx::query(LOCKED).bind(1_500_i64).execute(&mut *claim).await.unwrap();

    let claims = queue.dequeue_many(&of_types(&TYPES, 1_500)).await.unwrap();

    assert_eq!(claims.len(), 1_500);
}

/// They bring less than was asked for because others hold the rest; the next full scan is hours away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_locked_is_not_taken_for_all_there_is() {
    let (scratch, _) = Scratch::with_queue().await;
    // Claims look back for a second only, and the machine may be busy: the clock stands still.
    let noon = Some("timestamptz '2026-01-01 12:00Z'");
    let queue = without_scans_and(&scratch, |config| config.testing.now_sql = noon).await;
    let kinds = [("mail", 9, 600), ("image", 1, 5)];
    let kinds = kinds.into_iter().flat_map(|(name, priority, count)| vec![(name, priority); count]);
    queue.enqueue_many(kinds.map(|kind| of_kind(&kind)).collect()).await.unwrap();
    let mut other = scratch.connect().await;
    let mut claim = other.begin().await.unwrap();
    sqlx::query(LOCKED).bind(520_i64).execute(&mut *claim).await.unwrap();
    let mut claimed = queue.dequeue_many(&of_types(&TYPES, 10)).await.unwrap().len();
    assert_eq!(claimed, 10, "two of the first 522, and of mail by itself what is behind them");
    claim.rollback().await.unwrap();

    while let claims @ [_, ..] = queue.dequeue_many(&of_types(&TYPES, 1_000)).await.unwrap().as_slice() {
        claimed += claims.len();
    }

    assert_eq!(claimed, 605);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_more_locked_tasks_than_a_claim_reads_is_found() {
    let (scratch, queue) = Scratch::with_queue().await;
    let kinds = [("mail", 9, 1_100), ("image", 1, 5)];
    let kinds = kinds.into_iter().flat_map(|(name, priority, count)| vec![(name, priority); count]);
    queue.enqueue_many(kinds.map(|kind| of_kind(&kind)).collect()).await.unwrap();
    let mut other = scratch.connect().await;
    let mut transaction = other.begin().await.unwrap();
    sqlx::query(LOCKED).bind(1_100_i64).execute(&mut *transaction).await.unwrap();

    let claims = queue.dequeue_many(&of_types(&TYPES, 10)).await.unwrap();

    assert_eq!(claims.len(), 5);
    assert!(claims.iter().all(|claim| claim.task.task_type.as_str() == "image"));
}

/// Of the types that have more behind the locked tasks than a claim takes, none has the first look always.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_more_locked_tasks_than_a_claim_reads_is_found_in_each_claim_and_of_every_type() {
    let (scratch, queue) = Scratch::with_queue().await;
    let kinds = [("image", 30, 600), ("image", 0, 100), ("report", 20, 1)];
    let kinds = kinds.into_iter().flat_map(|(name, priority, count)| vec![(name, priority); count]);
    queue.enqueue_many(kinds.map(|kind| of_kind(&kind)).collect()).await.unwrap();
    let mut other = scratch.connect().await;
    let mut transaction = other.begin().await.unwrap();
    sqlx::query(LOCKED).bind(600_i64).execute(&mut *transaction).await.unwrap();

    let mut claimed = Vec::new();
    for _ in 0..TYPES.len() {
        let claims = queue.dequeue_many(&of_types(&TYPES, 10)).await.unwrap();
        assert_eq!(claims.len(), 10);
        claimed.extend(claims);
    }

    assert!(claimed.iter().any(|claim| claim.task.task_type.as_str() == "report"));
}

/// One of a rank that was claimed before, and one of a rank of which no place is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_now_is_claimed_without_a_scan() {
    let (scratch, producer) = Scratch::with_queue().await;
    let queue = without_scans(&scratch).await;
    let waiting = [5, 9].map(|priority| of_kind(&("mail", priority)).delay(Duration::from_secs(3600)));
    let ids = [waiting[0].id, waiting[1].id];
    producer.enqueue_many(waiting.into()).await.unwrap();
    producer.enqueue(of_kind(&("mail", 5))).await.unwrap();
    let claim = async || queue.dequeue_many(&of_types(&["mail"], 2)).await.unwrap().len();
    assert_eq!(claim().await, 1);
    assert_eq!(claim().await, 0, "it goes by its cursor");

    producer.run_now(&ids[..1]).await.unwrap();
    assert_eq!(claim().await, 1, "it is ahead of every cursor");
    queue.run_now(&ids).await.unwrap();
    assert_eq!(claim().await, 1, "the cursors are forgotten");
}

/// A full scan that was cut off does not know what lies behind its limit, and the next one is hours away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_task_that_a_scan_did_not_come_to_are_claimed_in_order_without_another() {
    let (scratch, producer) = Scratch::with_queue().await;
    for types in [&TYPES[..1], &TYPES[..2]] {
        let queue = without_scans(&scratch).await;
        let kinds = [("mail", 9, 3), ("image", 5, 2), ("mail", 1, 2)];
        let kinds = kinds.into_iter().filter(|(name, ..)| types.contains(name));
        let kinds: Vec<_> = kinds.flat_map(|(name, priority, count)| vec![(name, priority); count]).collect();
        producer.enqueue_many(kinds.iter().rev().map(of_kind).collect()).await.unwrap();

        let mut claimed = Vec::new();
        while let claims @ [_, ..] = queue.dequeue_many(&of_types(types, 2)).await.unwrap().as_slice() {
            claimed
                .extend(claims.iter().map(|claim| (claim.task.task_type.to_string(), claim.task.priority.0)));
        }

        let kinds: Vec<_> = kinds.into_iter().map(|(name, priority)| (name.to_owned(), priority)).collect();
        assert_eq!(claimed, kinds);
    }
}
