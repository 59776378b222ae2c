//! The task that has waited longest, from its statements to its time. It reads the head of each type and rank, and no other
//! ready task.

use sqlx::MySqlConnection;
use taskqueue_core::Shard;
use taskqueue_sql::{Attempt, Dialect as _, Field, Row, TableName};

use crate::dialect::MysqlDialect;
use crate::wire;

/// The first of all heads.
pub(crate) struct Head {
    task_type: String,
    rank: i64,
    queue_at_micros: i64,
}

/// Since when it is ready, in one row; no row where nothing is ready. Two plain questions: Vitess refuses one within the other.
pub(crate) async fn oldest_pending(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
) -> Attempt<Vec<Row>> {
    match head(dialect, connection, shard).await? {
        Some(head) => Ok(vec![ready_since(dialect, connection, shard, head).await?]),
        None => Ok(Vec::new()),
    }
}

pub(crate) async fn head(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
) -> Attempt<Option<Head>> {
    let sql = first(&dialect.options().table);
    let mut heads = dialect.rows(dialect.query(&sql).bind(shard.number()), connection).await?;
    let Some(mut head) = heads.pop() else { return Ok(None) };
    // What a producer's own INSERT brought may be no time.
    let Ok(queue_at_micros) = head.integer(2) else { return Ok(None) };
    Ok(Some(Head { task_type: head.text(0)?, rank: head.integer(1)?, queue_at_micros }))
}

/// Since when this one is ready. Vitess has no snapshot in which it is there for sure: where it was claimed meanwhile its queue time
/// says so nearly.
pub(crate) async fn ready_since(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    Head { task_type, rank, queue_at_micros }: Head,
) -> Attempt<Row> {
    let sql = ready_at(&dialect.options().table);
    let query = dialect.query(&sql).bind(shard.number()).bind(task_type).bind(rank);
    let mut rows = dialect.rows(query.bind(wire::time(queue_at_micros)?), connection).await?;
    Ok(rows.pop().unwrap_or_else(|| Row::new(vec![Field::Integer(queue_at_micros)])))
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
