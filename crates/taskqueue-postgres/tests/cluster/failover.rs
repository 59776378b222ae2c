//! The primary is killed and the replica, which has all that was answered, takes over.

use taskqueue_postgres::{BATCH_MAX, Outcome, PostgresQueue, Queue, Settled, Settlement, TaskFilter};

use crate::bed::{
    Cluster, LIMIT, ask, assert_stats_match_the_rows, claim_one, request, task, wait_until, wait_until_ok,
};
use crate::load::{Answered, LEASE, Load, worker};

/// So many must have been answered before the primary is killed, and again after it.
const ENQUEUED_MIN: usize = 500;
/// So many of them must have been completed.
const COMPLETED_MIN: u64 = 200;

async fn completed(queue: &PostgresQueue) -> u64 {
    wait_until_ok(async || queue.stats().await).await.completed
}

async fn enqueued_beyond(answered: &Answered, count: usize) {
    wait_until("more is enqueued", async || answered.enqueued().len() >= count).await;
}

/// Asserts that every task that was answered is there; of each there is one row, whose completion left one follow-up.
async fn assert_all_there(queue: &PostgresQueue, answered: &Answered) {
    let mut filter = TaskFilter { limit: BATCH_MAX, ..TaskFilter::default() };
    let mut missing = answered.enqueued().clone();
    loop {
        let page = queue.list(&filter).await.unwrap();
        for task in &page.tasks {
            missing.remove(&task.id);
        }
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    assert_eq!(missing.len(), 0, "of {} that were answered are lost", answered.enqueued().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_all_that_was_answered_is_there_and_the_queue_goes_on() {
    let cluster = Cluster::synchronous().await;
    let queue = cluster.queue().await;
    queue.enqueue(task()).await.unwrap();
    let mut short = request(1);
    short.visibility_timeout = Some(LEASE);
    let stale = queue.dequeue_many(&short).await.unwrap().remove(0);
    let working = worker(&queue).start();
    let load = Load::start(&queue);
    enqueued_beyond(&load.answered, ENQUEUED_MIN).await;
    wait_until("tasks are completed", async || completed(&queue).await >= COMPLETED_MIN).await;

    let run = "id || ' ' || attempts || ' ' || completed_at";
    let runs = format!("SELECT string_agg({run}, ',') FROM tasks WHERE status = 3");
    let completed_before = ask(cluster.primary(), &runs).await;
    cluster.fail_over().await;

    let enqueued_then = load.answered.enqueued().len();
    enqueued_beyond(&load.answered, enqueued_then + ENQUEUED_MIN).await;
    let answered = load.stop().await;
    assert!(answered.failures() > 0, "calls met the failover");
    let is_idle = async || {
        let stats = wait_until_ok(async || queue.stats().await).await;
        stats.pending + stats.running + stats.failed == 0
    };
    wait_until("every task is worked", is_idle).await;
    working.stop().await;
    assert_all_there(&queue, &answered).await;
    assert_stats_match_the_rows(&queue, cluster.replica()).await;
    let of_type = |name: &str| format!("SELECT count(*)::text FROM tasks WHERE type = '{name}'");
    let mails = ask(cluster.replica(), &of_type("mail")).await;
    assert_eq!(mails, ask(cluster.replica(), &of_type("receipt")).await, "a follow-up for each, once");
    let kept = format!(
        "SELECT count(*)::text FROM tasks \
         WHERE status = 3 AND {run} = ANY (string_to_array('{completed_before}', ','))"
    );
    let count = completed_before.split(',').count().to_string();
    assert_eq!(ask(cluster.replica(), &kept).await, count, "no completion is undone");
    let keys = "SELECT count(DISTINCT unique_key)::text || ' ' || count(unique_key) FROM tasks";
    let expected = format!("{0} {0}", answered.unique());
    assert_eq!(ask(cluster.replica(), keys).await, expected, "of each key there is one task");
    let done = vec![Settlement::new(stale.lease, Outcome::done())];
    assert_eq!(queue.settle_many(done).await.unwrap(), [Settled::LeaseLost], "another worker has worked it");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_workers_hear_of_one_anothers_tasks_again() {
    let cluster = Cluster::synchronous().await;
    let (here, elsewhere) = (cluster.queue().await, cluster.queue().await);
    let mut listener = elsewhere.wake_up().listen();
    wait_until("it hears others", async || listener.hears_others()).await;

    cluster.fail_over().await;
    wait_until("it notices", async || !listener.hears_others()).await;
    wait_until("it hears others again", async || listener.hears_others()).await;
    // For what it may have missed.
    tokio::time::timeout(LIMIT, listener.notified()).await.unwrap();
    wait_until_ok(async || here.enqueue(task()).await).await;

    tokio::time::timeout(LIMIT, listener.notified()).await.expect("it is told");
    claim_one(&elsewhere).await;
}
