//! Settles from end to end. What their statements are is `claim.rs`'s business.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::MySqlConnection;
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::{Lease, LeaseToken, Shard, TaskId};
use taskqueue_sql::{Applied, Attempt, Dialect as _, Failure, Owner, changed};

use crate::batch::Batch;
use crate::claim::{LIST_MAX, ROLLBACK, padded};
use crate::dialect::MysqlDialect;
use crate::engine::Engine;
use crate::error::failure;
use crate::keys;
use crate::wire::{self, between_shards, bind_ids, bind_tokens, of_ids};

/// The most claims whose tasks are completed without a look at them first: each takes a statement of its own.
const CLAIMS_MAX: usize = 8;

/// Applies the decisions whose lease is live; answers those. How long a task ran is counted from the claim to the
/// time that completions write.
pub(crate) async fn settle(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    decisions: &[Decision],
    owner: Owner,
) -> Attempt<Vec<Applied>> {
    let tokens = decisions.iter().map(|decision| decision.lease.token);
    let has_keys = !dialect.unsettled().are_without_keys(tokens);
    let claims = claims_alone(dialect.engine(), decisions);
    let is_marked = claims.is_some() && (decisions.len() > 1 || has_keys);
    let settled = settled(dialect, &mut *connection, shard, owner).await?;
    let now = begin(dialect, &mut *connection, shard, &settled, is_marked).await?;
    let completed = match &claims {
        Some(claims) => complete_all(dialect, &mut *connection, shard, now, claims, has_keys).await?,
        None => 0,
    };
    let applied = if completed == decisions.len() as u64 {
        decisions.iter().collect()
    } else {
        if is_marked {
            dialect.text(ROLLBACK, &mut *connection).await?;
        }
        let live = live_decisions(dialect, &mut *connection, shard, decisions).await?;
        if has_keys {
            let finished = live.iter().filter(|decision| decision.transition.state().status().is_finished());
            let finished = finished.map(|decision| decision.lease.task_id);
            keys::let_go_of(dialect, &mut *connection, shard, finished).await?;
        }
        settle_live(dialect, connection, shard, now, live).await?
    };
    let busy_us = |lease: &Lease| (now - lease.claimed_at.timestamp_micros()).max(0);
    let answer = |Decision { lease, .. }: &Decision| Applied { id: lease.task_id, busy_us: busy_us(lease) };
    Ok(applied.into_iter().map(answer).collect())
}

/// The tokens of claims that are to be forgotten. Where a server may have taken over that does not know of their settles, those
/// under which a task runs are left out.
async fn settled(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    owner: Owner,
) -> Attempt<Vec<i64>> {
    let mut settled = dialect.unsettled().take_settled(shard, owner);
    if dialect.is_told_of_connections() {
        return Ok(settled);
    }
    let text = |tokens| dialect.literal().leases.held(tokens);
    let rows = dialect.rows_of(connection, &settled, text, between_shards(shard)).await?;
    let held = rows.into_iter().map(|mut row| row.integer(0)).collect::<Attempt<HashSet<_>>>()?;
    settled.retain(|token| !held.contains(token));
    Ok(settled)
}

/// Those whose lease is live. Their tasks are locked.
async fn live_decisions<'d>(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    decisions: &'d [Decision],
) -> Attempt<Vec<&'d Decision>> {
    let leases = decisions.iter().map(|decision| &decision.lease);
    let live = live(dialect, connection, shard, leases).await?;
    let is_live = |decision: &&Decision| live.get(&decision.lease.task_id) == Some(&decision.lease.token);
    Ok(decisions.iter().filter(is_live).collect())
}

/// Applies decisions whose lease is live.
async fn settle_live<'d>(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    now: i64,
    live: Vec<&'d Decision>,
) -> Attempt<Vec<&'d Decision>> {
    let (completed, others): (Vec<&Decision>, Vec<&Decision>) =
        live.into_iter().partition(|decision| decision.transition == Transition::Complete);
    let place = |decision: &&Decision| (decision.lease.task_id, decision.lease.token);
    let mut leases: Vec<(TaskId, LeaseToken)> = completed.iter().map(place).collect();
    leases.sort_unstable_by_key(|(id, _)| *id);
    for chunk in leases.chunks(LIST_MAX) {
        changed(complete(dialect, &mut *connection, shard, now, chunk).await?, chunk.len())?;
    }
    let rows = dialect.each(connection, shard, &dialect.literal().settle, Batch::of_settles(&others)).await?;
    changed(rows, others.len())?;
    Ok([completed, others].concat())
}

/// Forgets claims whose tasks are all settled, and marks the place to which an unsuccessful settle goes back; answers the
/// server's time in microseconds. All in one round trip, except on Vitess, which takes one statement at a time.
async fn begin(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    settled: &[i64],
    is_marked: bool,
) -> Attempt<i64> {
    let literal = dialect.literal();
    let mut text = if is_marked { literal.mark.clone() } else { literal.time.clone() };
    if !settled.is_empty() {
        let forget = literal.leases.forget(dialect.engine(), shard, settled);
        if dialect.engine() == Engine::Vitess {
            dialect.text(&forget, &mut *connection).await?;
        } else {
            text = format!("{forget}; {text}");
        }
    }
    match dialect.text(&text, connection).await?.pop() {
        Some(mut row) => row.integer(0),
        None => Err(Failure::malformed("the server does not know the time".to_owned())),
    }
}

/// The tasks by claim, in key order, if they are completed and nothing else, and come from few claims.
fn claims_alone(engine: Engine, decisions: &[Decision]) -> Option<BTreeMap<i64, BTreeSet<TaskId>>> {
    let mut claims: BTreeMap<i64, BTreeSet<TaskId>> = BTreeMap::new();
    for Decision { lease, transition, .. } in decisions {
        if *transition != Transition::Complete {
            return None;
        }
        claims.entry(lease.token.get()).or_default().insert(lease.task_id);
    }
    // Vitess is sent one statement at a time, so that there is no place to go back to.
    (engine != Engine::Vitess && claims.len() <= CLAIMS_MAX).then_some(claims)
}

/// Completes all of these without a look at them first, until one is not live; answers how many were completed. Each
/// task is in the batch once.
///
/// A statement names one token. With two, a lost lease would pass for the live one that another claim of the batch
/// holds on the same task.
async fn complete_all(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    now: i64,
    claims: &BTreeMap<i64, BTreeSet<TaskId>>,
    has_keys: bool,
) -> Attempt<u64> {
    let mut completed = 0;
    for (token, ids) in claims {
        if has_keys {
            keys::let_go_of(dialect, &mut *connection, shard, ids.iter().copied()).await?;
        }
        let leases: Vec<_> = ids.iter().map(|id| (*id, LeaseToken::from_stored(*token))).collect();
        for chunk in leases.chunks(LIST_MAX) {
            let rows = complete(dialect, &mut *connection, shard, now, chunk).await?;
            completed += rows;
            if rows != chunk.len() as u64 {
                return Ok(completed);
            }
        }
    }
    Ok(completed)
}

/// Completes tasks at this time, and deletes them where the queue is set so; answers how many were running under one of
/// the tokens.
async fn complete(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    now: i64,
    leases: &[(TaskId, LeaseToken)],
) -> Attempt<u64> {
    let (ids, tokens) = ids_and_tokens(leases);
    let sql = match dialect.deletes_completed() {
        true => dialect.literal().complete_and_delete(ids.len(), tokens.len()),
        false => dialect.literal().complete(ids.len(), tokens.len()),
    };
    let mut query = dialect.query(&sql);
    if !dialect.deletes_completed() {
        let time = wire::time(now)?;
        query = query.bind(time).bind(time);
    }
    let query = bind_tokens(bind_ids(query.bind(shard.number()), &ids), &tokens);
    Ok(dialect.run(query, connection).await.map_err(failure)?.rows_affected())
}

/// Locks the tasks of live leases, in key order; answers their tokens.
async fn live(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    leases: impl Iterator<Item = &Lease>,
) -> Attempt<HashMap<TaskId, LeaseToken>> {
    let mut held: HashMap<TaskId, BTreeSet<i64>> = HashMap::new();
    for lease in leases {
        held.entry(lease.task_id).or_default().insert(lease.token.get());
    }
    let mut ids: Vec<TaskId> = held.keys().copied().collect();
    ids.sort_unstable();
    let mut live = HashMap::with_capacity(ids.len());
    let text = |ids| dialect.literal().running(ids);
    for mut row in dialect.rows_of(connection, &ids, text, of_ids(shard)).await? {
        let (id, token) = (row.id(0)?, row.integer(1)?);
        if held.get(&id).is_some_and(|tokens| tokens.contains(&token)) {
            live.insert(id, LeaseToken::from_stored(token));
        }
    }
    Ok(live)
}

/// The ids, and the distinct tokens, both filled up.
pub(crate) fn ids_and_tokens(leases: &[(TaskId, LeaseToken)]) -> (Vec<TaskId>, Vec<i64>) {
    let ids: Vec<TaskId> = leases.iter().map(|(id, _)| *id).collect();
    let tokens: BTreeSet<i64> = leases.iter().map(|(_, token)| token.get()).collect();
    (padded(&ids), padded(&tokens.into_iter().collect::<Vec<_>>()))
}
