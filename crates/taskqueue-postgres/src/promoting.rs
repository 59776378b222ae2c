//! Promotion from end to end. What its statement is is `claim.rs`'s business, where it begins is `due.rs`'s.

use sqlx::PgConnection;
use taskqueue_core::Shard;
use taskqueue_sql::{Attempt, Row, integer};
use tokio::time::Instant;

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
