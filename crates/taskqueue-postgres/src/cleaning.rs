//! A cleanup of one shard from end to end: slice after slice of its walk. Where the walk goes, and what its statements
//! are, is `cleanup.rs`'s business.

use std::collections::HashSet;

use sqlx::PgConnection;
use taskqueue_core::clock::micros;
use taskqueue_core::{Cleanup, Shard, State, TaskId};
use taskqueue_sql::{Attempt, integer};
use uuid::Uuid;

use crate::cleanup::{Edge, Slice};
use crate::dialect::PostgresDialect;
use crate::error::failure;
use crate::wire;

/// Removes finished tasks that are old enough; answers how many.
pub(crate) async fn clean_up(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    cleanup: &Cleanup,
) -> Attempt<u64> {
    let slice = dialect.literal().cleaning.of(cleanup.statuses);
    let mut walk = dialect.walk_starts.start(shard, cleanup.statuses);
    let mut removed = 0;
    loop {
        let edge = edge(dialect, connection, slice, shard, walk.first()).await?;
        let last = edge.map_or(Uuid::max(), |edge| edge.id.as_uuid());
        let rest = Cleanup { limit: cleanup.limit - removed, ..*cleanup };
        let gone = remove(dialect, connection, slice, shard, (walk.first(), last), &rest).await?;
        removed += gone.len();
        if removed == cleanup.limit {
            gone.into_iter().max().into_iter().for_each(|last| walk.stop_behind(last));
            break;
        }
        if !walk.go_on(edge, cleanup.older_than) {
            break;
        }
    }
    dialect.walk_starts.leave(shard, cleanup.statuses, &walk);
    Ok(removed as u64)
}

/// Where the slice of this first id ends; `None` when the shard does.
async fn edge(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    slice: &Slice,
    shard: Shard,
    first: Uuid,
) -> Attempt<Option<Edge>> {
    let query = dialect.query(&slice.edge).bind(first).bind(shard.number());
    let Some(row) = query.fetch_optional(connection).await.map_err(failure)? else { return Ok(None) };
    let mut row = wire::row(&row)?;
    Ok(Some(Edge { id: row.id(0)?, now_ms: row.integer(1)? }))
}

/// Removes what may go between two ids, as far as the limit goes.
async fn remove(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    slice: &Slice,
    shard: Shard,
    (first, last): (Uuid, Uuid),
    cleanup: &Cleanup,
) -> Attempt<HashSet<TaskId>> {
    let query = dialect
        .query(&slice.remove)
        .bind(first)
        .bind(last)
        .bind(micros(cleanup.older_than))
        .bind(integer(cleanup.limit))
        .bind(shard.number())
        .bind(cleanup.statuses.states().map(State::code).collect::<Vec<i16>>());
    wire::ids(query.fetch_all(connection).await.map_err(failure)?)
}
