//! The statements whose SQL is SQLite's own: insert, claim, settle, heartbeat, reclaim, promote, run now, redrive.
//! It owns their text; it runs nothing.
//!
//! Each text is constant, whatever the size of the batch, so that it is prepared once: ids and leases come in as
//! one JSON array, and inserts in powers of two. `seq` (the insertion order) is what an index entry ends with, so
//! that `ORDER BY …, seq` needs no sort.

use std::sync::Arc;

use taskqueue_sql::{TASK_COLUMNS, TableName};

/// The shard of every task: one writer has nothing to spread.
const SHARD: i16 = 0;
/// The most rows of one INSERT.
pub(crate) const INSERT_ROWS_MAX: usize = 64;
/// The values of one row of an INSERT.
pub(crate) const INSERT_VALUES: usize = 14;
/// The most types of one candidate query; SQLite's own limit is 500 terms.
pub(crate) const TYPES_MAX: usize = 100;

/// The texts for one table.
#[derive(Debug)]
pub(crate) struct Sql {
    inserts: Vec<Arc<str>>,
    table: TableName,
    pub(crate) take: Arc<str>,
    pub(crate) bury: Arc<str>,
    pub(crate) complete: Arc<str>,
    pub(crate) settle: Arc<str>,
    pub(crate) heartbeat: Arc<str>,
    pub(crate) ended: Arc<str>,
    pub(crate) reclaim: Arc<str>,
    pub(crate) promote: Arc<str>,
    pub(crate) run_now: Arc<str>,
    pub(crate) redrive: Arc<str>,
    pub(crate) oldest_pending: Arc<str>,
}

impl Sql {
    pub(crate) fn new(table: &TableName) -> Self {
        Self {
            inserts: (0..=INSERT_ROWS_MAX.ilog2()).map(|power| insert(table, 1 << power).into()).collect(),
            table: table.clone(),
            take: take(table).into(),
            bury: bury(table).into(),
            complete: complete(table).into(),
            settle: settle(table).into(),
            heartbeat: heartbeat(table).into(),
            ended: ended(table).into(),
            reclaim: reclaim(table).into(),
            promote: promote(table).into(),
            run_now: run_now(table).into(),
            redrive: redrive(table).into(),
            oldest_pending: oldest_pending(table).into(),
        }
    }

    /// The INSERT of the most rows that `rows` can fill, and how many those are.
    pub(crate) fn insert(&self, rows: usize) -> (Arc<str>, usize) {
        let power = rows.clamp(1, INSERT_ROWS_MAX).ilog2();
        (Arc::clone(&self.inserts[power as usize]), 1 << power)
    }

    /// The first ready tasks of `types` types: seq, queue rank, queue time. ?1 limit, then the types. Each term is
    /// an index prefix in its order, and SQLite merges them without a sort, reading no more than the limit.
    pub(crate) fn candidates(&self, types: usize) -> String {
        let table = &self.table;
        let paused = table.paused();
        let term = |place: usize| {
            format!(
                "SELECT seq, queue_rank, queue_at FROM {table} INDEXED BY {table}_pos \
                 WHERE shard = {SHARD} AND status = 0 AND type = ?{place} \
                 AND NOT EXISTS (SELECT 1 FROM {paused} WHERE type = ?{place})"
            )
        };
        let terms: Vec<String> = (2..types + 2).map(term).collect();
        format!("{} ORDER BY 2, 3, 1 LIMIT ?1", terms.join(" UNION ALL "))
    }
}

/// ?1 now, then for each row: id, type, status, priority, queue rank, queue time, due time, max retries, scheduled
/// time, region, unique key, whether it is held, metadata, payload.
fn insert(table: &TableName, rows: usize) -> String {
    let row = |row: usize| {
        let values: Vec<String> =
            (0..INSERT_VALUES).map(|value| format!("?{}", 2 + row * INSERT_VALUES + value)).collect();
        format!("({SHARD}, {}, 0, 0, 0, 0, ?1, ?1)", values.join(", "))
    };
    let values: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO {table} (shard, id, type, status, priority, queue_rank, queue_at, due_at, max_retries, \
         scheduled_at, region, unique_key, unique_held, metadata, payload, attempts, reclaims, lease_token, \
         lease_number, created_at, updated_at) VALUES {} ON CONFLICT DO NOTHING RETURNING id",
        values.join(", ")
    )
}

/// ?1 now, ?2 token, ?3 lease end, ?4 worker, ?5 seqs.
fn take(table: &TableName) -> String {
    let columns: Vec<&str> = TASK_COLUMNS.iter().map(|column| column.name()).collect();
    format!(
        "UPDATE {table} SET status = 2, queue_rank = 0, queue_at = ?1, attempts = attempts + 1, lease_token = ?2, \
         lease_number = lease_number + 1, lease_until = ?3, heartbeat_at = ?1, worker_id = ?4, started_at = ?1, \
         updated_at = ?1 \
         WHERE seq IN (SELECT value FROM json_each(?5)) AND status = 0 RETURNING {}, seq",
        columns.join(", ")
    )
}

/// ?1 now, ?2 the seq of a running task, ?3 error. Answers the type.
fn bury(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET status = 5, queue_at = ?1, completed_at = ?1, lease_until = NULL, unique_held = NULL, \
         last_error = ?3, updated_at = ?1 WHERE seq = ?2 AND status = 2 RETURNING type"
    )
}

/// ?1 now, ?2 leases as `<id in hex><token>`: nearly every settle is this one, and splitting a string is cheaper
/// than an array of arrays.
fn complete(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET status = 3, queue_at = ?1, completed_at = ?1, lease_until = NULL, unique_held = NULL, \
         updated_at = ?1 FROM json_each(?2) AS given WHERE {} RETURNING {table}.id, ?1 - started_at",
        is_live_lease(table, "given.value")
    )
}

/// ?1 now, ?2 arrays of lease, status, queue time, due time, scheduled time, attempts given back, error.
fn settle(table: &TableName) -> String {
    let live = is_live_lease(table, "(given.value ->> 0)");
    format!(
        "UPDATE {table} SET status = given.value ->> 1, \
         queue_rank = CASE given.value ->> 1 WHEN 0 THEN -priority ELSE 0 END, queue_at = given.value ->> 2, \
         due_at = given.value ->> 3, scheduled_at = coalesce(given.value ->> 4, scheduled_at), \
         attempts = attempts - (given.value ->> 5), last_error = coalesce(given.value ->> 6, last_error), \
         completed_at = CASE given.value ->> 1 WHEN 5 THEN ?1 END, \
         unique_held = CASE given.value ->> 1 WHEN 5 THEN NULL ELSE unique_held END, \
         lease_until = NULL, updated_at = ?1 \
         FROM json_each(?2) AS given WHERE {live} RETURNING {table}.id, ?1 - started_at"
    )
}

/// ?1 now, ?2 lease end, ?3 leases.
fn heartbeat(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET lease_until = ?2, heartbeat_at = ?1 FROM json_each(?3) AS given WHERE {} \
         RETURNING {table}.id, lease_token",
        is_live_lease(table, "given.value")
    )
}

/// ?1 now, ?2 limit. The running prefix is as long as the workers are many; lease_until is in no index, so that a
/// heartbeat writes one page.
fn ended(table: &TableName) -> String {
    format!(
        "SELECT id, type, lease_token, worker_id, attempts, max_retries, reclaims FROM {table} INDEXED BY {table}_pos \
         WHERE shard = {SHARD} AND status = 2 AND lease_until <= ?1 ORDER BY lease_until, seq LIMIT ?2"
    )
}

/// ?1 now, ?2 arrays of lease, status, queue time, error.
fn reclaim(table: &TableName) -> String {
    let live = is_live_lease(table, "(given.value ->> 0)");
    format!(
        "UPDATE {table} SET status = given.value ->> 1, \
         queue_rank = CASE given.value ->> 1 WHEN 0 THEN -priority ELSE 0 END, queue_at = given.value ->> 2, \
         completed_at = CASE given.value ->> 1 WHEN 5 THEN ?1 END, \
         unique_held = CASE given.value ->> 1 WHEN 5 THEN NULL ELSE unique_held END, reclaims = reclaims + 1, \
         last_error = given.value ->> 3, lease_token = 0, lease_until = NULL, updated_at = ?1 \
         FROM json_each(?2) AS given WHERE {live} AND lease_until <= ?1 RETURNING {table}.id"
    )
}

/// ?1 now, ?2 limit.
fn promote(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET status = 0, queue_rank = -priority, queue_at = ?1 + place, due_at = NULL, updated_at = ?1 \
         FROM (SELECT seq AS due_seq, row_number() OVER (ORDER BY due_at, seq) - 1 AS place \
         FROM (SELECT seq, due_at FROM {table} INDEXED BY {table}_due \
         WHERE shard = {SHARD} AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2)) AS due \
         WHERE {table}.seq = due_seq"
    )
}

/// ?1 now, ?2 ids in hex.
fn run_now(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET status = 0, queue_rank = -priority, queue_at = ?1 + given.key, due_at = NULL, \
         scheduled_at = min(scheduled_at, ?1), updated_at = ?1 FROM json_each(?2) AS given WHERE {}",
        is_given(table, "given.value", "status IN (1, 4)")
    )
}

/// ?1 now, ?2 ids in hex.
fn redrive(table: &TableName) -> String {
    format!(
        "UPDATE {table} SET status = 0, queue_rank = -priority, queue_at = ?1 + given.key, attempts = 0, \
         reclaims = 0, completed_at = NULL, lease_token = 0, \
         unique_held = CASE WHEN unique_key IS NOT NULL THEN 1 END, updated_at = ?1 \
         FROM json_each(?2) AS given WHERE {} RETURNING {table}.id",
        is_given(table, "given.value", "status = 5")
    )
}

/// Since when the task that has waited longest is ready, or NULL. From head to head of the types and ranks: no other ready
/// task is read. Not by one comparison of both: SQLite would start at the type and walk over its other ranks. A task's place in
/// its call is in `queue_at` only; and whatever makes a task ready sets `updated_at`, but an enqueue of one whose time has gone by.
fn oldest_pending(table: &TableName) -> String {
    let head = |after: &str| {
        format!(
            "(SELECT next.seq FROM {table} AS next INDEXED BY {table}_pos \
             WHERE next.shard = {SHARD} AND next.status = 0{after} \
             ORDER BY next.type, next.queue_rank, next.queue_at, next.seq LIMIT 1)"
        )
    };
    format!(
        "WITH RECURSIVE head(seq) AS (SELECT {} UNION ALL SELECT coalesce({}, {}) FROM head JOIN {table} AS at ON at.seq = head.seq) \
         SELECT min(CASE WHEN t.queue_at < t.updated_at THEN t.scheduled_at ELSE t.updated_at END) \
         FROM head JOIN {table} AS t ON t.seq = head.seq",
        head(""),
        head(" AND next.type = at.type AND next.queue_rank > at.queue_rank"),
        head(" AND next.type > at.type")
    )
}

/// The fence: the row is running under exactly the given lease.
///
/// A plain join of `given` with the table is read from the wrong side: SQLite takes an index prefix on status to be
/// ten rows, and compared each of 10,000 running rows with each of 10,000 leases. A scalar subquery by id leaves it
/// no choice.
fn is_live_lease(table: &TableName, lease: &str) -> String {
    let holds = format!("status = 2 AND held.lease_token = CAST(substr({lease}, 33) AS INTEGER)");
    is_given(table, &format!("substr({lease}, 1, 32)"), &holds)
}

fn is_given(table: &TableName, hex: &str, holds: &str) -> String {
    format!(
        "{table}.seq = (SELECT held.seq FROM {table} AS held INDEXED BY {table}_id \
         WHERE held.shard = {SHARD} AND held.id = unhex({hex}) AND held.{holds})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_come_in_powers_of_two_up_to_the_largest() {
        let sql = Sql::new(&TableName::default());
        let rows: Vec<usize> = [1, 2, 3, 63, 64, 1_000].map(|rows| sql.insert(rows).1).to_vec();
        assert_eq!(rows, [1, 2, 2, 32, 64, 64]);
    }
}
