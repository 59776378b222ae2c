//! What only this backend has, on real servers: the caller's own transactions and pools, migration at once, keys and
//! locks as these engines treat them. The behaviour that every backend has is the conformance suite's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use sqlx::mysql::MySqlPoolOptions;
use sqlx::{Connection, Executor};
use support::{Database, Server};
use taskqueue_mysql::{
    Claim, ClaimRequest, ErrorKind, MysqlConfig, MysqlQueue, NewTask, Queue, Status, TaskId, TaskType,
    WorkerId,
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

async fn a_task_commits_or_rolls_back_with_the_callers_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;

    let mut dropped = connection.begin().await.unwrap();
    let lost = queue.enqueue_in(&mut dropped, task()).await.unwrap();
    dropped.rollback().await.unwrap();
    let mut kept = connection.begin().await.unwrap();
    let id = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::TaskNotFound, "it is not committed yet");
    let taken = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap_err();
    kept.commit().await.unwrap();

    assert_eq!(taken.kind(), ErrorKind::DuplicateUnique);
    assert_eq!(queue.get(lost).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
}

async fn a_completion_commits_or_rolls_back_with_the_callers_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;

    let mut dropped = connection.begin().await.unwrap();
    queue.complete_in(&mut dropped, lease.clone()).await.unwrap();
    dropped.rollback().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running);
    let mut kept = connection.begin().await.unwrap();
    queue.complete_in(&mut kept, lease).await.unwrap();
    kept.commit().await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(queue.stats().await.unwrap().completed, 1);
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

async fn a_migration_that_was_cut_short_is_taken_up_again(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    connection.execute("DROP TABLE tasks_totals; DELETE FROM tasks_migrations").await.unwrap();

    queue.migrate().await.unwrap();

    queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;
    queue.complete(lease).await.unwrap();
}

async fn unique_keys_differ_by_case_accent_and_trailing_blanks(server: Server) {
    let (queue, _database) = fresh(server).await;

    for key in ["cafe", "Cafe", "café", "cafe ", " cafe"] {
        queue.enqueue(task().unique_key(key)).await.unwrap();
        let again = queue.enqueue(task().unique_key(key)).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::DuplicateUnique, "{key:?}");
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

macro_rules! on {
    ($engine:ident, $server:expr, $($name:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($server).await;
                }
            )*
        }
    };
    ($($name:ident)*) => {
        on! { mysql, crate::support::MYSQL, $($name)* }
        on! { mariadb, crate::support::MARIADB, $($name)* }
    };
}

on! {
    a_task_commits_or_rolls_back_with_the_callers_transaction
    a_completion_commits_or_rolls_back_with_the_callers_transaction
    empty_polls_and_enqueues_never_stand_in_each_others_way
    migrators_at_once_agree
    a_migration_that_was_cut_short_is_taken_up_again
    unique_keys_differ_by_case_accent_and_trailing_blanks
    a_pool_of_the_callers_may_have_any_isolation_level
}
