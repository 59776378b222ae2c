//! Tasks that a claim has locked and that cannot be read, because a producer's own INSERT brought what no version of this crate
//! writes: they become dead letters. Left as they are they would be the first again, and keep all that is behind them from being
//! claimed. It knows no other verb.

use std::collections::BTreeMap;

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, State, TaskId, TaskType};
use taskqueue_sql::{Attempt, Delta, Dialect as _, Failure, Owner, TableName, Total, changed};

use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::keys;
use crate::wire::{self, bytes};

/// One that is to be buried.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) id: TaskId,
    /// By which it was found.
    pub(crate) task_type: Option<TaskType>,
    pub(crate) failure: Failure,
}

/// Makes dead letters of ready tasks, which are locked, at this time; answers of how many. One whose key others have locked stays as
/// it is: an enqueue of that key, which waits for the task, would be waited for.
pub(crate) async fn bury(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    now: i64,
    mut unreadable: Vec<Unreadable>,
) -> Attempt<usize> {
    if unreadable.is_empty() {
        return Ok(0);
    }
    let ids = unreadable.iter().map(|task| task.id);
    let blocked = keys::let_free_go_of(dialect, &mut *connection, shard, ids).await?;
    unreadable.retain(|task| !blocked.contains(&task.id));
    let number = unreadable.len();
    let (sql, now) = (text(&dialect.options().table), wire::time(now)?);
    let mut buried: BTreeMap<TaskType, i64> = BTreeMap::new();
    for Unreadable { id, task_type, failure: unreadable } in unreadable {
        let query = dialect.query(&sql).bind(now).bind(now).bind(unreadable.of_unreadable_task(id)).bind(now);
        let query = query.bind(shard.number()).bind(bytes(id));
        changed(dialect.run(query, &mut *connection).await.map_err(failure)?.rows_affected(), 1)?;
        if let Some(task_type) = task_type {
            *buried.entry(task_type).or_default() += 1;
        }
    }
    let total = |(task_type, tasks): (TaskType, i64)| {
        let delta = Delta { tasks, busy_us: 0 };
        Total { task_type: task_type.as_str().to_owned(), state: State::DeadLetter, delta }
    };
    let totals: Vec<Total> = buried.into_iter().map(total).collect();
    dialect.add_totals(connection, &totals, Owner::Queue).await?;
    Ok(number)
}

/// Now, now, the error, now, the shard, the id.
pub(crate) fn text(table: &TableName) -> String {
    format!(
        "UPDATE {table} FORCE INDEX (PRIMARY) SET status = 5, queue_rank = 0, queue_at = ?, completed_at = ?, \
         last_error = ?, updated_at = ? WHERE shard = ? AND id = ? AND status = 0"
    )
}
