//! The check of claims, from end to end. What its statements are is `leases.rs`'s business.

use sqlx::MySqlConnection;
use taskqueue_core::Shard;
use taskqueue_sql::{Attempt, Row};

use crate::claim::{LIST_MAX, padded};
use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::wire::{self, bind_tokens, number};

/// What a check makes of the claims that were due.
#[derive(Debug, Default)]
struct Checked {
    /// None of their tasks runs under them.
    over: Vec<i64>,
    /// All leases of these last.
    live: Vec<i64>,
    /// When the first of those leases ends.
    until: Option<i64>,
    /// Whether a lease has ended.
    has_ended: bool,
}

/// Running tasks whose lease has ended, earliest end first. Claims of which none runs are forgotten, and those whose leases all last
/// are checked again when the first of all ends; the others stay due until their tasks are taken back.
pub(crate) async fn ended(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<Vec<Row>> {
    let leases = &dialect.literal().leases;
    let checked = check(dialect, &mut *connection, shard).await?;
    for tokens in checked.over.chunks(LIST_MAX) {
        dialect.text(&leases.forget(dialect.engine(), shard, tokens), &mut *connection).await?;
    }
    if let Some(until) = checked.until {
        for tokens in checked.live.chunks(LIST_MAX) {
            let tokens = padded(tokens);
            let sql = leases.check_later(tokens.len());
            let query = bind_tokens(dialect.query(&sql).bind(wire::time(until)?), tokens);
            dialect.run(query.bind(shard.number()), &mut *connection).await.map_err(failure)?;
        }
    }
    if !checked.has_ended {
        return Ok(Vec::new());
    }
    let query = dialect.query(&leases.ended).bind(shard.number()).bind(shard.number()).bind(number(limit));
    dialect.rows(query, connection).await?.iter().map(wire::row).collect()
}

/// Looks at the claims that are due, without a lock.
async fn check(dialect: &MysqlDialect, connection: &mut MySqlConnection, shard: Shard) -> Attempt<Checked> {
    let due = dialect.query(&dialect.literal().leases.due).bind(shard.number()).bind(shard.number());
    let mut checked = Checked::default();
    for row in dialect.rows(due, connection).await? {
        let mut row = wire::row(&row)?;
        let (token, until, now) = (row.integer(0)?, row.integer_opt(1)?, row.integer(2)?);
        match until {
            None => checked.over.push(token),
            Some(until) if until > now => {
                checked.live.push(token);
                checked.until = Some(checked.until.map_or(until, |first| first.min(until)));
            }
            Some(_) => checked.has_ended = true,
        }
    }
    checked.over.sort_unstable();
    checked.live.sort_unstable();
    Ok(checked)
}
