//! The check of claims, what it takes back, and dead letters that are redriven, from end to end. What the statements are is `claim.rs`'s business.

use std::collections::HashSet;

use sqlx::PgConnection;
use taskqueue_core::{Shard, State, TaskId};
use taskqueue_sql::{Attempt, Failure, Reclaiming, Row};
use uuid::Uuid;

use crate::arguments::integer;
use crate::dialect::{PostgresDialect, ids};
use crate::error::{failure, is_duplicate};

/// Running tasks whose lease has ended, earliest end first. On the way claims are checked.
pub(crate) async fn ended(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<Vec<Row>> {
    for tidy in &dialect.literal().tidy_leases {
        dialect.query(tidy).bind(shard.number()).execute(&mut *connection).await.map_err(failure)?;
    }
    let query = dialect.query(&dialect.literal().ended).bind(integer(limit));
    dialect.rows(connection, query.bind(shard.number())).await
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
