//! Settling a batch: completions by their own statement, whatever else by another. What the statements are is
//! `claim.rs`'s business.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use taskqueue_core::{Decision, State, TaskId, Transition};
use taskqueue_sql::{Applied, Attempt};
use uuid::Uuid;

use crate::arguments::{Changes, leases};
use crate::dialect::PostgresDialect;
use crate::error::failure;

/// Applies the transitions whose lease is live; answers those.
pub(crate) async fn settle(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    decisions: &[Decision],
) -> Attempt<Vec<Applied>> {
    let (completed, others): (Vec<&Decision>, Vec<&Decision>) =
        decisions.iter().partition(|decision| decision.transition == Transition::Complete);
    let mut applied = settle_completed(dialect, connection, &completed).await?;
    applied.extend(settle_others(dialect, connection, &others).await?);
    Ok(applied)
}

async fn settle_completed(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    decisions: &[&Decision],
) -> Attempt<Vec<Applied>> {
    if decisions.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, tokens) = leases(decisions.iter().map(|decision| &decision.lease));
    let query = dialect.query(&dialect.literal().complete).bind(ids).bind(tokens);
    applied(&query.fetch_one(connection).await.map_err(failure)?)
}

async fn settle_others(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    decisions: &[&Decision],
) -> Attempt<Vec<Applied>> {
    if decisions.is_empty() {
        return Ok(Vec::new());
    }
    // A claim of other types may have been the one that knows of them.
    if decisions.iter().any(|decision| decision.transition.state() == State::Ready) {
        dialect.cursors().doubt();
    }
    let (ids, tokens) = leases(decisions.iter().map(|decision| &decision.lease));
    let mut changes = Changes::default();
    for decision in decisions {
        changes.push(&decision.transition);
    }
    let query = dialect.query(&dialect.literal().settle).bind(ids).bind(tokens);
    applied(&changes.bind(query).fetch_one(connection).await.map_err(failure)?)
}

/// The ids of an answer's one array. How long each ran is counted by the statement itself.
fn applied(row: &PgRow) -> Attempt<Vec<Applied>> {
    let ids: Vec<Uuid> = row.try_get(0).map_err(failure)?;
    Ok(ids.into_iter().map(|id| Applied { id: TaskId::from(id), busy_us: 0 }).collect())
}
