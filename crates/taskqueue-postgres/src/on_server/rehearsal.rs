//! That a worker's connections know its statements before its first task.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Row as _};
use taskqueue_core::{NewTask, Queue as _, Status};
use taskqueue_sql::WakeUpMode;
use tokio::time::timeout;

use super::database::{Database, run};
use crate::{PostgresConfig, PostgresQueue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_that_is_opened_ahead_has_a_workers_statements_prepared_and_nothing_is_claimed() {
    let database = Database::create().await;
    let mut config = PostgresConfig::url(database.options().to_url_lossy().as_str()).unwrap();
    // Notifications have connections that are opened for them.
    config.wake_up = WakeUpMode::Off;
    let queue = PostgresQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let id = queue.enqueue(NewTask::raw("rehearsal", "1").unwrap()).await.unwrap();
    let (dialect, literal) = (queue.sql.dialect(), queue.sql.dialect().literal());

    // That of the calls so far: a worker's first claim has it meanwhile.
    let used = dialect.connections().acquire().await.unwrap();
    let _wake_up = queue.wake_up();
    let rehearsing = async {
        while dialect.connections().kept() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), rehearsing).await.expect("two connections are at hand soon");

    let ahead = &literal.ahead.as_ref().unwrap().claim;
    let wanted = [&literal.claim, ahead, &literal.complete];
    let mut looked_at = Vec::new();
    for _ in 0..2 {
        let mut connection = dialect.connections().acquire().await.unwrap();
        let prepared = run(&mut connection, "SELECT statement FROM pg_prepared_statements".to_owned()).await;
        let prepared: Vec<String> = prepared.iter().map(|row| row.get(0)).collect();
        for statement in wanted {
            assert!(prepared.contains(statement), "{statement} is not among {prepared:#?}");
        }
        looked_at.push(connection);
    }
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.status, task.attempts), (Status::Pending, 0));
    assert!(run(&mut database.connect().await, "SELECT token FROM tasks_leases".to_owned()).await.is_empty());

    drop((used, looked_at));
    queue.close().await;
    database.drop().await;
}
