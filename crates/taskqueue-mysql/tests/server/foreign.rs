//! Rows that a producer's own INSERT brought, and that no version of this crate writes: they cost the other tasks nothing.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _};
use taskqueue_mysql::{
    Cleanup, Enqueued, MysqlQueue, NewTask, Priority, Queue, Redrive, Status, TaskFilter, TaskId,
};

use crate::cases::on;
use crate::support::{Database, Server};
use crate::{claim, fresh, task};

/// As a session without the strict modes, over another character set.
async fn say(database: &Database, sql: String) {
    let mut session = database.connect().await;
    session.execute("SET SESSION sql_mode = ''").await.unwrap();
    session.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

/// Enqueues a task that is the first in line, and makes something else of it.
async fn enqueue_and_spoil(database: &Database, queue: &MysqlQueue, change: &str) -> TaskId {
    let id = queue.enqueue(task().priority(Priority(20)).unique_key("k")).await.unwrap();
    let hex = id.as_uuid().simple();
    say(database, format!("UPDATE tasks SET {change} WHERE id = x'{hex}'")).await;
    id
}

fn ids<'c>(claims: &'c [taskqueue_mysql::Claim]) -> impl Iterator<Item = TaskId> + 'c {
    claims.iter().map(|claim| claim.task.id)
}

async fn a_task_that_cannot_be_read_becomes_a_dead_letter_and_stops_no_claim(server: Server) {
    for change in [
        "region = x'e9'",
        "unique_key = x'8fff'",
        "scheduled_at = '0000-00-00'",
        "scheduled_at = '2026-00-10'",
        "created_at = '0000-00-00'",
        "type = 'mail '",
    ] {
        let (queue, database) = fresh(server).await;
        enqueue_and_spoil(&database, &queue, change).await;
        let good = queue.enqueue(task()).await.unwrap();
        assert_eq!(queue.list(&TaskFilter::default()).await.unwrap().tasks.len(), 1, "{change}");

        let claims = claim(&queue, 1).await;

        assert!(ids(&claims).eq([good]), "{change}");
        let stats = queue.stats().await.unwrap();
        assert_eq!((stats.running, stats.dead_letter), (1, 1), "{change}");
        let pending = TaskFilter { status: Some(Status::Pending), ..TaskFilter::default() };
        assert_eq!(queue.list(&pending).await.unwrap().tasks.len(), 0, "{change}");
        assert!(claim(&queue, 1).await.is_empty(), "{change}");
    }
}

async fn a_dead_letter_that_could_not_be_read_says_why_and_can_be_mended_and_redriven(server: Server) {
    let (queue, database) = fresh(server).await;
    let id = enqueue_and_spoil(&database, &queue, "region = x'e9'").await;
    assert!(claim(&queue, 1).await.is_empty());
    // Its key is free.
    let other = task().unique_key("k");
    let other_id = other.id;
    assert_eq!(queue.enqueue_many(vec![other]).await.unwrap(), [Enqueued::Created(other_id)]);
    queue.cancel(other_id).await.unwrap();
    say(&database, "UPDATE tasks SET region = 'eu'".to_owned()).await;

    let dead = queue.get(id).await.unwrap();
    assert_eq!(dead.status, Status::DeadLetter);
    assert!(dead.last_error.as_deref().is_some_and(|error| error.contains("UTF-8")), "{dead:?}");
    assert_eq!(queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap(), 1);

    assert_eq!(claim(&queue, 1).await.len(), 1);
    assert_eq!(queue.stats().await.unwrap().dead_letter, 0);
}

async fn a_dead_letter_that_could_not_be_read_is_cleaned_up_with_the_others(server: Server) {
    let (queue, database) = fresh(server).await;
    enqueue_and_spoil(&database, &queue, "created_at = '0000-00-00', started_at = '2026-00-10'").await;
    assert!(claim(&queue, 1).await.is_empty());

    assert_eq!(queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await.unwrap(), 1);

    assert_eq!(queue.stats().await.unwrap().dead_letter, 0);
}

async fn values_that_no_version_writes_are_read_as_far_as_they_make_sense(server: Server) {
    let (queue, database) = fresh(server).await;
    for change in [
        "attempts = 2147483647",
        "lease_number = 9223372036854775807",
        "reclaims = 2147483647",
        "queue_at = '0000-00-00'",
        r#"metadata = '{"n":1}'"#,
    ] {
        let id = queue.enqueue(NewTask::raw("mail", "{}").unwrap().priority(Priority(20))).await.unwrap();
        let hex = id.as_uuid().simple();
        say(&database, format!("UPDATE tasks SET {change} WHERE id = x'{hex}'")).await;
    }
    let good = queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 6);

    let claims = claim(&queue, 10).await;

    assert_eq!(claims.len(), 6);
    assert!(ids(&claims).any(|id| id == good));
    let stored = queue.list(&TaskFilter::default()).await.unwrap().tasks;
    let is_as_stored = |claim: &taskqueue_mysql::Claim| {
        stored.iter().any(|task| task.id == claim.task.id && task.attempts == claim.task.attempts)
    };
    assert!(claims.iter().all(is_as_stored));
    let end = "UPDATE tasks SET lease_until = '2020-01-01' WHERE status = 2; UPDATE tasks_leases SET check_at = '2020-01-01'";
    say(&database, end.to_owned()).await;
    let reclaimed = queue.reclaim_stale(100).await.unwrap();
    assert_eq!((reclaimed.released, reclaimed.dead_lettered), (4, 2), "two have had their share");
}

on! {
    a_task_that_cannot_be_read_becomes_a_dead_letter_and_stops_no_claim
    a_dead_letter_that_could_not_be_read_says_why_and_can_be_mended_and_redriven
    a_dead_letter_that_could_not_be_read_is_cleaned_up_with_the_others
    values_that_no_version_writes_are_read_as_far_as_they_make_sense
}
