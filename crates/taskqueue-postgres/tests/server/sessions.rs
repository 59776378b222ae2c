//! Sessions that are set up in ways the queue did not choose: stricter isolation, other time zones, clocks that are
//! far from the host's.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, Row as _};
use taskqueue_postgres::{
    Cleanup, Outcome, Pooler, PostgresConfig, PostgresQueue, Queue, Reclaimed, Status, TaskId, Timestamp,
};

use crate::scratch::{Scratch, assert_unavailable, claim_one, queue_on, request, task, tasks};
use crate::support::{prepares, say};

/// Claims and completes until nothing is pending.
async fn drain(queue: PostgresQueue) -> Vec<TaskId> {
    let mut done = Vec::new();
    while queue.stats().await.unwrap().pending > 0 {
        for claim in queue.dequeue_many(&request(3)).await.unwrap() {
            done.push(claim.task.id);
            queue.complete(claim.lease).await.unwrap();
        }
        queue.promote_due(10).await.unwrap();
        queue.reclaim_stale(10).await.unwrap();
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_that_has_waited_for_a_lock_as_long_as_it_may_is_not_repeated() {
    let (scratch, _) = Scratch::with_queue().await;
    let queue = scratch.queue_with(|config| config.lock_wait_timeout = Duration::from_millis(200)).await;
    queue.enqueue(task()).await.unwrap();
    let claim = claim_one(&queue).await;
    let mut other = scratch.connect().await;
    say(&mut other, "BEGIN; SELECT FROM tasks FOR UPDATE".to_owned()).await.unwrap();

    let refusal = queue.complete(claim.lease.clone()).await.unwrap_err();

    assert_unavailable(&refusal);
    assert_eq!(queue.contention_retries(), 0);
    say(&mut other, "ROLLBACK".to_owned()).await.unwrap();
    queue.complete(claim.lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serializable_default_changes_nothing() {
    let scratch = Scratch::new().await;
    scratch.set("default_transaction_isolation = 'serializable'").await;
    let queue = scratch.queue().await;
    let migrated = tokio::join!(queue.migrate(), queue.migrate(), queue.migrate(), queue.migrate());
    for migrated in [migrated.0, migrated.1, migrated.2, migrated.3] {
        migrated.unwrap();
    }
    queue.enqueue_many(tasks(150)).await.unwrap();

    let workers: Vec<_> = (0..6).map(|_| tokio::spawn(drain(queue.clone()))).collect();
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }

    assert_eq!(done.len(), 150);
    assert_eq!(done.into_iter().collect::<HashSet<_>>().len(), 150);
    assert_eq!(queue.contention_retries(), 0, "nothing had to be repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_nothing_is_set_on_a_servers_session() {
    let scratch = Scratch::new().await;
    for pooler in [Pooler::Transaction, Pooler::TransactionPrepared] {
        let queue = scratch.queue_with(|config| config.pooler = pooler).await;

        let set = "SELECT count(*) FROM pg_settings WHERE source = 'session'";
        let set = sqlx::query_scalar::<_, i64>(set).fetch_one(queue.pool()).await.unwrap();

        assert_eq!(set, 0, "{pooler:?}");
    }
}

/// Puts a clock of the test's in front of the server's, for the sessions that come.
async fn with_clock(scratch: &Scratch, offset: &str) -> PgConnection {
    let mut connection = scratch.connect().await;
    let clock = format!(
        "CREATE SCHEMA manual; CREATE TABLE manual.clock AS SELECT now() + interval '{offset}' AS at; \
         CREATE FUNCTION manual.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT at FROM manual.clock $$"
    );
    say(&mut connection, clock).await.unwrap();
    scratch.set("search_path = manual, pg_catalog, public").await;
    connection
}

async fn now(clock: &mut PgConnection) -> Timestamp {
    sqlx::query_scalar("SELECT at FROM manual.clock").fetch_one(clock).await.unwrap()
}

/// To the queue a worker whose clock is wrong and a server whose clock is set otherwise are the same: the host's
/// clock and the server's are far apart.
async fn all_times_are_the_servers(offset: &str) {
    let scratch = Scratch::new().await;
    let mut clock = with_clock(&scratch, offset).await;
    let queue = scratch.queue().await;
    queue.migrate().await.unwrap();
    let started = now(&mut clock).await;

    let hour = Duration::from_secs(3600);
    queue.enqueue(task()).await.unwrap();
    let delayed = queue.enqueue(task().delay(hour)).await.unwrap();
    let claim = claim_one(&queue).await;
    let early = (queue.reclaim_stale(10).await.unwrap(), queue.promote_due(10).await.unwrap());
    say(&mut clock, "UPDATE manual.clock SET at = at + interval '5 minutes'".to_owned()).await.unwrap();
    let reclaimed = queue.reclaim_stale(10).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    queue.settle(lease, Outcome::permanent("no")).await.unwrap();
    let young = queue.cleanup(Cleanup::new(hour, 10)).await.unwrap();
    say(&mut clock, "UPDATE manual.clock SET at = at + interval '1 hour'".to_owned()).await.unwrap();
    let old = queue.cleanup(Cleanup::new(hour, 10)).await.unwrap();
    let promoted = queue.promote_due(10).await.unwrap();

    assert_eq!(claim.task.created_at, started);
    assert_eq!(claim.lease.until, started + Duration::from_secs(300));
    assert_eq!(early, (Reclaimed::default(), 0));
    assert_eq!(reclaimed.released, 1);
    assert_eq!((young, old, promoted), (0, 1, 1));
    assert_eq!(queue.get(delayed).await.unwrap().scheduled_at, started + hour);
    assert_eq!(queue.get(delayed).await.unwrap().status, Status::Pending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_clock_is_hours_behind_changes_nothing() {
    all_times_are_the_servers("9 hours").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_clock_is_hours_ahead_changes_nothing() {
    all_times_are_the_servers("-9 hours").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_zone_of_a_session_changes_nothing() {
    let (scratch, queue) = Scratch::with_queue().await;
    // Said on each connection: the driver asks for UTC, whatever the database's default is.
    let pool = PgPoolOptions::new().after_connect(|connection, _| {
        let far = "SET timezone = 'Pacific/Auckland'; SET datestyle = 'SQL, DMY'";
        Box::pin(async move { say(connection, far.to_owned()).await })
    });
    let cached = if prepares() { 100 } else { 0 };
    let options = scratch.options().statement_cache_capacity(cached);
    let far = queue_on(pool.connect_lazy_with(options)).await;
    let at = Timestamp::from_timestamp_micros(1_900_000_000_123_457).unwrap();

    let id = far.enqueue(task().scheduled_at(at)).await.unwrap();

    assert_eq!(far.get(id).await.unwrap(), queue.get(id).await.unwrap());
    assert_eq!(queue.get(id).await.unwrap().scheduled_at, at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_driver_has_no_room_for_statements_calls_leave_none_in_the_server() {
    let (scratch, _) = Scratch::with_queue().await;
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect_lazy_with(scratch.options().statement_cache_capacity(0));
    let queue = PostgresQueue::with_config(PostgresConfig::pool(pool)).await.unwrap();

    for _ in 0..10 {
        queue.enqueue(task()).await.unwrap();
        let lease = claim_one(&queue).await.lease;
        queue.complete(lease).await.unwrap();
    }

    let left = sqlx::raw_sql("SELECT count(*) FROM pg_prepared_statements").fetch_one(queue.pool()).await;
    assert!(left.unwrap().get::<i64, _>(0) <= 1, "one tells that there is no room");
}
