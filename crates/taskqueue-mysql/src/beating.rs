//! A heartbeat from end to end. What its statements are is `leases.rs`'s and `claim.rs`'s business.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use sqlx::MySqlConnection;
use taskqueue_core::clock::micros;
use taskqueue_core::{Lease, LeaseToken, Shard, TaskId};
use taskqueue_sql::{Attempt, Failure, changed};

use crate::claim::LIST_MAX;
use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::free;
use crate::run::Query;
use crate::settling::ids_and_tokens;
use crate::wire::{bind_ids, bind_tokens};

/// Extends the leases that are live, but for those whose tasks others have locked, and those that it would shorten whose claims
/// others have; answers those. One task of a transaction that stays open must not cost all the others their leases.
pub(crate) async fn heartbeat(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    leases: &[Lease],
    visibility_timeout: Duration,
) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
    let micros = micros(visibility_timeout);
    let mut held: Vec<_> = leases.iter().map(|lease| (lease.task_id, lease.token)).collect();
    held.sort_unstable_by_key(|(id, token)| (*id, token.get()));
    let shortened = shortened(dialect, &mut *connection, shard, &held, micros).await?;
    let blocked = check_sooner(dialect, &mut *connection, shard, &shortened, micros).await?;
    held.retain(|(_, token)| !blocked.contains(&token.get()));
    let live = lock(dialect, &mut *connection, shard, &held, micros, &shortened).await?;
    for chunk in live.chunks(LIST_MAX) {
        let (ids, tokens) = ids_and_tokens(chunk);
        let sql = dialect.literal().heartbeat(ids.len(), tokens.len());
        let query = dialect.query(&sql).bind(micros).bind(shard.number());
        let query = bind_tokens(bind_ids(query, &ids), &tokens);
        changed(dialect.run(query, &mut *connection).await.map_err(failure)?.rows_affected(), chunk.len())?;
    }
    Ok(live.into_iter().collect())
}

/// The tokens of those leases that would end sooner than they do.
async fn shortened(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    held: &[(TaskId, LeaseToken)],
    micros: i64,
) -> Attempt<BTreeSet<i64>> {
    let mut shortened = BTreeSet::new();
    for chunk in held.chunks(LIST_MAX) {
        let (ids, tokens) = ids_and_tokens(chunk);
        let sql = dialect.literal().leases.shortened(ids.len(), tokens.len());
        let query = bind_tokens(bind_ids(dialect.query(&sql).bind(shard.number()), &ids), &tokens);
        for mut row in dialect.rows(query.bind(micros), &mut *connection).await? {
            shortened.insert(row.integer(0)?);
        }
    }
    Ok(shortened)
}

/// Has these claims checked by the time to which leases of theirs are about to be brought, and keeps them locked until then: a check
/// that is under way has read the end of before. No other heartbeat waits for a check.
///
/// Answers those that others keep locked for longer than a statement waits: a session whose client is gone without a word, in the
/// middle of a heartbeat, keeps its locks until the server notices.
async fn check_sooner(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    claims: &BTreeSet<i64>,
    micros: i64,
) -> Attempt<BTreeSet<i64>> {
    let tokens: Vec<i64> = claims.iter().copied().collect();
    match bring_forward(dialect, &mut *connection, shard, &tokens, micros).await {
        Err(Failure::LockWait { .. }) => {}
        done => return done.map(|()| BTreeSet::new()),
    }
    let free = free::claims(dialect, &mut *connection, shard, &tokens).await?;
    let (free, blocked): (Vec<i64>, Vec<i64>) = tokens.into_iter().partition(|token| free.contains(token));
    bring_forward(dialect, connection, shard, &free, micros).await?;
    Ok(blocked.into_iter().collect())
}

async fn bring_forward(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tokens: &[i64],
    micros: i64,
) -> Attempt<()> {
    let text = |tokens| dialect.literal().leases.check_sooner(tokens);
    let bind =
        |query: Query<'static>, tokens: &[i64]| bind_tokens(query.bind(micros), tokens).bind(shard.number());
    dialect.run_of(connection, tokens, text, bind).await.map(drop).map_err(failure)
}

/// Locks the tasks of live leases that nobody else has locked, in key order. Another heartbeat may have extended one since it was
/// looked at, so that this one shortens it after all: then all is to be looked at anew.
pub(crate) async fn lock(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    held: &[(TaskId, LeaseToken)],
    micros: i64,
    shortened: &BTreeSet<i64>,
) -> Attempt<Vec<(TaskId, LeaseToken)>> {
    let mut ids: Vec<TaskId> = held.iter().map(|(id, _)| *id).collect();
    ids.dedup();
    let held: HashSet<&(TaskId, LeaseToken)> = held.iter().collect();
    let mut live = Vec::with_capacity(ids.len());
    let text = |ids| dialect.literal().leases.extendable(ids);
    let bind = |query: Query<'static>, ids: &[TaskId]| bind_ids(query.bind(micros).bind(shard.number()), ids);
    for mut row in dialect.rows_of(connection, &ids, text, bind).await? {
        let (id, token, is_shortened) = (row.id(0)?, row.integer(1)?, row.integer(2)? == 1);
        let lease = (id, LeaseToken::from_stored(token));
        if !held.contains(&lease) {
            continue;
        }
        if is_shortened && !shortened.contains(&token) {
            return Err(Failure::Contention { source: None });
        }
        live.push(lease);
    }
    Ok(live)
}
