//! Rows that a producer's own INSERT brought, and that no version of this crate writes. SQLite keeps in a column whatever it is
//! given: it costs the other tasks nothing.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail them as the tests do")]

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use taskqueue_sqlite::{
    Cancelled, Claim, ClaimRequest, Cleanup, NewTask, Outcome, Priority, Queue, Redrive, SqliteQueue, Status,
    TaskFilter, TaskId, TaskType, WorkerId,
};
use tempfile::TempDir;

struct File {
    folder: TempDir,
    queue: SqliteQueue,
}

impl File {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = SqliteQueue::connect(folder.path().join("q.db").to_str().unwrap()).await.unwrap();
        queue.migrate().await.unwrap();
        Self { folder, queue }
    }

    async fn say(&self, sql: String) {
        let path = self.folder.path().join("q.db");
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    async fn enqueue(&self, priority: i32) -> TaskId {
        self.queue.enqueue(NewTask::raw("mail", "{}").unwrap().priority(Priority(priority))).await.unwrap()
    }

    /// Enqueues a task that is the first in line, and makes something else of it.
    async fn enqueue_and_spoil(&self, change: &str) -> TaskId {
        let id = self.enqueue(20).await;
        let hex = id.as_uuid().simple();
        self.say(format!("UPDATE tasks SET {change} WHERE id = x'{hex}'")).await;
        id
    }

    async fn claim(&self, limit: usize) -> Vec<Claim> {
        let types = [TaskType::new("mail").unwrap()];
        let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), types, limit);
        self.queue.dequeue_many(&request).await.unwrap()
    }
}

#[tokio::test]
async fn a_task_that_cannot_be_read_becomes_a_dead_letter_and_stops_no_claim() {
    for (change, limit) in [
        ("payload = CAST(x'22ff22' AS TEXT)", 2),
        ("payload = x'ff'", 1),
        ("scheduled_at = 'soon'", 1),
        ("scheduled_at = 9223372036854775807", 2),
        ("priority = 3000000000, queue_rank = -3000000000", 2),
    ] {
        let file = File::new().await;
        file.enqueue_and_spoil(change).await;
        let good = file.enqueue(5).await;

        let claims = file.claim(limit).await;

        assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [good], "{change}");
        let stats = file.queue.stats().await.unwrap();
        assert_eq!((stats.running, stats.dead_letter), (1, 1), "{change}");
        assert_eq!(file.queue.list(&TaskFilter::default()).await.unwrap().tasks.len(), 1, "{change}");
    }
}

#[tokio::test]
async fn a_claim_of_much_that_cannot_be_read_ends_and_later_ones_come_to_what_is_behind() {
    let file = File::new().await;
    for _ in 0..25 {
        file.enqueue_and_spoil("payload = x'ff'").await;
    }
    let good = file.enqueue(0).await;

    assert!(file.claim(1).await.is_empty());
    assert_eq!(file.queue.stats().await.unwrap().dead_letter, 20);

    assert_eq!(file.claim(1).await[0].task.id, good);
}

#[tokio::test]
async fn a_dead_letter_that_could_not_be_read_says_why_and_can_be_mended_and_redriven() {
    let file = File::new().await;
    let id = file.enqueue_and_spoil("payload = x'ff'").await;
    assert!(file.claim(1).await.is_empty());
    file.say("UPDATE tasks SET payload = '1'".to_owned()).await;

    let dead = file.queue.get(id).await.unwrap();
    assert_eq!(dead.status, Status::DeadLetter);
    assert!(dead.last_error.as_deref().is_some_and(|error| error.contains("UTF-8")), "{dead:?}");
    assert_eq!(file.queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap(), 1);

    assert_eq!(file.claim(1).await.len(), 1);
    assert_eq!(file.queue.stats().await.unwrap().dead_letter, 0);
}

/// Makes a dead letter that is the first in line of what cannot be read.
async fn with_a_dead_letter(change: &str) -> File {
    let file = File::new().await;
    file.enqueue_and_spoil(change).await;
    assert!(file.claim(1).await.is_empty());
    assert_eq!(file.queue.stats().await.unwrap().dead_letter, 1);
    file
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_read_keeps_no_other_from_being_redriven() {
    for change in ["unique_key = x'8fff', unique_held = 1", "id = 'abcdefghijklmnop'"] {
        let file = with_a_dead_letter(change).await;
        file.enqueue(5).await;
        let lease = file.claim(1).await.pop().unwrap().lease;
        file.queue.settle(lease, Outcome::permanent("never")).await.unwrap();

        assert_eq!(file.queue.redrive(&Redrive::Any { task_type: None, limit: 1 }).await.unwrap(), 1);

        assert_eq!(file.claim(10).await.len(), 1, "{change}");
    }
}

#[tokio::test]
async fn a_finished_task_whose_id_cannot_be_read_keeps_no_other_from_being_cleaned_up() {
    let file = with_a_dead_letter("id = 'abcdefghijklmnop'").await;
    let cancelled = file.enqueue(5).await;
    file.queue.cancel(cancelled).await.unwrap();

    assert_eq!(file.queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await.unwrap(), 1);

    assert_eq!(file.queue.stats().await.unwrap().cancelled, 0);
}

#[tokio::test]
async fn a_dead_letter_of_unreadable_times_is_cleaned_up() {
    let file = with_a_dead_letter("created_at = 'soon'").await;
    file.say("UPDATE tasks SET started_at = 'soon'".to_owned()).await;

    assert_eq!(file.queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_task_whose_times_are_none_stops_no_statistics() {
    let file = File::new().await;
    file.enqueue_and_spoil("scheduled_at = CURRENT_TIMESTAMP, updated_at = CURRENT_TIMESTAMP").await;

    let stats = file.queue.stats().await.unwrap();

    assert_eq!((stats.pending, stats.oldest_pending), (1, None));
}

#[tokio::test]
async fn values_of_other_types_are_read_as_far_as_they_make_sense() {
    let file = File::new().await;
    for change in [
        "payload = CAST('{}' AS BLOB)",
        "payload = x'31323334353637383132333435363738'",
        "scheduled_at = scheduled_at + 0.5",
        "queue_at = queue_at + 0.5",
        "queue_at = 'soon'",
        r#"metadata = '{"n":1}'"#,
        "region = x'6575'",
    ] {
        file.enqueue_and_spoil(change).await;
    }

    let claims = file.claim(10).await;

    assert_eq!(claims.len(), 7);
    assert_eq!(claims[0].task.payload.as_str(), "{}");
    assert_eq!(claims[1].task.payload.as_str(), "1234567812345678", "as long as an id");
}

#[tokio::test]
async fn a_row_of_no_task_type_is_counted_and_can_be_cancelled() {
    let file = File::new().await;
    let spoiled = file.enqueue_and_spoil("type = 'Send Email'").await;
    let good = file.enqueue(5).await;

    let stats = file.queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.by_type.len()), (2, 1));
    let listed = file.queue.list(&TaskFilter::default()).await.unwrap().tasks;
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [good]);
    assert_eq!(file.queue.cancel(spoiled).await.unwrap(), Cancelled::From(Status::Pending));
    let stats = file.queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.cancelled), (1, 1));
}

#[tokio::test]
async fn a_row_of_no_task_type_that_was_cancelled_is_cleaned_up() {
    let file = File::new().await;
    let spoiled = file.enqueue_and_spoil("type = 'Send Email'").await;
    file.queue.cancel(spoiled).await.unwrap();

    assert_eq!(file.queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await.unwrap(), 1);

    assert_eq!(file.queue.stats().await.unwrap().cancelled, 0);
}

#[tokio::test]
async fn a_row_whose_type_is_no_text_can_be_cancelled() {
    for change in ["type = x'ff'", "type = CAST(x'ff' AS TEXT)"] {
        let file = File::new().await;
        let spoiled = file.enqueue_and_spoil(change).await;

        let cancelled = file.queue.cancel(spoiled).await.unwrap();

        assert_eq!(cancelled, Cancelled::From(Status::Pending), "{change}");
        assert_eq!(file.queue.stats().await.unwrap().cancelled, 1, "{change}");
    }
}
