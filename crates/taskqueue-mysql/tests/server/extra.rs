//! Claims beside another one of the same worker.

use std::time::Duration;

use sqlx::{Connection, Executor};
use taskqueue_mysql::{Claim, ClaimRequest, Engine, MysqlQueue, NewTask, Queue, TaskType, WorkerId};

use crate::cases::on;
use crate::support::Server;

async fn extra_claim(queue: &MysqlQueue, limit: usize) -> Vec<Claim> {
    let worker = WorkerId::new("ada").unwrap();
    let request = ClaimRequest::new(worker, [TaskType::new("mail").unwrap()], limit);
    queue.dequeue_many(&request.extra()).await.unwrap()
}

async fn of_extra_claims_at_once_one_looks_for_tasks(server: Server) {
    let database = server.database().await;
    let queue = MysqlQueue::with_config(database.config()).await.unwrap();
    queue.migrate().await.unwrap();
    let mut vitess = database.config();
    vitess.engine = Some(Engine::Vitess);
    let vitess = MysqlQueue::with_config(vitess).await.unwrap();
    let task = || NewTask::raw("mail", "{}").unwrap();
    queue.enqueue_many((0..4).map(|_| task()).collect()).await.unwrap();
    let mut connection = database.connect().await;

    let mut other = connection.begin().await.unwrap();
    other.execute("SELECT one FROM tasks_shards FOR UPDATE").await.unwrap();
    assert!(extra_claim(&queue, 3).await.is_empty(), "another one is on its way");
    other.rollback().await.unwrap();

    assert_eq!(extra_claim(&queue, 3).await.len(), 3);
    assert!(extra_claim(&vitess, 3).await.is_empty(), "there they are of no use");
    assert_eq!(queue.stats().await.unwrap().pending, 1);
}

async fn a_migration_waits_for_no_extra_claim(server: Server) {
    let database = server.database().await;
    let mut config = database.config();
    config.lock_wait_timeout = Duration::from_secs(1);
    let queue = MysqlQueue::with_config(config).await.unwrap();
    queue.migrate().await.unwrap();
    let mut connection = database.connect().await;
    let mut claim = connection.begin().await.unwrap();
    claim.execute("SELECT one FROM tasks_shards FOR UPDATE").await.unwrap();

    queue.migrate().await.unwrap();

    claim.rollback().await.unwrap();
}

on! {
    a_migration_waits_for_no_extra_claim
    of_extra_claims_at_once_one_looks_for_tasks
}
