//! The check of claims, what it takes back, and dead letters that are redriven, from end to end. What the statements are is `claim.rs`'s business.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{PgConnection, Row as _};
use taskqueue_core::{Shard, State, TaskId, Timestamp};
use taskqueue_sql::{Attempt, Failure, Reclaiming, Row, integer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::dialect::PostgresDialect;
use crate::due::Place;
use crate::error::{failure, is_duplicate};
use crate::leases::CHECKS_MAX;
use crate::moment::Moment;
use crate::wire;

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
    let (places, began) = (&dialect.due.checks, Instant::now());
    let from = places.start(shard, began);
    let over = check(dialect, &mut *connection, shard, from.due_at).await?;
    let query = dialect.query(&dialect.literal().ended).bind(integer(limit));
    let ended = dialect.rows(connection, query.bind(shard.number()).bind(Moment(from.due_at))).await?;
    // The claims of what has ended stay until it is taken back.
    let to = over.filter(|_| ended.is_empty()).map_or(from, Place::after_all);
    places.looked(shard, (from, to), began, Instant::now());
    Ok(ended)
}

/// Checks the claims that are due, look by look. Those that callers' transactions completed are all here at the end of
/// their lease; one look a call would fall behind them, and the tasks of dead workers would wait behind them.
///
/// Answers the time by which none was left that is over or may be checked later, unless there was too much to look at.
async fn check(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    mut from: Timestamp,
) -> Attempt<Option<Timestamp>> {
    let began = Instant::now();
    for _ in 0..LOOKS_MAX {
        let looked = look(dialect, &mut *connection, shard, from).await?;
        match looked.last {
            Some(last) if looked.claims == CHECKS_MAX => from = last,
            _ => return Ok(Some(looked.now)),
        }
        if began.elapsed() >= LOOKS_TIME_MAX {
            break;
        }
    }
    Ok(None)
}

/// What one look checked.
struct Looked {
    claims: usize,
    /// The check of the last of them.
    last: Option<Timestamp>,
    now: Timestamp,
}

/// Checks the first claims that are due from this time on.
async fn look(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    from: Timestamp,
) -> Attempt<Looked> {
    let checks = &dialect.literal().checks;
    let lock = dialect.query(&checks.lock).bind(shard.number()).bind(Moment(from));
    let locked = lock.fetch_one(&mut *connection).await.map_err(failure)?;
    let tokens: Vec<i64> = locked.try_get(0).map_err(failure)?;
    let last: Option<Moment> = locked.try_get(1).map_err(failure)?;
    let Moment(now) = locked.try_get(2).map_err(failure)?;
    let looked = Looked { claims: tokens.len(), last: last.map(|Moment(last)| last), now };
    for check in checks.check.iter().filter(|_| !tokens.is_empty()) {
        let check = dialect.query(check).bind(shard.number()).bind(tokens.clone());
        check.execute(&mut *connection).await.map_err(failure)?;
    }
    Ok(looked)
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
    wire::ids(query.fetch_all(connection).await.map_err(failure)?)
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
    wire::ids(redriven?)
}
