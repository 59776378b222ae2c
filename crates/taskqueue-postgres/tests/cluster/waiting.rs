//! The replica is lost, and commits wait for it: what waited is no answer, and what was answered is on both servers.

use std::time::Duration;

use taskqueue_postgres::{
    Enqueued, Error, Lease, NewTask, Outcome, PostgresQueue, Queue, Result, Settled, Settlement, Status,
    TaskId, TaskType,
};
use tokio::time::Instant;

use crate::bed::{
    Cluster, ask, assert_unavailable, claim_one, mail, request, say, task, tasks, wait_until_ok,
    wait_until_says,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// In which a call must have ended: one statement is waited for, and perhaps what finds out whether the server answers.
const ENDED: Duration = Duration::from_secs(12);

async fn impatient(cluster: &Cluster) -> PostgresQueue {
    cluster.queue_with(|config| config.statement_timeout = PATIENCE).await
}

async fn complete(queue: &PostgresQueue, lease: &Lease) -> Result<Vec<Settled>> {
    queue.settle_many(vec![Settlement::new(lease.clone(), Outcome::done().then(task()))]).await
}

async fn enqueue(queue: &PostgresQueue, new: &[NewTask]) -> Result<Vec<Enqueued>> {
    queue.enqueue_many(new.to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_lost_replica_are_unavailable_in_time_and_can_be_repeated() {
    let cluster = Cluster::synchronous().await;
    // No timeout of the server's own ends such a wait, which would be answered as a success.
    say(cluster.primary(), "ALTER ROLE postgres SET statement_timeout = '1s'").await;
    let queue = impatient(&cluster).await;
    queue.enqueue_many(tasks(2)).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let [single, batch, keyed] = [tasks(1), tasks(200), vec![task().unique_key("k")]];

    cluster.replica().pause().await;
    let claiming = request(1);
    let (settled, claimed, single_in, batch_in, keyed_in) = tokio::join!(
        complete(&queue, &lease),
        queue.dequeue_many(&claiming),
        enqueue(&queue, &single),
        enqueue(&queue, &batch),
        enqueue(&queue, &keyed),
    );
    let seen = queue.stats().await.unwrap();
    cluster.replica().unpause().await;

    for error in [single_in.unwrap_err(), batch_in.unwrap_err(), keyed_in.unwrap_err()] {
        assert_unavailable(&error);
    }
    assert_unavailable(&settled.unwrap_err());
    assert_unavailable(&claimed.unwrap_err());
    assert_eq!((seen.pending, seen.running), (1, 1), "what waits for the replica is seen by nobody");
    for (new, count) in [(single, 1), (batch, 200), (keyed, 1)] {
        let again = wait_until_ok(async || enqueue(&queue, &new).await).await;
        let repeated: Vec<_> = new.iter().map(|task| Enqueued::Repeated(task.id)).collect();
        assert_eq!((again, new.len()), (repeated, count));
    }
    assert_eq!(wait_until_ok(async || complete(&queue, &lease).await).await, [Settled::Repeated]);
    assert_eq!(queue.stats().await.unwrap().completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueues_at_once_that_wait_for_a_lost_replica_all_end_in_time() {
    let cluster = Cluster::synchronous().await;
    let queue = impatient(&cluster).await;
    queue.enqueue(task()).await.unwrap();

    cluster.replica().pause().await;
    let calls = (0..40).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            (queue.enqueue(task()).await, began.elapsed())
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut slowest = Duration::ZERO;
    for call in calls {
        let (enqueued, took) = call.await.unwrap();
        assert_unavailable(&enqueued.unwrap_err());
        slowest = slowest.max(took);
    }
    cluster.replica().unpause().await;

    assert!(slowest < ENDED, "{slowest:?}");
    wait_until_ok(async || queue.enqueue(task()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_on_the_replica_was_not_answered_and_can_be_repeated_there() {
    let cluster = Cluster::synchronous().await;
    let queue = impatient(&cluster).await;
    queue.enqueue_many(tasks(1)).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let new = vec![task()];
    cluster.part().await;

    assert_unavailable(&enqueue(&queue, &new).await.unwrap_err());
    assert_unavailable(&complete(&queue, &lease).await.unwrap_err());
    cluster.fail_over().await;

    let again = wait_until_ok(async || enqueue(&queue, &new).await).await;
    assert_eq!(again, [Enqueued::Created(new[0].id)]);
    assert_eq!(wait_until_ok(async || complete(&queue, &lease).await).await, [Settled::Applied]);
    let count = ask(cluster.replica(), "SELECT count(*)::text FROM tasks").await;
    assert_eq!(count, "3", "the one that is completed, its follow-up, and the new one");
}

/// What changes something, and may find that done.
struct Changes {
    new: Vec<NewTask>,
    lease: Lease,
    unwanted: TaskId,
    resumed: TaskType,
}

impl Changes {
    async fn of(queue: &PostgresQueue) -> Self {
        let resumed = TaskType::new("slow").unwrap();
        queue.pause(&resumed).await.unwrap();
        queue.enqueue(task()).await.unwrap();
        let lease = claim_one(queue).await.lease;
        Self { new: vec![task()], lease, unwanted: queue.enqueue(task()).await.unwrap(), resumed }
    }

    /// Why each of them failed.
    async fn errors(&self, queue: &PostgresQueue) -> Vec<Error> {
        let paused = mail();
        let (enqueued, settled, cancelled, paused, resumed) = tokio::join!(
            enqueue(queue, &self.new),
            complete(queue, &self.lease),
            queue.cancel(self.unwanted),
            queue.pause(&paused),
            queue.resume(&self.resumed),
        );
        vec![
            enqueued.expect_err("an enqueue"),
            settled.expect_err("a settle"),
            cancelled.expect_err("a cancel"),
            paused.expect_err("a pause"),
            resumed.expect_err("a resumption"),
        ]
    }
}

/// What is left waiting when its session is ended, or the primary is restarted, is seen by all, and on the primary alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_once_what_it_repeats_is_on_the_replica() {
    let cluster = Cluster::synchronous().await;
    let queue = impatient(&cluster).await;
    let changes = Changes::of(&queue).await;
    cluster.part().await;
    changes.errors(&queue).await.iter().for_each(assert_unavailable);
    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    say(cluster.primary(), &format!("SELECT pg_terminate_backend(pid) {waiting}")).await;
    wait_until_says(cluster.primary(), &format!("SELECT count(*)::text {waiting}"), "0").await;
    let count = ask(cluster.primary(), "SELECT count(*)::text FROM tasks").await;

    let errors = changes.errors(&queue).await;
    cluster.fail_over().await;

    errors.iter().for_each(assert_unavailable);
    assert_eq!(count, "4", "all is done on the primary");
    let Changes { new, lease, unwanted, resumed } = changes;
    assert_eq!(wait_until_ok(async || enqueue(&queue, &new).await).await, [Enqueued::Created(new[0].id)]);
    assert_eq!(wait_until_ok(async || complete(&queue, &lease).await).await, [Settled::Applied]);
    assert_eq!(queue.get(unwanted).await.unwrap().status, Status::Pending);
    assert_eq!(queue.paused().await.unwrap(), [resumed]);
}
