//! Promotion from end to end, of what is due and of what is to run before it is. What the statements are is `claim.rs`'s
//! business, where a promotion begins is `due.rs`'s.

use sqlx::PgConnection;
use taskqueue_core::{Shard, TaskId};
use taskqueue_sql::{Attempt, Row, integer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::dialect::PostgresDialect;
use crate::due::Place;
use crate::error::failure;
use crate::moment::Moment;
use crate::wire;

/// Makes ready what is due and nobody else has locked, earliest first; answers how many.
pub(crate) async fn promote(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<u64> {
    let (places, began, limit) = (&dialect.due.promotions, Instant::now(), integer(limit));
    let from = places.start(shard, began);
    let query = dialect.query(&dialect.literal().promote).bind(limit).bind(shard.number());
    let query = query.bind(Moment(from.due_at)).bind(Moment(from.queue_at)).bind(from.id);
    let row = wire::row(&query.fetch_one(connection).await.map_err(failure)?)?;
    let (promoted, to) = answered(row, limit)?;
    places.looked(shard, (from, to), began, Instant::now());
    Ok(promoted)
}

/// Makes these ready as far as they wait for a time, in this order; answers how many. They are changed in the order of their
/// keys, so that two calls that meet wait for each other instead of deadlocking.
pub(crate) async fn run_now(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    ids: &[TaskId],
) -> Attempt<u64> {
    let mut placed: Vec<(Uuid, i64)> = ids.iter().map(TaskId::as_uuid).zip(0..).collect();
    placed.sort_unstable();
    let (ids, places): (Vec<Uuid>, Vec<i64>) = placed.into_iter().unzip();
    let query = dialect.query(&dialect.literal().run_now).bind(ids).bind(places).bind(shard.number());
    Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
}

/// How many were promoted, and where the next look goes on.
fn answered(mut row: Row, limit: i64) -> Attempt<(u64, Place)> {
    let promoted = row.count(0)?.into();
    let to = if row.integer(1)? == limit {
        Place { due_at: row.time(3)?, queue_at: row.time(4)?, id: row.id(5)?.as_uuid() }
    } else {
        Place::after_all(row.time(2)?)
    };
    Ok((promoted, to))
}
