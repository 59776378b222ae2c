//! Tasks and claims that nobody else has locked. A worker that was frozen in the middle of a transaction holds its rows for hours, and a
//! transaction of the service's for as long as it likes; an update would wait for them, and fail, with all others that it
//! names. So what takes whatever it finds locks that first and passes over what others hold. It knows no verb.
//!
//! Rows are found by a plain read and locked by primary key: what a locking read scans in an index, it locks.

use std::collections::{HashMap, HashSet};

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, TaskId};
use taskqueue_sql::Attempt;

use crate::claim::{LIST_MAX, Standing};
use crate::dialect::MysqlDialect;
use crate::wire::{bind_tokens, of_ids};

/// Locks these tasks, as far as they stand so and nobody else has locked them, the first ones first, until there are `limit` or
/// some more; answers them in no order, each with its lease token.
pub(crate) async fn lock(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    standing: Standing,
    ids: &[TaskId],
    limit: usize,
) -> Attempt<HashMap<TaskId, i64>> {
    let mut free = HashMap::new();
    let text = |ids| dialect.literal().free(standing, ids);
    for ids in ids.chunks(LIST_MAX) {
        if free.len() >= limit {
            break;
        }
        for mut row in dialect.rows_of(connection, ids, text, of_ids(shard)).await? {
            free.insert(row.id(0)?, row.integer(1)?);
        }
    }
    Ok(free)
}

/// Locks what is known of these claims, as far as nobody else has locked it; answers those.
pub(crate) async fn claims(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tokens: &[i64],
) -> Attempt<HashSet<i64>> {
    let text = |tokens| dialect.literal().leases.free(tokens);
    let bind = |query, tokens: &[i64]| bind_tokens(query, tokens).bind(shard.number());
    let rows = dialect.rows_of(connection, tokens, text, bind).await?;
    rows.into_iter().map(|mut row| row.integer(0)).collect()
}
