//! The statements that count unfinished tasks, each state from the index or the table that has it: no index names the
//! status, so that a condition on it would read the finished tasks as well. It knows no finished task.

use taskqueue_sql::TableName;

/// $1 shard. Status, type, tasks. Each running task is in one lease row of its token, and looked up by its key: the `LIMIT` keeps
/// the planner from joining the whole table.
pub(crate) fn open_counts(table: &TableName) -> String {
    format!(
        "SELECT 0::int2, type, count(*) FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL GROUP BY type \
         UNION ALL \
         SELECT status, type, count(*) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL GROUP BY status, type \
         UNION ALL \
         SELECT 2::int2, r.type, count(*) FROM {table}_leases AS l CROSS JOIN LATERAL unnest(l.ids) AS k(id) \
         CROSS JOIN LATERAL (SELECT t.type FROM {table} AS t WHERE t.shard = $1 AND t.id = k.id \
         AND t.lease_token = l.token AND t.status + 0 = 2 LIMIT 1) AS r WHERE l.shard = $1 GROUP BY r.type"
    )
}

/// $1 shard. The earliest time for which a pending task is scheduled, or NULL.
pub(crate) fn oldest_pending(table: &TableName) -> String {
    format!(
        "SELECT least((SELECT min(scheduled_at) FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL), \
         (SELECT min(scheduled_at) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL AND status + 0 = 1))"
    )
}
