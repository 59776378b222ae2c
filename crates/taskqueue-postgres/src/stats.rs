//! The statements that count and list unfinished tasks, each state from the index or the table that has it: no index names the
//! status, so that a condition on it would read the finished tasks as well. It knows no finished task.

use taskqueue_sql::{TASK_COLUMNS, TableName};

/// Each running task `r` of the lease rows `l`, looked up by its key: the `LIMIT` keeps the planner from joining the whole table.
fn running(table: &TableName) -> String {
    format!(
        "{table}_leases AS l CROSS JOIN LATERAL unnest(l.ids) AS k(id) \
         CROSS JOIN LATERAL (SELECT * FROM {table} AS t WHERE t.shard = $1 AND t.id = k.id \
         AND t.lease_token = l.token AND t.status + 0 = 2 LIMIT 1) AS r"
    )
}

/// $1 shard, then, or NULL: $2 type, $3 region, $4 the id before which to begin; $5 limit, $6 offset. A page of running tasks, as
/// `TASK_COLUMNS`, highest id first.
pub(crate) fn running_page(table: &TableName) -> String {
    page_of(&running(table))
}

/// The same of the tasks `r` that are found so.
pub(crate) fn page_of(running: &str) -> String {
    let columns = TASK_COLUMNS.map(|column| format!("r.{}", column.name())).join(", ");
    format!(
        "SELECT {columns} FROM {running} WHERE l.shard = $1 AND ($2::text IS NULL OR r.type = $2) \
         AND ($3::text IS NULL OR r.region = $3) AND ($4::uuid IS NULL OR r.id < $4) \
         ORDER BY r.id DESC LIMIT $5 OFFSET $6"
    )
}

/// $1 shard. Status, type, tasks. Each running task is in one lease row of its token. The claim index has running tasks as well,
/// which are taken off: to leave them out each ready task would have to be read.
pub(crate) fn open_counts(table: &TableName) -> String {
    format!(
        "WITH running AS MATERIALIZED (SELECT r.type, count(*) AS tasks, count(r.queue_rank) AS in_queue \
         FROM {} WHERE l.shard = $1 GROUP BY r.type) \
         SELECT 0::int2, type, sum(tasks)::bigint FROM \
         (SELECT type, count(*) AS tasks FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL GROUP BY type \
         UNION ALL SELECT type, -in_queue FROM running) AS queued GROUP BY type \
         UNION ALL \
         SELECT status, type, count(*) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL GROUP BY status, type \
         UNION ALL \
         SELECT 2::int2, type, tasks FROM running",
        running(table)
    )
}

/// When a ready task became so. Its place in its call is in `queue_at` only; and whatever makes it ready sets `updated_at`, but
/// an enqueue of a task whose time has gone by.
pub(crate) const READY_AT: &str = "CASE WHEN queue_at < updated_at THEN scheduled_at ELSE updated_at END";

/// Without statistics, as of a table that was filled a moment ago, the server takes all ready tasks for few and sorts them anew for
/// each head: 420 heads of 100,000 tasks took 19 s, and 4 ms since this is said. Not for lists, which sort the few that they find.
pub(crate) const NEVER_SORT: &str = "SET LOCAL enable_sort = off";

/// $1 shard. Since when the task that has waited longest is ready, or NULL. From head to head of the types and ranks: no other
/// ready task is read.
pub(crate) fn oldest_pending(table: &TableName) -> String {
    let head = |after: &str| {
        format!(
            "(SELECT hashtext(type) AS kind, queue_rank, {READY_AT} AS ready_at FROM {table} \
             WHERE shard = $1 AND queue_rank IS NOT NULL{after} AND status + 0 = 0 \
             ORDER BY hashtext(type), queue_rank, queue_at LIMIT 1)"
        )
    };
    format!(
        "WITH RECURSIVE head AS ({} UNION ALL SELECT next.* FROM head CROSS JOIN LATERAL {} AS next) \
         SELECT min(ready_at) FROM head",
        head(""),
        head(" AND (hashtext(type), queue_rank) > (head.kind, head.queue_rank)")
    )
}
