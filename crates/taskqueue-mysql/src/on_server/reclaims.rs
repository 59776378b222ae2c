//! A check of claims beside a heartbeat that shortens a lease.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use taskqueue_core::{ClaimRequest, Lease, Queue, Shard, TaskType, WorkerId};
use taskqueue_sql::Failure;

use super::locks::Bed;
use crate::{beating, reclaiming};

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

    let extended = beating::heartbeat(dialect, &mut beating, Shard::FIRST, &[lease], MINUTE).await.unwrap();
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

    let extended = beating::heartbeat(dialect, &mut beating, Shard::FIRST, &[lease], MINUTE).await.unwrap();
    let is_due = "SELECT CAST(check_at <= UTC_TIMESTAMP(6) AS SIGNED) FROM tasks_leases";
    let mut beside = MySqlConnection::connect(&bed.url).await.unwrap();
    while sqlx::query_scalar::<_, i64>(is_due).fetch_one(&mut beside).await.unwrap() == 0 {}
    reclaiming::ended(dialect, &mut checking, Shard::FIRST, 10).await.unwrap();
    checking.execute("COMMIT").await.unwrap();
    beating.execute("COMMIT").await.unwrap();

    assert_eq!(extended.len(), 1);
    assert!(is_checked_in_time(bed).await);
}

/// A check may be made by somebody who stands still.
async fn a_lease_is_extended_while_its_claim_is_checked(variable: &str) {
    let (bed, lease) = with_a_claim_due_in(-1, variable).await;
    let dialect = bed.queue.sql.dialect();
    let (mut beating, mut checking) = (bed.session().await, bed.session().await);
    checking.execute("SELECT token FROM tasks_leases FOR UPDATE").await.unwrap();

    let extended =
        beating::heartbeat(dialect, &mut beating, Shard::FIRST, &[lease], 120 * MINUTE).await.unwrap();

    assert_eq!(extended.len(), 1, "it waits for no lock of a claim");
    drop((beating, checking));
    bed.end().await;
}

/// By another heartbeat: then this one shortens it, and has not locked its claim.
async fn a_lease_that_was_extended_since_it_was_looked_at_is_looked_at_anew(variable: &str) {
    let (bed, lease) = with_a_claim_due_in(60, variable).await;
    let mut beating = bed.session().await;
    let (held, looked_at) = ([(lease.task_id, lease.token)], BTreeSet::new());

    let locked =
        beating::lock(bed.queue.sql.dialect(), &mut beating, Shard::FIRST, &held, 1, &looked_at).await;

    assert!(matches!(locked, Err(Failure::Contention { .. })), "{locked:?}");
    drop(beating);
    bed.end().await;
}

#[tokio::test]
async fn mysql_looks_anew_at_a_lease_that_was_extended_since() {
    a_lease_that_was_extended_since_it_was_looked_at_is_looked_at_anew("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_looks_anew_at_a_lease_that_was_extended_since() {
    a_lease_that_was_extended_since_it_was_looked_at_is_looked_at_anew("TASKQUEUE_MARIADB_URL").await;
}

#[tokio::test]
async fn mysql_extends_a_lease_while_its_claim_is_checked() {
    a_lease_is_extended_while_its_claim_is_checked("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_extends_a_lease_while_its_claim_is_checked() {
    a_lease_is_extended_while_its_claim_is_checked("TASKQUEUE_MARIADB_URL").await;
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
