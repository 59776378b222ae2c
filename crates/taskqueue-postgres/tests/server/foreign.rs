//! Rows that a producer's own INSERT brought, and that no version of this crate writes: they cost the other tasks nothing.

use std::time::Duration;

use sqlx::Connection as _;
use taskqueue_postgres::{
    Cancelled, Cleanup, NewTask, PostgresQueue, Priority, Queue, Scanning, Status, TaskFilter, TaskId,
};

use crate::scratch::{Scratch, request, task, tasks, wait_until};
use crate::support::say;

/// Enqueues a task that is the first in line, and makes something else of it.
async fn enqueue_and_spoil(scratch: &Scratch, queue: &PostgresQueue, change: &str) -> TaskId {
    let id = queue.enqueue(NewTask::raw("mail", "{}").unwrap().priority(Priority(20))).await.unwrap();
    let spoil = format!("UPDATE tasks SET {change} WHERE id = '{id}'");
    say(&mut scratch.connect().await, spoil).await.unwrap();
    id
}

async fn end_leases(scratch: &Scratch) {
    let end = "UPDATE tasks SET lease_until = now() - interval '1 second' WHERE status = 2; \
         UPDATE tasks_leases SET check_at = now() - interval '1 second'";
    say(&mut scratch.connect().await, end.to_owned()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_no_version_writes_are_read_as_far_as_they_make_sense() {
    let (scratch, _) = Scratch::with_queue().await;
    // Claims go by cursors, but for the first, and hand the server's times back to it.
    let no_scans = Scanning { slow: Duration::ZERO, rests: 1_000_000_000 };
    let queue = scratch.queue_with(|config| config.testing.scanning = no_scans).await;
    for change in [
        "max_retries = -1",
        "attempts = -9",
        "reclaims = -1",
        "attempts = 2147483647",
        "lease_number = 9223372036854775807",
        "reclaims = 2147483647",
        r#"metadata = '{"n":1}'"#,
        "scheduled_at = '-infinity'",
        "created_at = 'infinity'",
        "queue_at = '-infinity'",
    ] {
        enqueue_and_spoil(&scratch, &queue, change).await;
    }
    queue.enqueue_many(tasks(2)).await.unwrap();

    assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1);
    assert_eq!(queue.dequeue_many(&request(20)).await.unwrap().len(), 11);
    assert_eq!(queue.list(&TaskFilter::default()).await.unwrap().tasks.len(), 12);
    end_leases(&scratch).await;
    let reclaimed = queue.reclaim_stale(100).await.unwrap();

    assert_eq!(
        (reclaimed.released, reclaimed.dead_lettered),
        (9, 3),
        "two have had their share, and the one without attempts is dead"
    );
    assert_eq!(queue.dequeue_many(&request(20)).await.unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_on_behind_a_task_that_cannot_be_read() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue_many(tasks(1)).await.unwrap();
    enqueue_and_spoil(&scratch, &queue, "type = 'Send Email'").await;
    queue.enqueue_many(tasks(1)).await.unwrap();

    let (mut listed, mut filter) = (0, TaskFilter { limit: 1, ..TaskFilter::default() });
    loop {
        let page = queue.list(&filter).await.unwrap();
        listed += page.tasks.len();
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }

    assert_eq!(listed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_no_task_type_is_counted_and_can_be_cancelled() {
    let (scratch, queue) = Scratch::with_queue().await;
    let spoiled = enqueue_and_spoil(&scratch, &queue, "type = 'Send Email'").await;
    let good = queue.enqueue(task()).await.unwrap();

    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.by_type.len()), (2, 1));
    let listed = queue.list(&TaskFilter::default()).await.unwrap().tasks;
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [good]);
    assert_eq!(queue.cancel(spoiled).await.unwrap(), Cancelled::From(Status::Pending));
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.cancelled), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_no_task_type_that_was_cancelled_is_cleaned_up() {
    let (scratch, queue) = Scratch::with_queue().await;
    let spoiled = enqueue_and_spoil(&scratch, &queue, "type = 'Send Email'").await;
    queue.cancel(spoiled).await.unwrap();

    assert_eq!(queue.cleanup(Cleanup::new(Duration::ZERO, 10)).await.unwrap(), 1);

    assert_eq!(queue.stats().await.unwrap().cancelled, 0);
}

/// The clock is the test's, since a claim ahead of the cursors looks back for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_ready_at_the_end_of_time_hides_none_that_comes_after_it() {
    let (scratch, _) = Scratch::with_queue().await;
    let mut clock = scratch.connect().await;
    say(&mut clock, "CREATE TABLE clock AS SELECT timestamptz '2026-01-01 12:00Z' AS at".to_owned())
        .await
        .unwrap();
    let queue = scratch
        .queue_with(|config| {
            config.testing.scanning = Scanning { slow: Duration::ZERO, rests: 1_000_000_000 };
            config.testing.now_sql = Some("(SELECT at FROM clock)");
        })
        .await;
    enqueue_and_spoil(&scratch, &queue, "queue_at = 'infinity'").await;
    assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1);

    for _ in 0..2 {
        let a_while_later = "UPDATE clock SET at = at + interval '10 seconds'";
        say(&mut clock, a_while_later.to_owned()).await.unwrap();
        let task = NewTask::raw("mail", "{}").unwrap().priority(Priority(20));
        queue.enqueue(task).await.unwrap();
        say(&mut clock, a_while_later.to_owned()).await.unwrap();

        assert_eq!(queue.dequeue_many(&request(1)).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_cannot_be_taken_back_keeps_no_other_from_it() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue_many(tasks(3)).await.unwrap();
    assert_eq!(queue.dequeue_many(&request(3)).await.unwrap().len(), 3);
    let spoil = "UPDATE tasks SET type = 'Send Email' WHERE id = (SELECT min(id::text)::uuid FROM tasks)";
    say(&mut scratch.connect().await, spoil.to_owned()).await.unwrap();
    end_leases(&scratch).await;

    assert_eq!(queue.reclaim_stale(10).await.unwrap().released, 2);
    assert_eq!(queue.reclaim_stale(10).await.unwrap().total(), 0);
    assert_eq!(queue.stats().await.unwrap().running, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enqueues_that_wait_for_a_unique_key_leave_connections_for_everything_else() {
    let (scratch, _) = Scratch::with_queue().await;
    let queue = scratch.queue_with(|config| config.connections_max = 4).await;
    queue.enqueue(task()).await.unwrap();
    let lease = queue.dequeue_many(&request(1)).await.unwrap().pop().unwrap().lease;
    let (mut service, mut beside) = (scratch.connect().await, scratch.connect().await);
    let mut transaction = service.begin().await.unwrap();
    queue.enqueue_in(&mut transaction, task().unique_key("held")).await.unwrap();

    let enqueue =
        |queue: PostgresQueue| async move { queue.enqueue(task().unique_key("held")).await.is_ok() };
    let enqueues: Vec<_> = (0..20).map(|_| tokio::spawn(enqueue(queue.clone()))).collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until("two enqueues wait", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut beside).await.unwrap() >= 2
    })
    .await;
    for _ in 0..50 {
        queue.heartbeat_many(std::slice::from_ref(&lease), None).await.unwrap();
    }
    queue.complete(lease).await.unwrap();

    transaction.rollback().await.unwrap();
    let mut enqueued = 0;
    for enqueue in enqueues {
        enqueued += usize::from(enqueue.await.unwrap());
    }
    assert_eq!(enqueued, 1, "the others find the key taken");
}
