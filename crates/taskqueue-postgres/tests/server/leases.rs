//! The rows among the leases: each is there as long as a task of its claim may run, and not much longer.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use taskqueue_postgres::{Claim, Heartbeat, Lease, Outcome, Pooler, PostgresQueue, Queue, Retry, Settlement};

use crate::scratch::{Scratch, assert_unavailable, request, task, tasks, wait_until, wait_until_ok};
use crate::support::say;

/// The tokens that are among the leases.
async fn tokens(scratch: &Scratch) -> Vec<i64> {
    let all = "SELECT token FROM tasks_leases ORDER BY token";
    let rows = sqlx::raw_sql(AssertSqlSafe(all)).fetch_all(&mut scratch.connect().await).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn claim(queue: &PostgresQueue, tasks_of_claim: usize) -> Vec<Lease> {
    queue.enqueue_many(tasks(tasks_of_claim)).await.unwrap();
    let claims = queue.dequeue_many(&request(tasks_of_claim)).await.unwrap();
    assert_eq!(claims.len(), tasks_of_claim);
    claims.into_iter().map(|Claim { lease, .. }| lease).collect()
}

async fn settle(queue: &PostgresQueue, leases: &[Lease], outcome: Outcome) {
    let of_each = |lease: &Lease| Settlement::new(lease.clone(), outcome.clone());
    queue.settle_many(leases.iter().map(of_each).collect()).await.unwrap();
}

/// A completion that has nothing to do with the claims before it. What it has claimed stays among the leases.
async fn complete_another(queue: &PostgresQueue) -> i64 {
    let another = task();
    wait_until_ok(async || queue.enqueue(another.clone()).await).await;
    let claim = wait_until_ok(async || queue.dequeue_many(&request(1)).await).await.pop();
    let lease = claim.expect("it is ready").lease;
    wait_until_ok(async || queue.complete(lease.clone()).await).await;
    lease.token.get()
}

/// Settles and ends every session, as a server does that takes over and has not heard of the settle.
async fn settle_and_lose_it(scratch: &Scratch, queue: &PostgresQueue, leases: &[Lease], outcome: Outcome) {
    settle_and_lose_it_unheard(scratch, queue, leases, outcome).await;
    scratch.end_sessions().await;
}

/// The same behind a pooler, which hides that another server took over.
async fn settle_and_lose_it_unheard(
    scratch: &Scratch,
    queue: &PostgresQueue,
    leases: &[Lease],
    outcome: Outcome,
) {
    let mut beside = scratch.connect().await;
    say(&mut beside, "CREATE TABLE before AS SELECT * FROM tasks".to_owned()).await.unwrap();
    settle(queue, leases, outcome).await;
    let lose = "DELETE FROM tasks; INSERT INTO tasks SELECT * FROM before; DROP TABLE before";
    say(&mut scratch.connect().await, lose.to_owned()).await.unwrap();
}

/// Whether a claim of two is among the leases still once one of its tasks runs again, because a server forgot that it was settled.
async fn is_kept_when_a_settle_is_lost(scratch: &Scratch, queue: &PostgresQueue, settled: usize) -> bool {
    let leases = claim(queue, 2).await;
    let snooze = Outcome::Snooze { delay: Duration::from_secs(60) };
    settle_and_lose_it(scratch, queue, &leases[..settled], snooze).await;
    if let Some(last) = leases.get(settled) {
        wait_until_ok(async || queue.complete(last.clone()).await).await;
    }

    complete_another(queue).await;

    tokens(scratch).await.contains(&leases[0].token.get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_among_the_leases_when_the_server_forgets_its_settle() {
    for settled in [1, 2] {
        let (scratch, queue) = Scratch::with_queue().await;
        assert!(
            is_kept_when_a_settle_is_lost(&scratch, &queue, settled).await,
            "{settled}, the service's pool"
        );
        let (scratch, _) = Scratch::with_queue().await;
        let queue = scratch.queue_by_url().await;
        assert!(is_kept_when_a_settle_is_lost(&scratch, &queue, settled).await, "{settled}, its own pool");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_that_keeps_track_of_statements_a_claim_stays_when_the_server_forgets_its_settle() {
    let (scratch, _) = Scratch::with_queue().await;
    let queue = scratch.queue_with(|config| config.pooler = Pooler::TransactionPrepared).await;
    let leases = claim(&queue, 1).await;
    let snooze = Outcome::Snooze { delay: Duration::from_secs(60) };
    settle_and_lose_it_unheard(&scratch, &queue, &leases, snooze).await;

    complete_another(&queue).await;

    assert!(tokens(&scratch).await.contains(&leases[0].token.get()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_tasks_are_all_settled_leaves_the_leases_with_the_next_completion() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 5).await;
    let retry = Outcome::Fail { error: "no".to_owned(), retry: Retry::ByPolicy };
    settle(&queue, &leases[..2], Outcome::done()).await;
    settle(&queue, &leases[2..3], retry).await;
    settle(&queue, &leases[3..4], Outcome::permanent("never")).await;
    settle(&queue, &leases[4..], Outcome::Snooze { delay: Duration::from_secs(60) }).await;
    assert_eq!(tokens(&scratch).await, [leases[0].token.get()]);

    let other = complete_another(&queue).await;

    assert_eq!(tokens(&scratch).await, [other]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_among_the_leases_while_one_of_its_tasks_runs() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 3).await;
    settle(&queue, &leases[..2], Outcome::done()).await;
    // A lost reply, and a task that is settled by nobody.
    settle(&queue, &leases[..2], Outcome::done()).await;
    queue.cancel(leases[2].task_id).await.unwrap();
    settle(&queue, &leases[2..], Outcome::done()).await;

    complete_another(&queue).await;

    assert!(tokens(&scratch).await.contains(&leases[0].token.get()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_settle_the_caller_undoes_stays_among_the_leases() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 1).await;
    let mut transaction = queue.pool().begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[0].clone()).await.unwrap();
    transaction.rollback().await.unwrap();

    complete_another(&queue).await;

    assert!(tokens(&scratch).await.contains(&leases[0].token.get()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_another_instance_settles_stays_among_the_leases() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 2).await;
    let other = scratch.queue().await;
    settle(&queue, &leases[..1], Outcome::done()).await;
    settle(&other, &leases[1..], Outcome::done()).await;

    complete_another(&queue).await;
    complete_another(&other).await;

    assert!(tokens(&scratch).await.contains(&leases[0].token.get()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_task_does_not_wait_behind_the_claims_that_callers_completed() {
    const CLAIMS: usize = 3_000;
    let (scratch, queue) = Scratch::with_queue().await;
    let completed = claim(&queue, 1).await.remove(0);
    let mut connection = scratch.connect().await;
    queue.complete_in(&mut connection, completed.clone()).await.unwrap();
    assert_eq!(tokens(&scratch).await, [completed.token.get()], "whether the caller commits is not known");
    let dead = claim(&queue, 1).await.remove(0);
    // As if so many had been completed, and then the worker of the last claim had died.
    let many = format!(
        "UPDATE tasks_leases SET check_at = check_at - interval '1 hour'; \
         UPDATE tasks SET lease_until = lease_until - interval '1 hour' WHERE status = 2; \
         INSERT INTO tasks_leases SELECT n, shard, check_at - n * interval '1 microsecond', ids \
         FROM tasks_leases, generate_series(2, {CLAIMS}) AS n WHERE token = {}",
        completed.token.get()
    );
    say(&mut connection, many).await.unwrap();
    assert_eq!(tokens(&scratch).await.len(), CLAIMS + 1);

    // One look a call would take four; a call that took long looks no further.
    let mut calls = 0;
    while queue.reclaim_stale(10).await.unwrap().released == 0 {
        calls += 1;
        assert!(calls < 2, "it waits behind claims that are over");
    }

    assert_eq!(tokens(&scratch).await, [dead.token.get()], "its own claim is checked once it is taken back");
    queue.reclaim_stale(10).await.unwrap();
    assert!(tokens(&scratch).await.is_empty());
}

/// Holds a heartbeat up once it has done what it does, before it is committed.
const HOLD_HEARTBEATS: &str = "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END'; \
     CREATE TRIGGER hold AFTER UPDATE ON tasks FOR EACH ROW \
     WHEN (OLD.status = 2 AND NEW.lease_until < OLD.lease_until) EXECUTE FUNCTION hold()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_shortened_while_its_claim_is_checked_ends_in_time() {
    const SHORT: Duration = Duration::from_secs(5);
    let (scratch, queue) = Scratch::with_queue().await;
    let lease = claim(&queue, 1).await.remove(0);
    let heartbeat = async |timeout| queue.heartbeat_many(std::slice::from_ref(&lease), Some(timeout)).await;
    heartbeat(Duration::from_secs(600)).await.unwrap();
    let mut other = scratch.connect().await;
    let due = "UPDATE tasks_leases SET check_at = now() - interval '1 second'";
    say(&mut other, format!("{due}; {HOLD_HEARTBEATS}; SELECT pg_advisory_lock(7)")).await.unwrap();

    let reclaim = async {
        let held = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        wait_until("the heartbeat is held up", async || {
            !sqlx::raw_sql(held).fetch_all(&mut other).await.unwrap().is_empty()
        })
        .await;
        queue.reclaim_stale(10).await.unwrap();
        say(&mut other, "SELECT pg_advisory_unlock(7)".to_owned()).await.unwrap();
    };
    let (shortened, ()) = tokio::join!(heartbeat(SHORT), reclaim);

    assert_eq!(shortened.unwrap(), [Heartbeat::Extended]);
    let in_time = "SELECT check_at <= lease_until FROM tasks_leases, tasks";
    assert!(sqlx::query_scalar::<_, bool>(in_time).fetch_one(&mut other).await.unwrap());
}

/// A check that is due may be locked by somebody who stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_shortens_no_lease_waits_for_no_check_of_its_claim() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 2).await;
    let mut other = scratch.connect().await;
    let due = "UPDATE tasks_leases SET check_at = now() - interval '1 second'; \
         BEGIN; SELECT FROM tasks_leases FOR UPDATE";
    say(&mut other, due.to_owned()).await.unwrap();

    let extended = queue.heartbeat_many(&leases, Some(Duration::from_secs(600))).await.unwrap();

    assert_eq!(extended, [Heartbeat::Extended; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_a_callers_transaction_completes_costs_no_other_its_lease() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 3).await;
    let mut connection = scratch.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    queue.complete_in(&mut transaction, leases[1].clone()).await.unwrap();

    let open = queue.heartbeat_many(&leases, None).await.unwrap();
    let alone = queue.heartbeat(&leases[1]).await.unwrap_err();
    transaction.commit().await.unwrap();
    let committed = queue.heartbeat_many(&leases, None).await.unwrap();

    assert_eq!(open, [Heartbeat::Extended, Heartbeat::Locked, Heartbeat::Extended]);
    assert_unavailable(&alone);
    assert_eq!(committed, [Heartbeat::Extended, Heartbeat::Lost, Heartbeat::Extended]);
}
