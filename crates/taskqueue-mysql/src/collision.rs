//! What is in the way of tasks that are inserted, as of now. A caller's transaction may read as of a moment before that was committed
//! (REPEATABLE READ, the engines' default): then its INSERT meets what its plain reads do not show. It inserts nothing.
//!
//! The INSERT that collided has locked what it met, which these reads lock as well, besides the task that holds a key. Where nothing
//! is there they lock the gap, into which others insert: so ids are looked for only where no key explains it.

use std::collections::HashMap;

use sqlx::MySqlConnection;
use taskqueue_core::{Enqueued, NewTask, Shard, TaskId};
use taskqueue_sql::{Attempt, Dialect as _, TableName};

use crate::claim::{LIST_MAX, marks, padded};
use crate::dialect::MysqlDialect;
use crate::insert::key;
use crate::keys;
use crate::wire::{self, bind_ids};

/// What is in the way of these tasks, as far as it is there: the holders of their keys, else their ids.
pub(crate) async fn now(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tasks: &[&NewTask],
) -> Attempt<HashMap<TaskId, Enqueued>> {
    let keys = tasks.iter().filter_map(|task| key(task));
    let holders = keys::holders_now(dialect, &mut *connection, shard, keys).await?;
    let answer = |task: &&NewTask| match *holders.get(&key(task)?)? {
        holder if holder == task.id => Some((task.id, Enqueued::Repeated(holder))),
        holder => Some((task.id, Enqueued::Duplicate(holder))),
    };
    let mut found: HashMap<TaskId, Enqueued> = tasks.iter().filter_map(answer).collect();
    if found.is_empty() {
        let stored = stored(dialect, connection, shard, tasks).await?;
        found.extend(stored.into_iter().map(|id| (id, Enqueued::Repeated(id))));
    }
    Ok(found)
}

async fn stored(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tasks: &[&NewTask],
) -> Attempt<Vec<TaskId>> {
    let mut ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    ids.sort_unstable();
    let mut stored = Vec::new();
    for chunk in ids.chunks(LIST_MAX) {
        let chunk = padded(chunk);
        let sql = stored_now(&dialect.options().table, chunk.len());
        let query = bind_ids(dialect.query(&sql).bind(shard.number()), &chunk);
        for row in dialect.rows(query, &mut *connection).await? {
            stored.push(wire::row(&row)?.id(0)?);
        }
    }
    Ok(stored)
}

/// The shard, then the ids. Those that are stored as of now.
pub(crate) fn stored_now(table: &TableName, ids: usize) -> String {
    format!(
        "SELECT id FROM {table} FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) LOCK IN SHARE MODE",
        marks(ids)
    )
}
