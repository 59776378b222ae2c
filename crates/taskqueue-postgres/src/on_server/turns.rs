//! That the queue's own claims and settles take turns where others claim.

use sqlx::postgres::PgPoolOptions;
use taskqueue_core::{ClaimRequest, NewTask, Queue as _, TaskType, WorkerId};
use tokio::time::Instant;

use super::database::Database;
use crate::turns::WAIT_MAX;
use crate::{PostgresConfig, PostgresQueue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_and_settles_wait_for_their_turn_while_others_claim() {
    let database = Database::create().await;
    let pool = PgPoolOptions::new().connect_with(database.options()).await.unwrap();
    let queue = PostgresQueue::with_config(PostgresConfig::pool(pool)).await.unwrap();
    queue.migrate().await.unwrap();
    for _ in 0..2 {
        queue.enqueue(NewTask::raw("mail", "1").unwrap()).await.unwrap();
    }
    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [TaskType::new("mail").unwrap()], 1);
    let lease = queue.dequeue_many(&request).await.unwrap().remove(0).lease;
    let turns = &queue.sql.dialect().turns;

    turns.turned_away();
    let turn = turns.take().await;
    assert!(turn.is_some());

    // Said again just before each clock starts: a host that stands still until nobody is taken to claim any more makes
    // the call longer than a turn is waited for.
    turns.turned_away();
    let began = Instant::now();
    queue.complete(lease).await.unwrap();
    assert!(began.elapsed() >= WAIT_MAX, "the settle waited for {:?} only", began.elapsed());

    turns.turned_away();
    let began = Instant::now();
    assert_eq!(queue.dequeue_many(&request).await.unwrap().len(), 1);
    assert!(began.elapsed() >= WAIT_MAX, "the claim waited for {:?} only", began.elapsed());

    drop(turn);
    queue.close().await;
    database.drop().await;
}
