//! Connections that are lost: each loss is an error that says so and can be tried again, nothing that was answered
//! is undone, and the pool recovers by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use taskqueue_postgres::{
    BATCH_MAX, Enqueued, NewTask, Outcome, PostgresConfig, PostgresQueue, Queue, Settled, Settlement, Status,
    TaskFilter, TaskId,
};

use crate::proxy::Proxy;
use crate::scratch::{
    Scratch, assert_unavailable, claim_one, pool, queue_on, task, wait_until, wait_until_ok,
};
use crate::support::prepares;

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a queue of little patience waits for an answer. What is done before the break has to do with it as well.
const IMPATIENT: Duration = Duration::from_secs(3);

/// What a call gives within the time that it may take, and a little for a busy host.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let limit = ACQUIRE_TIMEOUT + Duration::from_secs(5);
    tokio::time::timeout(limit, call).await.expect("no call hangs")
}

async fn by_proxy() -> (Scratch, Proxy, PostgresQueue) {
    let (scratch, _) = Scratch::with_queue().await;
    let proxy = Proxy::new().await;
    let queue = queue_on(pool(proxy.options(scratch.options()), ACQUIRE_TIMEOUT)).await;
    (scratch, proxy, queue)
}

/// Waits until every connection of the pool is idle; answers how many there are.
async fn wait_until_idle(queue: &PostgresQueue) -> u32 {
    let waiting = async {
        while queue.pool().size() as usize != queue.pool().num_idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(waiting).await;
    queue.pool().size()
}

/// Enqueues until told to stop; answers what was promised and how many calls failed.
async fn produce(queue: PostgresQueue, stop: Arc<AtomicBool>) -> (HashSet<TaskId>, usize) {
    let (mut promised, mut failed) = (HashSet::new(), 0);
    while !stop.load(Ordering::Acquire) {
        match queue.enqueue(task()).await {
            Ok(id) => drop(promised.insert(id)),
            Err(error) => {
                assert_unavailable(&error);
                failed += 1;
            }
        }
    }
    (promised, failed)
}

/// Lets producers run while their connections are lost again and again.
async fn producers_lose_nothing(queue: &PostgresQueue, mut lose: impl AsyncFnMut()) {
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..4).map(|_| tokio::spawn(produce(queue.clone(), stop.clone()))).collect();
    for _ in 0..10 {
        lose().await;
        // The producers' next calls meet what happened, and then the pool must have recovered.
        for _ in 0..5 {
            wait_until_ok(async || queue.enqueue(task()).await).await;
        }
    }
    stop.store(true, Ordering::Release);
    let (mut promised, mut failed) = (HashSet::new(), 0);
    for producer in producers {
        let (ids, errors) = producer.await.unwrap();
        promised.extend(ids);
        failed += errors;
    }
    assert!(failed > 0, "connections were lost in the middle of calls");
    assert!(promised.is_subset(&stored(queue).await), "what was answered is stored");
}

/// Every task, page by page.
async fn stored(queue: &PostgresQueue) -> HashSet<TaskId> {
    let mut filter = TaskFilter { limit: BATCH_MAX, ..TaskFilter::default() };
    let mut stored = HashSet::new();
    loop {
        let page = wait_until_ok(async || queue.list(&filter).await).await;
        stored.extend(page.tasks.iter().map(|task| task.id));
        match page.next {
            Some(last) => filter.after = Some(last),
            None => return stored,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_and_the_pool_recovers() {
    let (_scratch, proxy, queue) = by_proxy().await;

    producers_lose_nothing(&queue, async || proxy.cut().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_lose_nothing_and_the_pool_recovers() {
    let (scratch, queue) = Scratch::with_queue().await;

    producers_lose_nothing(&queue, async || scratch.end_sessions().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_unavailable_in_time_and_used_again_when_it_is_back() {
    let (_scratch, proxy, queue) = by_proxy().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;

    proxy.kill().await;
    let first = in_time(queue.complete(lease.clone())).await.unwrap_err();
    let second = in_time(queue.enqueue(task())).await.unwrap_err();
    proxy.resume();
    wait_until_ok(async || queue.complete(lease.clone()).await).await;

    assert_unavailable(&first);
    assert_unavailable(&second);
    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_accepts_and_says_nothing_is_unavailable_in_time() {
    let (_scratch, proxy, queue) = by_proxy().await;
    // With none at hand, a new connection is asked for.
    wait_until_idle(&queue).await;
    while let Some(connection) = queue.pool().try_acquire() {
        connection.close().await.unwrap();
    }

    proxy.hold();
    let error = in_time(queue.enqueue(task())).await.unwrap_err();
    proxy.cut().await;
    proxy.pass();

    assert_unavailable(&error);
    wait_until_ok(async || queue.enqueue(task()).await).await;
}

/// A queue of little patience, whose pool is full of connections that work.
async fn impatient() -> (Scratch, Proxy, PostgresQueue) {
    let (scratch, _) = Scratch::with_queue().await;
    let proxy = Proxy::new().await;
    let mut config = PostgresConfig::pool(pool(proxy.options(scratch.options()), ACQUIRE_TIMEOUT));
    config.prepared_statements = prepares();
    config.statement_timeout = IMPATIENT;
    let queue = PostgresQueue::with_config(config).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..queue.pool().options().get_max_connections() {
        held.push(queue.pool().acquire().await.unwrap());
    }
    for connection in &mut held {
        connection.return_to_pool().await;
    }
    (scratch, proxy, queue)
}

/// Nothing says that the other end is gone: neither an end nor an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_packets_is_unavailable_in_time_and_its_connections_are_not_kept() {
    let (_scratch, proxy, queue) = impatient().await;
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    assert_eq!(wait_until_idle(&queue).await, 8);

    proxy.hold();
    let (single, transaction) =
        in_time(async { tokio::join!(queue.enqueue(task()), queue.complete(lease.clone())) }).await;
    assert!(wait_until_idle(&queue).await <= 6, "the two connections are closed");
    proxy.cut().await;
    proxy.pass();

    assert_unavailable(&single.unwrap_err());
    assert_unavailable(&transaction.unwrap_err());
    wait_until_ok(async || queue.complete(lease.clone()).await).await;
}

/// Nobody waits for what it would say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_given_up_waits_for_a_lock_no_longer() {
    let (scratch, queue) = Scratch::with_queue().await;
    let (mut connection, mut beside) = (scratch.connect().await, scratch.connect().await);
    let mut holder = connection.begin().await.unwrap();
    queue.enqueue_in(&mut holder, task().unique_key("k")).await.unwrap();
    let impatient = scratch
        .queue_with(|config| {
            config.statement_timeout = IMPATIENT;
            // It would end the wait, too.
            config.lock_wait_timeout = Duration::from_secs(600);
        })
        .await;

    assert_unavailable(&impatient.enqueue(task().unique_key("k")).await.unwrap_err());

    let waiting = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until("the session ends", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut beside).await.unwrap() == 0
    })
    .await;
}

/// The pool asks the server once more before it takes a connection back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_packets_after_a_call_does_not_hold_the_calls_place_in_the_pool() {
    let (_scratch, proxy, queue) = impatient().await;
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;

    proxy.hold_after("COMMIT\0");
    let done = Settlement::new(lease, Outcome::done().then(task()));
    let settled = in_time(queue.settle_many(vec![done])).await.unwrap();

    assert_eq!(settled, [Settled::Applied]);
    // The call's, and where it came to that, the announcement's.
    assert!(wait_until_idle(&queue).await < 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_whose_commits_reply_is_lost_is_repeated_by_its_id() {
    let (_scratch, proxy, queue) = by_proxy().await;
    let new = NewTask::raw("mail", r#""the reply is lost""#).unwrap();

    // It is one statement, which commits by itself.
    proxy.lose_the_reply_to("the reply is lost");
    let lost = queue.enqueue_many(vec![new.clone()]).await.unwrap_err();
    let was_lost = proxy.has_lost_it();
    let again = wait_until_ok(async || queue.enqueue_many(vec![new.clone()]).await).await;

    assert_unavailable(&lost);
    assert!(was_lost);
    assert_eq!(again, [Enqueued::Repeated(new.id)]);
    assert_eq!(queue.stats().await.unwrap().pending, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_whose_commits_reply_is_lost_is_repeated_by_its_lease() {
    let (_scratch, proxy, queue) = by_proxy().await;
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(&queue).await.lease;
    let next = task();
    let done = || vec![Settlement::new(lease.clone(), Outcome::done().then(next.clone()))];

    proxy.lose_the_reply_to("COMMIT\0");
    let lost = queue.settle_many(done()).await.unwrap_err();
    let again = wait_until_ok(async || queue.settle_many(done()).await).await;

    assert_unavailable(&lost);
    assert_eq!(again, [Settled::Repeated]);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.completed, stats.pending), (1, 1), "the follow-up is there once");
}
