//! What only this backend has, on real servers: the caller's own transactions and pools, migration at once, keys and
//! locks as these engines treat them. The behaviour that every backend has is the conformance suite's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cases.rs"]
mod cases;
#[path = "server/cursors.rs"]
mod cursors;
#[path = "server/deleting.rs"]
mod deleting;
#[path = "server/extra.rs"]
mod extra;
#[path = "server/foreign.rs"]
mod foreign;
#[path = "server/keys.rs"]
mod keys;
#[path = "server/leases.rs"]
mod leases;
#[path = "server/locked.rs"]
mod locked;
#[path = "server/rights.rs"]
mod rights;
#[path = "server/sessions.rs"]
mod sessions;
#[path = "server/stored.rs"]
mod stored;
mod support;
#[path = "server/transactions.rs"]
mod transactions;
#[path = "server/unable.rs"]
mod unable;
#[path = "server/width.rs"]
mod width;

use cases::on;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, Connection, Executor};
use support::{Database, Server};
use taskqueue_conformance::wait_until;
use taskqueue_mysql::{
    Claim, ClaimRequest, Engine, ErrorKind, MysqlConfig, MysqlQueue, NewTask, Queue, Status, TaskId,
    TaskType, WorkerId,
};

async fn fresh(server: Server) -> (MysqlQueue, Database) {
    let database = server.database().await;
    let queue = MysqlQueue::with_config(database.config()).await.unwrap();
    queue.migrate().await.unwrap();
    (queue, database)
}

fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

async fn claim(queue: &MysqlQueue, limit: usize) -> Vec<Claim> {
    let worker = WorkerId::new("ada").unwrap();
    queue.dequeue_many(&ClaimRequest::new(worker, [TaskType::new("mail").unwrap()], limit)).await.unwrap()
}

/// Under REPEATABLE READ, the default, empty polls lock the gaps into which enqueues insert.
async fn empty_polls_and_enqueues_never_stand_in_each_others_way(server: Server) {
    let (queue, _database) = fresh(server).await;
    let poller = queue.clone();
    let polls = tokio::spawn(async move {
        let mut claimed = 0;
        while claimed < 200 {
            claimed += claim(&poller, 1).await.len();
        }
    });

    for _ in 0..50 {
        let enqueues = [task(), task(), task(), task()].map(|task| queue.enqueue(task));
        for enqueued in futures_of(enqueues).await {
            enqueued.unwrap();
        }
    }
    tokio::time::timeout(std::time::Duration::from_secs(60), polls).await.unwrap().unwrap();

    assert_eq!(queue.contention_retries(), 0);
}

/// Waits for four futures at once.
async fn futures_of<F: Future>([a, b, c, d]: [F; 4]) -> [F::Output; 4] {
    tokio::join!(a, b, c, d).into()
}

async fn migrators_at_once_agree(server: Server) {
    let database = server.database().await;
    let queue = MysqlQueue::with_config(database.config()).await.unwrap();

    for migrated in futures_of([queue.migrate(), queue.migrate(), queue.migrate(), queue.migrate()]).await {
        migrated.unwrap();
    }

    queue.enqueue(task()).await.unwrap();
    queue.migrate().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1, "migrating again changes nothing");
}

async fn the_version_of_the_tables_is_told_and_is_none_before_they_are_made(server: Server) {
    let database = server.database().await;
    let mut as_vitess = database.config();
    as_vitess.engine = Some(Engine::Vitess);
    for config in [as_vitess, database.config()] {
        let queue = MysqlQueue::with_config(config).await.unwrap();
        assert_eq!(queue.schema_version().await.unwrap(), 0);
        queue.migrate().await.unwrap();
        assert_eq!(queue.schema_version().await.unwrap(), 5);
        let drop_all = "DROP TABLE tasks, tasks_keys, tasks_leases, tasks_paused, tasks_totals, tasks_shards, tasks_migrations";
        database.connect().await.execute(drop_all).await.unwrap();
    }
}

async fn a_migration_that_was_cut_short_is_taken_up_again(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    connection.execute("DROP TABLE tasks_totals; DELETE FROM tasks_migrations").await.unwrap();

    queue.migrate().await.unwrap();

    queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;
    queue.complete(lease).await.unwrap();
}

async fn a_schema_of_a_newer_program_is_refused(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    connection.execute("INSERT INTO tasks_migrations VALUES (999, 'of tomorrow', NOW(6))").await.unwrap();

    let refused = queue.migrate().await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::Backend);
    assert!(refused.to_string().contains("version 999"), "{refused}");
}

/// What is said to Vitess and left out there is tried on the other engines: no lock for migrators, the isolation level
/// by session.
async fn the_settings_for_vitess_do(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.engine = Some(Engine::Vitess);
    let queue = MysqlQueue::with_config(config).await.unwrap();

    for migrated in futures_of([queue.migrate(), queue.migrate(), queue.migrate(), queue.migrate()]).await {
        migrated.unwrap();
    }
    queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;
    queue.complete(lease).await.unwrap();

    assert_eq!(queue.stats().await.unwrap().completed, 1);
    assert_eq!(queue.backend().await.unwrap().name, "vitess");
    // MariaDB before 11.1 has the old name only, MySQL the new one only.
    let levels = "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')";
    let (_, level): (String, String) = sqlx::query_as(levels).fetch_one(queue.pool()).await.unwrap();
    assert_eq!(level, "READ-COMMITTED");
}

/// A pool whose callers drop their futures can hold connections inside a transaction.
async fn a_transaction_left_open_in_the_callers_pool_is_none_of_the_queues(server: Server) {
    let (_queue, database) = fresh(server).await;
    let pool = MySqlPoolOptions::new().max_connections(1).connect(&database.url()).await.unwrap();
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool.clone())).await.unwrap();
    queue.stats().await.unwrap();
    let mut left = pool.acquire().await.unwrap();
    left.execute("START TRANSACTION").await.unwrap();
    drop(left);
    wait_until("the connection is back", async || pool.num_idle() == 1).await;

    let id = queue.enqueue(task()).await.unwrap();

    let mut other = database.connect().await;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tasks").fetch_one(&mut other).await.unwrap();
    assert_eq!(count, 1, "{id} is committed");
}

async fn a_closed_queue_leaves_the_callers_pool_open(server: Server) {
    let (_queue, database) = fresh(server).await;
    let pool = MySqlPoolOptions::new().max_connections(2).connect(&database.url()).await.unwrap();
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool.clone())).await.unwrap();
    queue.enqueue(task()).await.unwrap();

    queue.close().await;

    assert_eq!(queue.enqueue(task()).await.unwrap_err().kind(), ErrorKind::QueueClosed);
    let all = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    drop(all);
    let other = MysqlQueue::with_config(MysqlConfig::pool(pool)).await.unwrap();
    assert_eq!(other.stats().await.unwrap().pending, 1);
}

/// Counts the open transactions of the present database. MySQL's `innodb_trx` cannot be read while another session's
/// statement has bytes in it.
fn open_transactions(engine: &str) -> &'static str {
    match engine {
        "mariadb" => {
            "SELECT COUNT(*) FROM information_schema.innodb_trx AS t JOIN information_schema.processlist AS p \
             ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE()"
        }
        _ => {
            "SELECT COUNT(*) FROM performance_schema.events_transactions_current AS t \
             JOIN performance_schema.threads AS p USING (thread_id) \
             WHERE p.processlist_db = DATABASE() AND p.processlist_id <> CONNECTION_ID() AND t.state = 'ACTIVE'"
        }
    }
}

/// Futures of the queue and of its pool, dropped at any moment.
async fn dropped_futures_leave_no_transaction_open(server: Server) {
    let (queue, database) = fresh(server).await;
    queue.enqueue_many((0..300).map(|_| task()).collect()).await.unwrap();
    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [TaskType::new("mail").unwrap()], 1);
    for round in 0..400_u64 {
        let moment = std::time::Duration::from_micros(round * 7_919 % 4_000);
        let used = async {
            let mut transaction = queue.pool().begin().await?;
            transaction.execute("UPDATE tasks SET region = 'eu' WHERE shard = 0 ORDER BY id LIMIT 1").await
        };
        drop(tokio::time::timeout(moment, used).await);
        drop(tokio::time::timeout(moment, queue.dequeue_many(&request)).await);
        drop(tokio::time::timeout(moment, queue.stats()).await);
        if round % 8 == 0 {
            // Dropped calls run on to their end. The pool is fair: this one is behind them, so that a busy machine
            // piles up no more of them than it can end while the test waits.
            queue.stats().await.unwrap();
        }
    }

    let mut other = database.connect().await;
    let open = open_transactions(server.engine);
    wait_until("no transaction is open", async || {
        sqlx::query_scalar::<_, i64>(open).fetch_one(&mut other).await.unwrap() == 0
    })
    .await;
    queue.enqueue(task()).await.unwrap();
}

/// Every number that means "repeat the transaction", as a trigger says it until it is dropped.
async fn transactions_that_others_were_in_the_way_of_are_repeated_and_counted(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    // However long a busy server takes to drop the trigger.
    config.contention_retries_max = 1_000;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let mut connection = database.connect().await;
    for number in [1213, 1205, 1020, 3101] {
        let before = queue.contention_retries();
        let says = format!(
            "CREATE TRIGGER in_the_way BEFORE INSERT ON tasks FOR EACH ROW \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'others were in the way'"
        );
        connection.execute(AssertSqlSafe(says)).await.unwrap();
        let enqueuing = queue.clone();
        let enqueue = tokio::spawn(async move { enqueuing.enqueue(task()).await });
        wait_until("it is repeated", async || queue.contention_retries() >= before + 2).await;
        connection.execute("DROP TRIGGER in_the_way").await.unwrap();
        enqueue.await.unwrap().unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    assert_eq!(queue.stats().await.unwrap().pending, 4);
}

/// By itself a lock wait timeout undoes one statement and keeps the locks of those before.
async fn a_lock_that_is_held_for_long_ends_in_an_error_that_passes_and_keeps_no_lock(server: Server) {
    let (queue, database) = fresh(server).await;
    let held = queue.enqueue(task()).await.unwrap();
    let mut config = database.config();
    config.lock_wait_timeout = std::time::Duration::from_secs(1);
    config.contention_retries_max = 1;
    let impatient = MysqlQueue::with_config(config).await.unwrap();
    let mut other = database.connect().await;
    let mut holder = other.begin().await.unwrap();
    let lock = sqlx::query("SELECT id FROM tasks WHERE shard = 0 AND id = ? FOR UPDATE");
    lock.bind(held.as_uuid().into_bytes().to_vec()).fetch_one(&mut *holder).await.unwrap();

    let error = impatient.cancel(held).await.unwrap_err();

    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(impatient.contention_retries(), 1);
    holder.rollback().await.unwrap();
    queue.cancel(held).await.unwrap();
}

async fn no_error_holds_the_password(server: Server) {
    let database = server.database().await;
    let url = database.url();
    let (user, place) = url.rsplit_once('@').unwrap();
    let (user, _password) = user.rsplit_once(':').unwrap();
    for wrong in [
        format!("{user}:sesame@{place}"),
        format!("{user}:sesame@{place}&ssl-mode=VERIFY_CA"),
        format!("{user}:sesame@{place}&ssl-ca=/nowhere/ca.pem&ssl-mode=VERIFY_CA"),
    ] {
        let Err(error) = MysqlQueue::connect(&wrong).await else { panic!("it is refused") };
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

/// At the level of these sessions even a plain read locks, and would wait for the row that another one holds.
async fn a_pool_of_the_callers_may_have_any_isolation_level(server: Server) {
    let (_queue, database) = fresh(server).await;
    let sessions = MySqlPoolOptions::new().max_connections(2).after_connect(|connection, _| {
        Box::pin(async move {
            connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.map(drop)
        })
    });
    let pool = sessions.connect(&database.url()).await.unwrap();
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool)).await.unwrap();
    let held = queue.enqueue(task()).await.unwrap();
    queue.enqueue_many(vec![task(), task()]).await.unwrap();
    let mut other = database.connect().await;
    let mut holder = other.begin().await.unwrap();
    let lock = sqlx::query("SELECT id FROM tasks WHERE shard = 0 AND id = ? FOR UPDATE");
    lock.bind(held.as_uuid().into_bytes().to_vec()).fetch_one(&mut *holder).await.unwrap();

    let claims = claim(&queue, 3).await;

    let claimed: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
    assert_eq!(claimed.len(), 2, "what another transaction holds is passed over");
    assert!(!claimed.contains(&held));
    assert_eq!(queue.get(held).await.unwrap().status, Status::Pending);
    holder.rollback().await.unwrap();
}

on! {
    empty_polls_and_enqueues_never_stand_in_each_others_way
    migrators_at_once_agree
    the_version_of_the_tables_is_told_and_is_none_before_they_are_made
    a_migration_that_was_cut_short_is_taken_up_again
    a_schema_of_a_newer_program_is_refused
    the_settings_for_vitess_do
    a_transaction_left_open_in_the_callers_pool_is_none_of_the_queues
    a_closed_queue_leaves_the_callers_pool_open
    dropped_futures_leave_no_transaction_open
    transactions_that_others_were_in_the_way_of_are_repeated_and_counted
    a_lock_that_is_held_for_long_ends_in_an_error_that_passes_and_keeps_no_lock
    no_error_holds_the_password
    a_pool_of_the_callers_may_have_any_isolation_level
}
