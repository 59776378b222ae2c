//! What promotions and reclaims read beside a transaction that stays open, which keeps all that they have dealt with in
//! the indexes.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, Row as _};
use taskqueue_core::{NewTask, Queue as _, Shard, Timestamp};
use tokio::time::Instant;

use super::database::{Database, run};
use crate::due::{DueStarts, Place};
use crate::{PostgresConfig, PostgresQueue, Scanning};

/// How many tasks, and claims, are dealt with meanwhile.
const MANY: usize = 50_000;
/// What a look may read that finds nothing; from the start it reads an entry or two for each of the many.
const BLOCKS_MAX: i64 = 200;

/// A database with a queue whose looks from the start count as slow, however quick they are.
async fn queue() -> (Database, PostgresQueue) {
    let database = Database::create().await;
    let pool = PgPoolOptions::new().connect_with(database.options()).await.unwrap();
    let mut config = PostgresConfig::pool(pool);
    config.testing.scanning = Scanning { slow: Duration::ZERO, rests: u32::MAX };
    let queue = PostgresQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    (database, queue)
}

/// A transaction that sees what there is now, and keeps it.
async fn holder(database: &Database) -> PgConnection {
    let mut holder = database.connect().await;
    run(&mut holder, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tasks".to_owned()).await;
    holder
}

/// How many blocks this statement reads. What it does is undone.
async fn blocks(connection: &mut PgConnection, (text, values): (&str, String)) -> i64 {
    run(connection, format!("DEALLOCATE ALL; PREPARE s AS {text}")).await;
    let explain = format!("BEGIN; EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) EXECUTE s ({values})");
    let rows = run(connection, explain).await;
    run(connection, "ROLLBACK".to_owned()).await;
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // The first node's are those of all.
    let buffers = lines.iter().find(|line| line.contains("Buffers: shared")).unwrap();
    let number = |word: &str| word.split_once('=').and_then(|(_, number)| number.parse::<i64>().ok());
    let read = |word: &&str| word.starts_with("hit=") || word.starts_with("read=");
    buffers.split_whitespace().filter(read).filter_map(number).sum()
}

/// Where the next look begins.
fn place(places: &DueStarts) -> Place {
    places.start(Shard::FIRST, Instant::now())
}

fn text(time: Timestamp) -> String {
    format!("'{}'", time.to_rfc3339())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_does_not_walk_over_what_was_promoted_before() {
    let (database, queue) = queue().await;
    let mut connection = database.connect().await;
    let later = |_| NewTask::raw("mail", "1").unwrap().delay(Duration::from_secs(60));
    for _ in 0..MANY / 1_000 {
        queue.enqueue_many((0..1_000).map(later).collect()).await.unwrap();
    }
    let an_hour_ago = "UPDATE tasks SET due_at = due_at - interval '1 hour'".to_owned();
    run(&mut connection, an_hour_ago).await;
    run(&mut connection, "VACUUM ANALYZE tasks".to_owned()).await;
    let _holder = holder(&database).await;
    let mut promoted = 0;
    while promoted < MANY as u64 {
        promoted += queue.promote_due(1_000).await.unwrap();
    }
    assert_eq!(queue.promote_due(1_000).await.unwrap(), 0);

    let dialect = queue.sql.dialect();
    let Place { due_at, queue_at, id } = place(&dialect.due.promotions);
    let values = |due_at, queue_at| format!("1000, 0::int2, {}, {}, '{id}'", text(due_at), text(queue_at));
    let promote = |values| (dialect.literal().promote.as_str(), values);
    let from_the_place = blocks(&mut connection, promote(values(due_at, queue_at))).await;
    let epoch = Timestamp::UNIX_EPOCH;
    let from_the_start = blocks(&mut connection, promote(values(epoch, epoch))).await;

    assert!(from_the_place < BLOCKS_MAX, "it reads {from_the_place} blocks");
    assert!(from_the_start > 2 * BLOCKS_MAX, "nothing is in the way: {from_the_start} blocks");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reclaim_does_not_walk_over_the_claims_that_were_checked_before() {
    let (database, queue) = queue().await;
    let mut connection = database.connect().await;
    let many = format!(
        "INSERT INTO tasks_leases SELECT n, 0, now() - n * interval '1 second', ARRAY[gen_random_uuid()] \
         FROM generate_series(1, {MANY}) AS n; ANALYZE tasks_leases"
    );
    run(&mut connection, many).await;
    let _holder = holder(&database).await;
    while run(&mut connection, "SELECT FROM tasks_leases LIMIT 1".to_owned()).await.len() == 1 {
        queue.reclaim_stale(1_000).await.unwrap();
    }
    queue.reclaim_stale(1_000).await.unwrap();

    let dialect = queue.sql.dialect();
    let from = place(&dialect.due.checks).due_at;
    let lock = dialect.literal().checks.lock.as_str();
    let values = |of: &str, from| format!("{of}, {}", text(from));
    let checked = blocks(&mut connection, (lock, values("0::int2", from))).await;
    let looked = blocks(&mut connection, (&dialect.literal().ended, values("10, 0::int2", from))).await;
    let from_the_start = blocks(&mut connection, (lock, values("0::int2", Timestamp::UNIX_EPOCH))).await;

    assert!(checked + looked < BLOCKS_MAX, "they read {checked} and {looked} blocks");
    assert!(from_the_start > 2 * BLOCKS_MAX, "nothing is in the way: {from_the_start} blocks");
    database.drop().await;
}
