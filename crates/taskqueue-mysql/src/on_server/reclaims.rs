//! A check of claims beside a heartbeat that shortens a lease.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use taskqueue_core::{ClaimRequest, Lease, Queue, Shard, TaskType, WorkerId};

use super::locks::Bed;
use crate::{reclaiming, settling};

const MINUTE: Duration = Duration::from_secs(60);

/// A queue with one claim that is to be checked in so many seconds, long before its lease ends.
async fn with_a_claim_due_in(seconds: i32, variable: &str) -> (Bed, Lease) {
    let bed = Bed::new(variable).await;
    bed.enqueue(1).await;
    let mail = TaskType::new("mail").unwrap();
    let mut request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [mail], 1);
    request.visibility_timeout = Some(60 * MINUTE);
    let claim = bed.queue.dequeue_many(&request).await.unwrap().pop().unwrap();
    let mut connection = MySqlConnection::connect(&bed.url).await.unwrap();
    let due = format!("UPDATE tasks_leases SET check_at = UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND");
    connection.execute(AssertSqlSafe(due)).await.unwrap();
    (bed, claim.lease)
}

/// Whether the claim is checked before the lease ends, or right then.
async fn is_checked_in_time(bed: Bed) -> bool {
    let mut connection = MySqlConnection::connect(&bed.url).await.unwrap();
    let in_time = "SELECT CAST(l.check_at <= t.lease_until AS SIGNED) FROM tasks_leases AS l, tasks AS t";
    let in_time: i64 = sqlx::query_scalar(in_time).fetch_one(&mut connection).await.unwrap();
    bed.end().await;
    in_time == 1
}

async fn a_lease_that_is_shortened_after_its_claim_was_looked_at_ends_in_time(variable: &str) {
    let (bed, lease) = with_a_claim_due_in(-1, variable).await;
    let dialect = bed.queue.sql.dialect();
    let mut checking = bed.session().await;

    let due = reclaiming::due(dialect, &mut checking, Shard::FIRST).await.unwrap();
    bed.queue.heartbeat_many(&[lease], Some(MINUTE)).await.unwrap();
    reclaiming::check(dialect, &mut checking, Shard::FIRST, &due).await.unwrap();
    checking.execute("COMMIT").await.unwrap();

    assert!(is_checked_in_time(bed).await);
}

async fn a_lease_that_is_being_shortened_while_its_claim_is_checked_ends_in_time(variable: &str) {
    let (bed, lease) = with_a_claim_due_in(-1, variable).await;
    let dialect = bed.queue.sql.dialect();
    let (mut beating, mut checking) = (bed.session().await, bed.session().await);

    let extended = settling::heartbeat(dialect, &mut beating, Shard::FIRST, &[lease], MINUTE).await.unwrap();
    reclaiming::ended(dialect, &mut checking, Shard::FIRST, 10).await.unwrap();
    checking.execute("COMMIT").await.unwrap();
    beating.execute("COMMIT").await.unwrap();

    assert_eq!(extended.len(), 1);
    assert!(is_checked_in_time(bed).await);
}

async fn a_lease_that_is_being_shortened_when_its_claim_becomes_due_ends_in_time(variable: &str) {
    let (bed, lease) = with_a_claim_due_in(2, variable).await;
    let dialect = bed.queue.sql.dialect();
    let (mut beating, mut checking) = (bed.session().await, bed.session().await);

    let extended = settling::heartbeat(dialect, &mut beating, Shard::FIRST, &[lease], MINUTE).await.unwrap();
    let is_due = "SELECT CAST(check_at <= UTC_TIMESTAMP(6) AS SIGNED) FROM tasks_leases";
    let mut beside = MySqlConnection::connect(&bed.url).await.unwrap();
    while sqlx::query_scalar::<_, i64>(is_due).fetch_one(&mut beside).await.unwrap() == 0 {}
    reclaiming::ended(dialect, &mut checking, Shard::FIRST, 10).await.unwrap();
    checking.execute("COMMIT").await.unwrap();
    beating.execute("COMMIT").await.unwrap();

    assert_eq!(extended.len(), 1);
    assert!(is_checked_in_time(bed).await);
}

#[tokio::test]
async fn mysql_checks_a_claim_in_time_whose_lease_is_being_shortened_when_it_becomes_due() {
    a_lease_that_is_being_shortened_when_its_claim_becomes_due_ends_in_time("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_checks_a_claim_in_time_whose_lease_is_being_shortened_when_it_becomes_due() {
    a_lease_that_is_being_shortened_when_its_claim_becomes_due_ends_in_time("TASKQUEUE_MARIADB_URL").await;
}

#[tokio::test]
async fn mysql_checks_a_claim_in_time_whose_lease_was_shortened_after_the_look() {
    a_lease_that_is_shortened_after_its_claim_was_looked_at_ends_in_time("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_checks_a_claim_in_time_whose_lease_was_shortened_after_the_look() {
    a_lease_that_is_shortened_after_its_claim_was_looked_at_ends_in_time("TASKQUEUE_MARIADB_URL").await;
}

#[tokio::test]
async fn mysql_checks_a_claim_in_time_whose_lease_is_being_shortened() {
    a_lease_that_is_being_shortened_while_its_claim_is_checked_ends_in_time("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_checks_a_claim_in_time_whose_lease_is_being_shortened() {
    a_lease_that_is_being_shortened_while_its_claim_is_checked_ends_in_time("TASKQUEUE_MARIADB_URL").await;
}
