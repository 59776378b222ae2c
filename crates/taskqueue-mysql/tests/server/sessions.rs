//! Sessions whose settings the service has changed: what the queue answers with Ok is committed all the same.

use std::time::Duration;

use sqlx::mysql::{MySqlDatabaseError, MySqlPoolOptions};
use sqlx::{Executor, MySqlPool};
use taskqueue_mysql::{MysqlConfig, MysqlQueue, Queue};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{fresh, task, wait_until};

const CONNECTIONS: u32 = 2;

/// How many tasks other sessions see.
async fn committed(database: &Database) -> i64 {
    let mut other = database.connect().await;
    sqlx::query_scalar("SELECT COUNT(*) FROM tasks").fetch_one(&mut other).await.unwrap()
}

/// A pool of the service's whose sessions do not commit by themselves.
async fn pool(database: &Database) -> MySqlPool {
    let options = MySqlPoolOptions::new().max_connections(CONNECTIONS).after_connect(|connection, _| {
        Box::pin(async move { connection.execute("SET SESSION autocommit = 0").await.map(drop) })
    });
    options.connect(&database.url()).await.unwrap()
}

async fn the_queues_own_connections_commit_after_the_service_has_turned_autocommit_off(server: Server) {
    let (_queue, database) = fresh(server).await;
    let mut config = database.config();
    config.connections_max = CONNECTIONS;
    let queue = MysqlQueue::with_config(config).await.unwrap();
    let mut lent = [queue.pool().acquire().await.unwrap(), queue.pool().acquire().await.unwrap()];
    for connection in &mut lent {
        connection.execute("SET SESSION autocommit = 0").await.unwrap();
    }
    drop(lent);
    wait_until("they are back", async || queue.pool().num_idle() == CONNECTIONS as usize).await;

    queue.enqueue(task()).await.unwrap();
    queue.enqueue_many(vec![task(), task()]).await.unwrap();

    assert_eq!(committed(&database).await, 3);
}

async fn a_queue_on_sessions_without_autocommit_commits_what_it_answers(server: Server) {
    let (_queue, database) = fresh(server).await;
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool(&database).await)).await.unwrap();

    queue.enqueue(task()).await.unwrap();
    queue.enqueue_many(vec![task().unique_key("k"), task().region("eu")]).await.unwrap();

    assert_eq!(committed(&database).await, 3);
}

async fn a_migration_on_sessions_without_autocommit_is_recorded(server: Server) {
    let database = server.database().await;
    let mut config = MysqlConfig::pool(pool(&database).await);
    config.shards = Some(3);
    MysqlQueue::with_config(config).await.unwrap().migrate().await.unwrap();

    let mut other = database.connect().await;
    let recorded = "SELECT (SELECT MAX(version) FROM tasks_migrations), (SELECT shards FROM tasks_shards)";
    let recorded: (Option<i64>, Option<i16>) = sqlx::query_as(recorded).fetch_one(&mut other).await.unwrap();
    assert_eq!(recorded, (Some(5), Some(3)));
}

/// DDL commits what is open.
async fn a_migration_commits_nothing_that_the_service_has_left_open(server: Server) {
    let (_queue, database) = fresh(server).await;
    let pool = MySqlPoolOptions::new().max_connections(1).connect(&database.url()).await.unwrap();
    let queue = MysqlQueue::with_config(MysqlConfig::pool(pool.clone())).await.unwrap();
    let mut left = pool.acquire().await.unwrap();
    left.execute("START TRANSACTION; INSERT INTO tasks_paused (type, paused_at) VALUES ('mail', NOW(6))")
        .await
        .unwrap();
    drop(left);

    queue.migrate().await.unwrap();

    assert!(queue.paused().await.unwrap().is_empty());
}

/// How long the server goes on with a statement, in milliseconds.
fn limit(server: Server) -> &'static str {
    match server.engine {
        "mariadb" => "SELECT CAST(@@max_statement_time * 1000 AS SIGNED)",
        _ => "SELECT CAST(@@max_execution_time AS SIGNED)",
    }
}

async fn a_statement_that_was_given_up_ends_in_the_server(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    (config.lock_wait_timeout, config.statement_timeout) = (Duration::from_secs(1), Duration::from_secs(3));
    let queue = MysqlQueue::with_config(config).await.unwrap();

    let lasts: i64 = sqlx::query_scalar(limit(server)).fetch_one(queue.pool()).await.unwrap();
    assert_eq!(
        lasts, 2_900,
        "between the time that it may wait for a lock and the time after which it is given up"
    );

    queue.migrate().await.unwrap();
    queue.enqueue_many((0..100).map(|_| task()).collect()).await.unwrap();
    let endless = "SELECT COUNT(*) FROM tasks a, tasks b, tasks c, tasks d, tasks e, tasks f \
                   WHERE a.priority + b.priority + c.priority + d.priority + e.priority + f.priority > 0";
    let ended = sqlx::query_scalar::<_, i64>(endless).fetch_one(queue.pool()).await.unwrap_err();
    let ended = ended.as_database_error().unwrap().downcast_ref::<MySqlDatabaseError>().number();
    assert!([1969, 3024].contains(&ended), "{ended}");

    queue.migrate().await.expect("its own session has no such limit");
}

on! {
    a_statement_that_was_given_up_ends_in_the_server
    the_queues_own_connections_commit_after_the_service_has_turned_autocommit_off
    a_queue_on_sessions_without_autocommit_commits_what_it_answers
    a_migration_on_sessions_without_autocommit_is_recorded
    a_migration_commits_nothing_that_the_service_has_left_open
}
