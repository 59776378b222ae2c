//! Settling a batch: completions by their own statement, whatever else by another; and heartbeats. What the statements are is
//! `claim.rs`'s business.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::clock::micros;
use taskqueue_core::{Lease, LeaseToken, Shard, TaskId};
use taskqueue_sql::{Applied, Attempt, Dialect as _, Owner, Row};
use uuid::Uuid;

use crate::arguments::{Changes, leases};
use crate::dialect::PostgresDialect;
use crate::error::failure;
use crate::query::Query;

/// Extends the leases that are live; answers those.
pub(crate) async fn heartbeat(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    held: &[Lease],
    visibility_timeout: Duration,
) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
    let (ids, tokens) = leases(held.iter());
    let query = dialect.query(&dialect.literal().heartbeat).bind(ids).bind(tokens);
    let query = query.bind(micros(visibility_timeout)).bind(shard.number());
    let read = |mut row: Row| Ok((row.id(0)?, LeaseToken::from_stored(row.integer(1)?)));
    dialect.rows(connection, query).await?.into_iter().map(read).collect()
}

/// Applies the transitions whose lease is live; answers those.
pub(crate) async fn settle(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    decisions: &[Decision],
    owner: Owner,
) -> Attempt<Vec<Applied>> {
    // A caller's transaction waits for nobody: others may wait for it.
    let _turn = if owner == Owner::Queue { dialect.turns.take().await } else { None };
    let (mut completed, others): (Vec<&Decision>, Vec<&Decision>) =
        decisions.iter().partition(|decision| decision.transition == Transition::Complete);
    let mut applied = Vec::with_capacity(decisions.len());
    if !completed.is_empty() {
        completed.sort_unstable_by_key(|decision| decision.lease.task_id.as_uuid());
        let settled = dialect.unsettled().take_settled(shard, owner);
        applied.extend(complete(dialect, &mut *connection, shard, &completed, settled).await?);
    }
    if !others.is_empty() {
        let query = of_leases(dialect, &dialect.literal().settle, &others);
        let query = changes(&others).bind(query).bind(shard.number());
        applied.extend(answered(&query.fetch_one(connection).await.map_err(failure)?)?);
    }
    Ok(applied)
}

/// Completes what `decisions` name, in ascending order of the ids, and forgets the claims of these tokens.
pub(crate) async fn complete(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    decisions: &[&Decision],
    settled: Vec<i64>,
) -> Attempt<Vec<Applied>> {
    let sql = match dialect.deletes_completed() {
        true => &dialect.literal().complete_and_delete,
        false => &dialect.literal().complete,
    };
    let query = of_leases(dialect, sql, decisions).bind(shard.number()).bind(settled);
    answered(&query.fetch_one(connection).await.map_err(failure)?)
}

fn of_leases<'q>(dialect: &PostgresDialect, sql: &str, decisions: &[&Decision]) -> Query<'q> {
    let (ids, tokens) = leases(decisions.iter().map(|decision| &decision.lease));
    dialect.query(sql).bind(ids).bind(tokens)
}

fn changes(decisions: &[&Decision]) -> Changes {
    let mut changes = Changes::default();
    decisions.iter().for_each(|decision| changes.push(&decision.transition));
    changes
}

/// The ids of an answer's one array. How long each ran is counted by the statement itself.
fn answered(row: &PgRow) -> Attempt<Vec<Applied>> {
    let ids: Vec<Uuid> = row.try_get(0).map_err(failure)?;
    Ok(ids.into_iter().map(|id| Applied { id: TaskId::from(id), busy_us: 0 }).collect())
}
