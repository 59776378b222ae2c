//! Reclaims: the check of claims, and the tasks that are taken back, from end to end. What the statements are is the business of
//! `leases.rs` and `claim.rs`.

use std::collections::HashSet;

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, State, TaskId};
use taskqueue_sql::{Attempt, Reclaiming, Row, changed, integer, wider};

use crate::batch::Batch;
use crate::claim::{LIST_MAX, Standing};
use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::free;
use crate::keys;
use crate::leases::CHECKED_MAX;
use crate::run::Query;
use crate::wire::{self, between_shards, bind_tokens};

/// How many checks one call makes. A worker makes such a call every few seconds, and callers who complete tasks in
/// transactions of their own leave a claim behind for each.
const CHECKS_MAX: usize = 20;

/// What a check has made of the claims that were due.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// None of their tasks runs under them.
    over: Vec<i64>,
    /// All leases of these last.
    live: Vec<i64>,
    /// When the first lease of those ends.
    first_end: Option<i64>,
    /// Whether a lease has ended.
    has_ended: bool,
    /// Whether others have locked some, of which nothing is known.
    are_some_locked: bool,
}

/// Running tasks whose lease has ended and that nobody else has locked, earliest end first. Claims of which none runs are forgotten,
/// and those whose leases all last are checked again when the first of all ends; the others stay due until their tasks are taken
/// back, and so do those that others have locked. What stands behind claims that are over is looked at as well.
pub(crate) async fn ended(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<Vec<Row>> {
    let mut may_have_ended = false;
    for _ in 0..CHECKS_MAX {
        let due = due(dialect, &mut *connection, shard).await?;
        let checked = check(dialect, &mut *connection, shard, &due).await?;
        may_have_ended |= checked.has_ended || checked.are_some_locked;
        // Live claims that were put off stay locked until the transaction ends, and heartbeats wait for them.
        if checked.has_ended || due.len() < CHECKED_MAX || checked.over.is_empty() {
            break;
        }
    }
    if may_have_ended { free(dialect, connection, shard, limit).await } else { Ok(Vec::new()) }
}

/// Takes tasks back, which are locked; answers those. A task whose unique key others have locked stays until it can let it go.
pub(crate) async fn reclaim(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ended: &[Reclaiming],
) -> Attempt<HashSet<TaskId>> {
    let dead = ended.iter().filter(|ended| ended.state == State::DeadLetter);
    let blocked = keys::let_free_go_of(dialect, &mut *connection, shard, dead.map(|ended| ended.id)).await?;
    let ended: Vec<Reclaiming> = ended.iter().filter(|ended| !blocked.contains(&ended.id)).cloned().collect();
    let rows =
        dialect.each(connection, shard, &dialect.literal().reclaim, Batch::of_reclaims(&ended)).await?;
    changed(rows, ended.len())?;
    Ok(ended.into_iter().map(|ended| ended.id).collect())
}

/// The claims that are due, without a lock.
pub(crate) async fn due(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
) -> Attempt<Vec<i64>> {
    let due = dialect.query(&dialect.literal().leases.due).bind(shard.number());
    dialect.rows(due, connection).await?.into_iter().map(|mut row| row.integer(0)).collect()
}

/// Forgets those of the claims that are over, and has the live ones checked later. Locks them first: a heartbeat that is about to
/// shorten a lease has locked its claim, and others wait.
pub(crate) async fn check(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    due: &[i64],
) -> Attempt<Checked> {
    let free = free::claims(dialect, &mut *connection, shard, due).await?;
    let are_some_locked = free.len() < due.len();
    let mut checked = look(dialect, &mut *connection, shard, free).await?;
    checked.are_some_locked = are_some_locked;
    for tokens in checked.over.chunks(LIST_MAX) {
        let forget = dialect.literal().leases.forget(dialect.engine(), shard, tokens);
        dialect.text(&forget, &mut *connection).await?;
    }
    if let Some(until) = checked.first_end {
        put_off(dialect, connection, shard, &checked.live, until).await?;
    }
    Ok(checked)
}

/// What the claims are.
async fn look(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    claims: HashSet<i64>,
) -> Attempt<Checked> {
    let mut claims: Vec<i64> = claims.into_iter().collect();
    claims.sort_unstable();
    let mut checked = Checked::default();
    let text = |tokens| dialect.literal().leases.first_ends(tokens);
    for mut row in dialect.rows_of(connection, &claims, text, between_shards(shard)).await? {
        let (token, until, now) = (row.integer(0)?, row.integer_opt(1)?, row.integer(2)?);
        match until {
            None => checked.over.push(token),
            Some(until) if until > now => {
                checked.live.push(token);
                checked.first_end = checked.first_end.into_iter().chain([until]).min();
            }
            Some(_) => checked.has_ended = true,
        }
    }
    Ok(checked)
}

/// Has claims checked again at this time.
async fn put_off(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tokens: &[i64],
    until: i64,
) -> Attempt<()> {
    let until = wire::time(until)?;
    let text = |tokens| dialect.literal().leases.check_later(tokens);
    let bind =
        |query: Query<'static>, tokens: &[i64]| bind_tokens(query.bind(until), tokens).bind(shard.number());
    dialect.run_of(connection, tokens, text, bind).await.map(drop).map_err(failure)
}

/// Locks tasks whose lease has ended, earliest end first. Looks further where others have locked what comes first.
async fn free(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<Vec<Row>> {
    let mut width = limit;
    loop {
        let query = dialect.query(&dialect.literal().leases.ended);
        let query = query.bind(shard.number()).bind(shard.number()).bind(integer(width));
        let rows = dialect.rows(query, &mut *connection).await?;
        let mut ended = rows.into_iter().map(ended_task).collect::<Attempt<Vec<_>>>()?;
        let ids: Vec<TaskId> = ended.iter().map(|(id, ..)| *id).collect();
        // What it has locked already is found again.
        let free = free::lock(dialect, &mut *connection, shard, Standing::Ended, &ids, limit).await?;
        match wider(width, ended.len(), limit.saturating_sub(free.len())) {
            Some(next) => width = next,
            None => {
                ended.retain(|(id, token, _)| free.get(id) == Some(token));
                ended.truncate(limit);
                return Ok(ended.into_iter().map(|(.., row)| row).collect());
            }
        }
    }
}

/// A task whose lease has ended: its id, its lease token, all of its row.
fn ended_task(row: Row) -> Attempt<(TaskId, i64, Row)> {
    let mut read = row.clone();
    Ok((read.id(0)?, read.integer(2)?, row))
}
