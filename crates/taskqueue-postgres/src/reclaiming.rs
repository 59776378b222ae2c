//! The check of claims, what it takes back, and dead letters that are redriven, from end to end. What the statements are is `claim.rs`'s business.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::PgConnection;
use taskqueue_core::{Shard, State, TaskId, Timestamp};
use taskqueue_sql::{Attempt, Failure, Reclaiming, Row};
use tokio::time::Instant;
use uuid::Uuid;

use crate::arguments::integer;
use crate::dialect::{PostgresDialect, ids};
use crate::error::{failure, is_duplicate};
use crate::wire;

/// How many claims one look checks at most.
pub(crate) const CHECKS_MAX: usize = 1_000;
/// How many looks one call makes at most.
const LOOKS_MAX: usize = 20;
/// After this time no further look begins: what the others have changed stays locked until the call ends.
const LOOKS_TIME_MAX: Duration = Duration::from_secs(1);

/// Running tasks whose lease has ended, earliest end first. On the way claims are checked.
pub(crate) async fn ended(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<Vec<Row>> {
    check(dialect, &mut *connection, shard).await?;
    let query = dialect.query(&dialect.literal().ended).bind(integer(limit));
    dialect.rows(connection, query.bind(shard.number())).await
}

/// Checks the claims that are due, look by look. Those that callers' transactions completed are all here at the end of
/// their lease; one look a call would fall behind them, and the tasks of dead workers would wait behind them.
async fn check(dialect: &PostgresDialect, connection: &mut PgConnection, shard: Shard) -> Attempt<()> {
    let (began, mut from) = (Instant::now(), Timestamp::UNIX_EPOCH);
    for _ in 0..LOOKS_MAX {
        match look(dialect, &mut *connection, shard, from).await? {
            (claims, Some(last)) if claims == integer(CHECKS_MAX) && began.elapsed() < LOOKS_TIME_MAX => {
                from = last
            }
            _ => break,
        }
    }
    Ok(())
}

/// Checks the first claims that are due from this time on; answers how many, and the time of the last.
async fn look(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    from: Timestamp,
) -> Attempt<(i64, Option<Timestamp>)> {
    let query = |tidy| dialect.query(tidy).bind(shard.number()).bind(from);
    let (first, others) = dialect.literal().tidy_leases.split_first().expect("there is a statement");
    let mut looked = wire::row(&query(first).fetch_one(&mut *connection).await.map_err(failure)?)?;
    for tidy in others {
        query(tidy).execute(&mut *connection).await.map_err(failure)?;
    }
    Ok((looked.integer(0)?, looked.integer_opt(1)?.and_then(Timestamp::from_timestamp_micros)))
}

/// Takes tasks back whose lease is the given one; answers those.
pub(crate) async fn reclaim(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    ended: &[Reclaiming],
) -> Attempt<HashSet<TaskId>> {
    let is_dead = |ended: &Reclaiming| ended.state == State::DeadLetter;
    let places = ended.iter().scan(0_i64, |ready, ended| {
        let place = *ready;
        *ready += i64::from(!is_dead(ended));
        Some(place)
    });
    let query = dialect
        .query(&dialect.literal().reclaim)
        .bind(ended.iter().map(|ended| ended.id.as_uuid()).collect::<Vec<Uuid>>())
        .bind(ended.iter().map(|ended| ended.token.get()).collect::<Vec<i64>>())
        .bind(ended.iter().map(is_dead).collect::<Vec<bool>>())
        .bind(ended.iter().map(|ended| ended.error.as_str()).collect::<Vec<&str>>())
        .bind(places.collect::<Vec<i64>>())
        .bind(shard.number());
    ids(query.fetch_all(connection).await.map_err(failure)?)
}

/// Makes dead letters ready again, in this order; answers those.
pub(crate) async fn redrive(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    chosen: &[TaskId],
) -> Attempt<HashSet<TaskId>> {
    let chosen: Vec<Uuid> = chosen.iter().map(TaskId::as_uuid).collect();
    let query = dialect.query(&dialect.literal().redrive).bind(chosen).bind(shard.number());
    let redriven = query.fetch_all(connection).await.map_err(|error| match is_duplicate(&error) {
        // A key was taken since it was looked at: that look is repeated.
        true => Failure::Contention { source: Some(error.into()) },
        false => failure(error),
    });
    ids(redriven?)
}
