//! The task that has waited longest, where no snapshot holds the two looks for it together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sqlx::{Connection, MySqlConnection};
use taskqueue_core::{ClaimRequest, Queue, Shard, TaskType, WorkerId};

use super::locks::Bed;
use crate::oldest;

async fn a_head_that_is_claimed_between_the_looks_still_says_how_long_it_waited(variable: &str) {
    let bed = Bed::new(variable).await;
    bed.enqueue(1).await;
    let expected = bed.queue.stats().await.unwrap().oldest_pending;
    let dialect = bed.queue.sql.dialect();
    let mut connection = MySqlConnection::connect(&bed.url).await.unwrap();

    let head = oldest::head(dialect, &mut connection, Shard::FIRST).await.unwrap().unwrap();
    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [TaskType::new("mail").unwrap()], 1);
    assert_eq!(bed.queue.dequeue_many(&request).await.unwrap().len(), 1);
    let since = oldest::ready_since(dialect, &mut connection, Shard::FIRST, head).await.unwrap().time_opt(0);

    assert_eq!(since.unwrap(), expected);
    drop(connection);
    bed.end().await;
}

#[tokio::test]
async fn mysql_tells_of_a_head_that_is_claimed_between_the_looks() {
    a_head_that_is_claimed_between_the_looks_still_says_how_long_it_waited("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_tells_of_a_head_that_is_claimed_between_the_looks() {
    a_head_that_is_claimed_between_the_looks_still_says_how_long_it_waited("TASKQUEUE_MARIADB_URL").await;
}
