//! Promotion from end to end, of what is due and of what is to run before it is. What the statements are is `claim.rs`'s
//! business.

use std::collections::HashSet;

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, State, TaskId};
use taskqueue_sql::{Attempt, Dialect, Row, integer, wider};

use crate::batch::Batch;
use crate::claim::{LIST_MAX, Standing};
use crate::dialect::MysqlDialect;
use crate::free;

/// Statuses and types of tasks that wait for a time.
type Kinds = Vec<(i64, String)>;

/// Makes ready what is due and nobody else has locked, earliest first; answers how many.
pub(crate) async fn promote(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    limit: usize,
) -> Attempt<u64> {
    let kinds = waiting(dialect, &mut *connection, shard).await?;
    if kinds.is_empty() {
        return Ok(0);
    }
    let mut width = limit;
    let ready = loop {
        let mut due = due(dialect, &mut *connection, shard, &kinds, width).await?;
        // What it has locked already is found again.
        let free = free::lock(dialect, &mut *connection, shard, Standing::Due, &due, limit).await?;
        match wider(width, due.len(), limit.saturating_sub(free.len())) {
            Some(next) => width = next,
            None => {
                due.retain(|id| free.contains_key(id));
                due.truncate(limit);
                break due;
            }
        }
    };
    dialect.each(connection, shard, &dialect.literal().promote, Batch::of_ready(&ready)).await
}

/// Makes these ready as far as they wait for a time, in this order; answers how many. Which of them wait is read first, without
/// locks: the server locks a row before it looks whether it is to be changed, and would wait for a running task until the
/// transaction ends in which its handler completes it.
pub(crate) async fn run_now(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ids: &[TaskId],
) -> Attempt<u64> {
    let mut waiting = HashSet::new();
    for chunk in ids.chunks(LIST_MAX) {
        for mut row in dialect.fetch(&mut *connection, dialect.statements(shard).standings(chunk)).await? {
            // A state that nobody knows is none that waits.
            if row.state(2).is_ok_and(State::is_waiting) {
                waiting.insert(row.id(0)?);
            }
        }
    }
    let waiting: Vec<TaskId> = ids.iter().copied().filter(|id| waiting.contains(id)).collect();
    dialect.each(connection, shard, &dialect.literal().run_now, Batch::of_ready(&waiting)).await
}

async fn waiting(dialect: &MysqlDialect, connection: &mut MySqlConnection, shard: Shard) -> Attempt<Kinds> {
    let waiting = dialect.query(&dialect.literal().waiting).bind(shard.number());
    let kind = |mut row: Row| Ok((row.integer(0)?, row.text(1)?));
    dialect.rows(waiting, connection).await?.into_iter().map(kind).collect()
}

/// Due tasks, earliest first.
async fn due(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    kinds: &Kinds,
    limit: usize,
) -> Attempt<Vec<TaskId>> {
    let sql = dialect.literal().due(kinds.len());
    let mut query = dialect.query(&sql);
    for (status, task_type) in kinds {
        query = query.bind(shard.number()).bind(*status).bind(task_type.clone()).bind(integer(limit));
    }
    let query = query.bind(integer(limit));
    dialect.rows(query, connection).await?.into_iter().map(|mut row| row.id(0)).collect()
}
