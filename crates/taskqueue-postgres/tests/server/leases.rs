//! The rows among the leases: each is there as long as a task of its claim may run, and not much longer.

use sqlx::{AssertSqlSafe, Row as _};
use taskqueue_postgres::{Claim, Lease, Outcome, PostgresQueue, Queue, Retry, Settlement};

use crate::scratch::{Scratch, claim_one, request, task, tasks};

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
    queue.enqueue(task()).await.unwrap();
    let lease = claim_one(queue).await.lease;
    queue.complete(lease.clone()).await.unwrap();
    lease.token.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_tasks_are_all_settled_leaves_the_leases_with_the_next_completion() {
    let (scratch, queue) = Scratch::with_queue().await;
    let leases = claim(&queue, 5).await;
    let retry = Outcome::Fail { error: "no".to_owned(), retry: Retry::ByPolicy };
    settle(&queue, &leases[..2], Outcome::done()).await;
    settle(&queue, &leases[2..3], retry).await;
    settle(&queue, &leases[3..4], Outcome::permanent("never")).await;
    settle(&queue, &leases[4..], Outcome::Snooze { delay: std::time::Duration::from_secs(60) }).await;
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
