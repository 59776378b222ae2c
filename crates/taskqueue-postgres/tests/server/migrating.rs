//! Who may migrate, and what it takes.

use std::time::Duration;

use sqlx::PgPool;
use taskqueue_postgres::Queue;

use crate::scratch::{PATIENCE, Scratch, assert_unavailable, claim_one, pool, queue_on, task, wait_until};
use crate::support::say;

/// A role that may read and write what tables there are, and create nothing.
struct Role(String);

impl Role {
    async fn new(scratch: &Scratch) -> Self {
        let name = format!("taskqueue_role_{:016x}", rand::random::<u64>());
        let create = format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'pw'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
        );
        say(&mut scratch.connect().await, create).await.unwrap();
        Self(name)
    }

    fn pool(&self, scratch: &Scratch) -> PgPool {
        pool(scratch.direct_options().username(&self.0).password("pw"), PATIENCE)
    }

    /// Roles are the whole server's.
    async fn drop(self, scratch: &Scratch) {
        let drop_it = format!("DROP OWNED BY {0}; DROP ROLE {0}", self.0);
        say(&mut scratch.connect().await, drop_it).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_nothing_to_do_who_may_only_read_and_write_may_migrate() {
    let (scratch, _) = Scratch::with_queue().await;
    let role = Role::new(&scratch).await;
    let queue = queue_on(role.pool(&scratch)).await;

    queue.migrate().await.unwrap();

    queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1);
    role.drop(&scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_something_to_do_it_is_not_passed_over() {
    let (scratch, owner) = Scratch::with_queue().await;
    let role = Role::new(&scratch).await;
    let queue = queue_on(role.pool(&scratch)).await;
    for undone in ["DELETE FROM tasks_migrations WHERE version > 2", "DELETE FROM tasks_shards"] {
        say(&mut scratch.connect().await, undone.to_owned()).await.unwrap();
        let error = queue.migrate().await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{undone}: {error}");
        owner.migrate().await.unwrap();
        queue.migrate().await.unwrap();
    }
    role.drop(&scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_of_the_tables_is_told_and_is_none_before_they_are_made() {
    let scratch = Scratch::new().await;
    let in_schema = scratch.queue_with(|config| config.schema = Some("work".to_owned())).await;
    for queue in [scratch.queue().await, in_schema] {
        assert_eq!(queue.schema_version().await.unwrap(), 0);
        queue.migrate().await.unwrap();
        assert_eq!(queue.schema_version().await.unwrap(), 5);
    }
    say(&mut scratch.connect().await, OF_BEFORE.to_owned()).await.unwrap();
    assert_eq!(scratch.queue().await.schema_version().await.unwrap(), 2);
}

/// The tables of version 2.
const OF_BEFORE: &str = "DELETE FROM tasks_migrations WHERE version > 2; DROP INDEX tasks_due_order; \
    CREATE INDEX tasks_due ON tasks (shard, due_at) WHERE due_at IS NOT NULL";

/// A promotion locks what it will change, and then changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_in_the_middle_of_its_work_and_an_upgrade_wait_for_each_other_without_a_deadlock() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue(task()).await.unwrap();
    let (mut worker, mut looker) = (scratch.connect().await, scratch.connect().await);
    say(&mut looker, OF_BEFORE.to_owned()).await.unwrap();
    say(&mut worker, "BEGIN; SELECT FROM tasks FOR UPDATE".to_owned()).await.unwrap();

    let upgraded = queue.clone();
    let upgrade = tokio::spawn(async move { upgraded.migrate().await });
    wait_until("the upgrade waits for the worker", async || {
        let waits = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'tasks'::regclass AND NOT granted";
        sqlx::query_scalar(waits).fetch_one(&mut looker).await.unwrap()
    })
    .await;
    say(&mut worker, "UPDATE tasks SET updated_at = now(); COMMIT".to_owned()).await.unwrap();

    upgrade.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_does_not_hold_up_the_queue_for_as_long_as_somebody_reads_its_table() {
    let (scratch, queue) = Scratch::with_queue().await;
    let mut dump = scratch.connect().await;
    say(&mut dump, OF_BEFORE.to_owned()).await.unwrap();
    say(&mut dump, "BEGIN; SELECT FROM tasks".to_owned()).await.unwrap();

    let refused = queue.migrate().await.unwrap_err();

    assert_unavailable(&refused);
    assert!(refused.to_string().contains("migrate again"), "{refused}");
    say(&mut dump, "COMMIT".to_owned()).await.unwrap();
    queue.migrate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_tables_of_a_newer_version_a_process_works_that_does_not_migrate() {
    let (scratch, _) = Scratch::with_queue().await;
    let newer = "INSERT INTO tasks_migrations (version, name) VALUES (1000, 'of tomorrow')".to_owned();
    say(&mut scratch.connect().await, newer).await.unwrap();
    let restarted = scratch.queue().await;

    restarted.enqueue(task()).await.unwrap();
    let lease = claim_one(&restarted).await.lease;
    restarted.complete(lease).await.unwrap();

    let refused = restarted.migrate().await.unwrap_err();
    assert!(refused.to_string().contains("at version 1000, this program knows only 5"), "{refused}");
}

/// Another one that migrates may build an index for minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migrator_waits_for_its_turn_for_longer_than_others_for_a_lock() {
    let scratch = Scratch::new().await;
    let queue = scratch.queue_with(|config| config.lock_wait_timeout = Duration::from_millis(1)).await;
    let (mut other, mut beside) = (scratch.connect().await, scratch.connect().await);
    say(&mut other, format!("SELECT pg_advisory_lock({})", 0x7461_736b_7175_6575_i64)).await.unwrap();
    let migrating = queue.clone();
    let migrating = tokio::spawn(async move { migrating.migrate().await });
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND now() - query_start > interval '100 milliseconds')";
    wait_until("it waits for longer than that", async || {
        sqlx::query_scalar(waits).fetch_one(&mut beside).await.unwrap()
    })
    .await;

    say(&mut other, "SELECT pg_advisory_unlock_all()".to_owned()).await.unwrap();

    migrating.await.unwrap().unwrap();
    queue.enqueue(task()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_the_application_is_refused_and_nothing_is_made_beside_it() {
    let scratch = Scratch::new().await;
    let mut connection = scratch.connect().await;
    say(&mut connection, "CREATE TABLE tasks_leases (title text)".to_owned()).await.unwrap();
    let queue = scratch.queue().await;

    for _ in 0..2 {
        let error = queue.migrate().await.unwrap_err();
        assert!(error.to_string().contains("the table tasks_leases is there and is no queue's"), "{error}");
    }

    let count = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    let tables: i64 = count.fetch_one(&mut connection).await.unwrap();
    assert_eq!(tables, 1, "the application's own");
}
