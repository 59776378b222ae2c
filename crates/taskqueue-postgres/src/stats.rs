//! The statements that count unfinished tasks, each state from the index or the table that has it: no index names the
//! status, so that a condition on it would read the finished tasks as well. It knows no finished task.

use taskqueue_sql::TableName;

/// $1 shard. Status, type, tasks. Each running task is in one lease row of its token, and looked up by its key: the `LIMIT` keeps
/// the planner from joining the whole table. The claim index has running tasks as well, which are taken off: to leave them out
/// each ready task would have to be read.
pub(crate) fn open_counts(table: &TableName) -> String {
    format!(
        "WITH running AS MATERIALIZED (SELECT r.type, count(*) AS tasks, count(r.queue_rank) AS in_queue \
         FROM {table}_leases AS l CROSS JOIN LATERAL unnest(l.ids) AS k(id) \
         CROSS JOIN LATERAL (SELECT t.type, t.queue_rank FROM {table} AS t WHERE t.shard = $1 AND t.id = k.id \
         AND t.lease_token = l.token AND t.status + 0 = 2 LIMIT 1) AS r WHERE l.shard = $1 GROUP BY r.type) \
         SELECT 0::int2, type, sum(tasks)::bigint FROM \
         (SELECT type, count(*) AS tasks FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL GROUP BY type \
         UNION ALL SELECT type, -in_queue FROM running) AS queued GROUP BY type \
         UNION ALL \
         SELECT status, type, count(*) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL GROUP BY status, type \
         UNION ALL \
         SELECT 2::int2, type, tasks FROM running"
    )
}

/// $1 shard. The earliest time for which a pending task is scheduled, or NULL.
pub(crate) fn oldest_pending(table: &TableName) -> String {
    format!(
        "SELECT least((SELECT min(scheduled_at) FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL \
         AND status + 0 <> 2), \
         (SELECT min(scheduled_at) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL AND status + 0 = 1))"
    )
}
