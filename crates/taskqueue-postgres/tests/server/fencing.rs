//! Zombies: workers that settle long after others took their tasks, while leases end all the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use sqlx::PgConnection;
use taskqueue_postgres::{Lease, Outcome, PostgresConfig, PostgresQueue, Queue, Settled, Settlement, TaskId};

use crate::scratch::{PATIENCE, Scratch, pool, request, tasks};
use crate::support::{prepares, say};

const TASKS: usize = 150;
const WORKERS: usize = 6;

/// What the workers saw, in one place.
#[derive(Default)]
struct Seen {
    /// The highest claim number of each task that any worker has been told.
    latest: HashMap<TaskId, i64>,
    applied: HashMap<TaskId, u32>,
    stale: u32,
}

type Record = Arc<Mutex<Seen>>;

/// Writes down each time a running task gets another token without having been taken back.
const WATCH: &str = "CREATE TABLE seen (id uuid, was smallint, becomes smallint); \
     CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     INSERT INTO seen VALUES (NEW.id, OLD.status, NEW.status); RETURN NULL; END $$; \
     CREATE TRIGGER watch AFTER UPDATE ON tasks FOR EACH ROW \
     WHEN (OLD.status = 2 AND NEW.status = 2 AND OLD.lease_token <> NEW.lease_token OR NEW.status = 3) \
     EXECUTE FUNCTION watch()";

async fn patient_queue(scratch: &Scratch) -> PostgresQueue {
    let mut config = PostgresConfig::pool(pool(scratch.options(), PATIENCE));
    config.prepared_statements = prepares();
    config.options.max_reclaims = 1_000_000;
    config.options.visibility_timeout = Duration::from_millis(1);
    PostgresQueue::with_config(config).await.unwrap()
}

async fn settle(queue: &PostgresQueue, record: &Record, lease: Lease) {
    let (id, number) = (lease.task_id, lease.number);
    let is_stale = record.lock().unwrap().latest[&id] > number;
    let settled = queue.settle_many(vec![Settlement::new(lease, Outcome::done())]).await.unwrap();
    let mut seen = record.lock().unwrap();
    if is_stale {
        seen.stale += 1;
        assert_eq!(settled, [Settled::LeaseLost], "claim {number} of {id} is not the latest");
    }
    if settled == [Settled::Applied] {
        *seen.applied.entry(id).or_default() += 1;
    }
}

/// Claims, and settles at once or, as often, keeps the lease until later claims have been made.
async fn work(queue: PostgresQueue, record: Record) {
    let mut kept: Vec<Lease> = Vec::new();
    loop {
        let claims = queue.dequeue_many(&request(8)).await.unwrap();
        for claim in &claims {
            let mut seen = record.lock().unwrap();
            let latest = seen.latest.entry(claim.task.id).or_default();
            *latest = claim.lease.number.max(*latest);
        }
        for claim in claims {
            if rand::rng().random_bool(0.7) {
                kept.push(claim.lease);
            } else {
                settle(&queue, &record, claim.lease).await;
            }
        }
        if kept.len() > 12 {
            settle(&queue, &record, kept.remove(0)).await;
        }
        queue.reclaim_stale(100).await.unwrap();
        let stats = queue.stats().await.unwrap();
        if stats.pending + stats.running == 0 {
            break;
        }
    }
    for lease in kept {
        settle(&queue, &record, lease).await;
    }
}

fn assert_each_ended_once(record: &Record) {
    let seen = record.lock().unwrap();
    assert!(seen.stale > 0, "there were zombies");
    assert_eq!(seen.applied.len(), TASKS);
    assert!(seen.applied.values().all(|times| *times == 1), "each is applied once");
}

async fn count(connection: &mut PgConnection, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_zombies_every_task_ends_once_and_no_stale_settle_is_taken() {
    let scratch = Scratch::new().await;
    let queue = patient_queue(&scratch).await;
    queue.migrate().await.unwrap();
    let mut connection = scratch.connect().await;
    say(&mut connection, WATCH.to_owned()).await.unwrap();
    let tasks = tasks(TASKS).into_iter().map(|task| task.max_retries(1_000_000));
    queue.enqueue_many(tasks.collect()).await.unwrap();
    let record = Record::default();

    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(work(queue.clone(), record.clone()))).collect();
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(120), worker).await.expect("they end").unwrap();
    }

    assert_each_ended_once(&record);
    let stolen = "SELECT count(*) FROM seen WHERE was = 2 AND becomes = 2";
    assert_eq!(count(&mut connection, stolen).await, 0, "no live lease was replaced by another");
    let ends = "SELECT count(*) FROM seen WHERE becomes = 3";
    assert_eq!(count(&mut connection, ends).await, TASKS as i64);
    let done = "SELECT count(*) FROM tasks WHERE status = 3";
    assert_eq!(count(&mut connection, done).await, TASKS as i64);
}
