//! The task that has waited longest, from its statements to its time. It reads the head of each type and rank, and no other
//! ready task.

use sqlx::MySqlConnection;
use taskqueue_core::Shard;
use taskqueue_sql::{Attempt, Dialect as _, Row, TableName};

use crate::dialect::MysqlDialect;
use crate::wire;

/// Since when it is ready, in one row; no row where nothing is ready. Two plain questions: Vitess refuses one within the other.
pub(crate) async fn oldest_pending(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
) -> Attempt<Vec<Row>> {
    let table = &dialect.options().table;
    let sql = first(table);
    let heads = dialect.rows(dialect.query(&sql).bind(shard.number()), &mut *connection).await?;
    let Some(head) = heads.first() else { return Ok(Vec::new()) };
    let mut head = wire::row(head)?;
    let (task_type, rank, at) = (head.text(0)?, head.integer(1)?, wire::time(head.integer(2)?)?);
    let sql = ready_at(table);
    let query = dialect.query(&sql).bind(shard.number()).bind(task_type).bind(rank).bind(at);
    dialect.rows(query, connection).await?.iter().map(wire::row).collect()
}

/// The shard. Type, rank and queue time of the first of all heads. Grouped by the index's first columns, so that both engines
/// jump from kind to kind in it.
pub(crate) fn first(table: &TableName) -> String {
    format!(
        "SELECT type, queue_rank, MIN(queue_at) FROM {table} FORCE INDEX ({table}_pos) WHERE shard = ? AND listed = 0 \
         GROUP BY shard, listed, type, queue_rank ORDER BY MIN(queue_at) LIMIT 1"
    )
}

/// The shard, a type, a rank, a queue time. When a ready task that has these became ready. Its place in its call is in `queue_at`
/// only; and whatever makes a task ready sets `updated_at`, but an enqueue of one whose time has gone by.
pub(crate) fn ready_at(table: &TableName) -> String {
    format!(
        "SELECT CASE WHEN queue_at < updated_at THEN scheduled_at ELSE updated_at END FROM {table} \
         FORCE INDEX ({table}_pos) WHERE shard = ? AND listed = 0 AND type = ? AND queue_rank = ? AND queue_at = ? \
         ORDER BY id LIMIT 1"
    )
}
