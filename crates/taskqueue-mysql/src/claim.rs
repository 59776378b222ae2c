//! The statements whose form decides the plan and the locks in MySQL and MariaDB, written out: insert, claim, settle,
//! heartbeat, reclaim, promote, run now, redrive. What is known of claims is `leases.rs`'s, what of unique keys `keys.rs`'s.
//! It knows no connection.
//!
//! `FOR UPDATE SKIP LOCKED` locks whatever it scans. So what is to be locked is found without locks or by exactly one
//! prefix of `_pos` in its order (InnoDB appends the primary key to it, so that `ORDER BY …, id` needs no sort), and
//! rows are changed by primary key, in key order. There is no RETURNING: what a change needs to know is read first,
//! under the row locks.
//!
//! Lists of ids come in powers of two, so that few texts are prepared; [`padded`] fills them up.

use taskqueue_core::Shard;
use taskqueue_sql::{Column, TASK_COLUMNS, TableName};

use crate::config::NOW;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::width::NEVER;

/// Undoes what was done since `mark`.
pub(crate) const ROLLBACK: &str = "ROLLBACK TO SAVEPOINT taskqueue_settle";
/// The most ids that one statement lists.
pub(crate) const LIST_MAX: usize = 512;
/// How many rows an INSERT has: steps that batches of any size are made of. No more fit into the bytes that one statement
/// carries.
const INSERT_ROWS: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128];

/// What puts the tasks of one call in order, when all are ready at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Their ids, which rise: `_pos` ends with the id.
    Id,
    /// Their places, which `queue_at` has added.
    Place,
}

/// How a task stands that is to be taken by whoever finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It waits for a time that has come.
    Due,
    /// It runs, and its lease has ended.
    Ended,
    /// It is finished.
    Finished,
}

/// The literal statements for one table. Those without a list are rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    table: TableName,
    now: String,
    /// The time.
    pub(crate) time: String,
    /// The same, at a place to which [`ROLLBACK`] goes back.
    pub(crate) mark: String,
    /// The one extra claim that may be on its way holds the row; no row for others.
    pub(crate) gate: String,
    pub(crate) settle: String,
    pub(crate) reclaim: String,
    pub(crate) waiting: String,
    pub(crate) promote: String,
    pub(crate) run_now: String,
    pub(crate) redrive: String,
    pub(crate) leases: Leases,
    pub(crate) keys: Keys,
}

impl Literal {
    pub(crate) fn new(table: &TableName, now: &str) -> Self {
        Self {
            table: table.clone(),
            now: now.to_owned(),
            time: format!("SELECT {now}"),
            mark: format!("SAVEPOINT taskqueue_settle; SELECT {now}"),
            gate: format!("SELECT one FROM {} WHERE one = 1 FOR UPDATE SKIP LOCKED", table.shards()),
            settle: settle(table, now),
            reclaim: reclaim(table, now),
            waiting: waiting(table),
            promote: promote(table, now),
            run_now: run_now(table, now),
            redrive: redrive(table, now),
            leases: Leases::new(table, now),
            keys: Keys::new(table),
        }
    }

    /// The shard stands in the text: it is the same in all rows, and each value more costs the server.
    ///
    /// For each row: id, type, priority, time asked for or NULL, delay in us, place, max retries, unique key, region,
    /// metadata, payload.
    ///
    /// A value may name columns that stand before it, with their new values. There is no INSERT IGNORE and no
    /// ON DUPLICATE KEY UPDATE: the one swallows truncation too, and neither says which rows went in.
    pub(crate) fn insert(&self, shard: Shard, rows: usize) -> String {
        let (Self { table, now, .. }, shard) = (self, shard.number());
        let row = format!(
            "({shard}, ?, ?, ?, {now}, COALESCE(?, created_at + INTERVAL ? MICROSECOND), \
             IF(scheduled_at > created_at, 1, 0), IF(status = 0, -priority, 0), \
             IF(status = 0, scheduled_at + INTERVAL ? MICROSECOND, scheduled_at), IF(status = 1, scheduled_at, NULL), \
             ?, ?, ?, ?, ?)"
        );
        format!(
            "INSERT INTO {table} (shard, id, type, priority, created_at, scheduled_at, status, queue_rank, queue_at, \
             due_at, max_retries, unique_key, region, metadata, payload) VALUES {}",
            vec![row; rows].join(", ")
        )
    }

    /// For each row: id, type, priority, place if they are in order of place, max retries, payload. As
    /// [`insert`](Self::insert), for tasks that are ready at once and have nothing else: what the table's defaults say
    /// takes the server less time than what the statement says. The defaults know the server's clock only.
    pub(crate) fn insert_plain(&self, shard: Shard, rows: usize, order: Order) -> String {
        let (Self { table, now, .. }, shard) = (self, shard.number());
        let (columns, row) = match order {
            Order::Place => (
                "created_at, queue_at, ",
                format!("({shard}, ?, ?, ?, {now}, created_at + INTERVAL ? MICROSECOND, ?, ?)"),
            ),
            Order::Id if now == NOW => ("", format!("({shard}, ?, ?, ?, ?, ?)")),
            Order::Id => ("created_at, ", format!("({shard}, ?, ?, ?, {now}, ?, ?)")),
        };
        format!(
            "INSERT INTO {table} (shard, id, type, priority, {columns}max_retries, payload) VALUES {}",
            vec![row; rows].join(", ")
        )
    }

    /// For each of `types` types: the shard, the type, its `ranges` ranges as in [`in_ranges`], the type again, the
    /// limit. Then the limit. How many tasks of each type are among the first ready ones: type, tasks, now. Reads heads of
    /// the index alone and takes no lock, so that an idle poll disturbs nobody.
    pub(crate) fn heads(&self, types: usize, ranges: usize) -> String {
        let Self { table, now, .. } = self;
        let within = in_ranges(ranges, now);
        let head = format!(
            "(SELECT type, queue_rank, queue_at, id FROM {table} FORCE INDEX ({table}_pos) \
             WHERE shard = ? AND listed = 0 AND type = ?{within} \
             AND NOT EXISTS (SELECT 1 FROM {table}_paused AS p WHERE p.type = ?) \
             ORDER BY queue_rank, queue_at, id LIMIT ?)"
        );
        format!(
            "SELECT h.type, COUNT(*), {now} FROM ({} ORDER BY queue_rank, queue_at, id LIMIT ?) AS h GROUP BY h.type",
            vec![head; types].join(" UNION ALL ")
        )
    }

    /// For each of `types` types: the shard, the type, its `ranges` ranges as in [`in_ranges`], the limit. The first ready
    /// tasks of each type, locked, in claim order of the type, as `TASK_COLUMNS` with `queue_rank` and `queue_at` behind,
    /// without what the claim sets. What others hold is passed over.
    pub(crate) fn take(&self, types: usize, ranges: usize) -> String {
        let Self { table, now, .. } = self;
        let read = TASK_COLUMNS.iter().filter(|column| !claim_sets(**column));
        let columns = read.map(|column| column.name()).collect::<Vec<_>>().join(", ");
        let within = in_ranges(ranges, now);
        let take = format!(
            "(SELECT {columns}, queue_rank, queue_at FROM {table} FORCE INDEX ({table}_pos) \
             WHERE shard = ? AND listed = 0 AND type = ?{within} ORDER BY queue_rank, queue_at, id LIMIT ? \
             FOR UPDATE SKIP LOCKED)"
        );
        vec![take; types].join(" UNION ALL ")
    }

    /// Now, lease token, lease end, now, worker id, now, now, the shard, then the ids. A count that is as high as can be stays so:
    /// it would fail the claims of all others.
    pub(crate) fn claim(&self, ids: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "UPDATE {table} FORCE INDEX (PRIMARY) SET status = 2, queue_rank = 0, queue_at = ?, \
             attempts = LEAST(attempts, 2147483646) + 1, lease_token = ?, \
             lease_number = LEAST(lease_number, 9223372036854775806) + 1, lease_until = ?, heartbeat_at = ?, worker_id = ?, \
             started_at = ?, updated_at = ? WHERE shard = ? AND id IN ({}) AND status = 0",
            marks(ids)
        )
    }

    /// The shard, then the ids. Those that stand so and that nobody else has locked, locked: id, lease token.
    pub(crate) fn free(&self, standing: Standing, ids: usize) -> String {
        let Self { table, now, .. } = self;
        let stands = match standing {
            Standing::Due => format!("status IN (1, 4) AND due_at <= {now}"),
            Standing::Ended => format!("status = 2 AND lease_until <= {now}"),
            Standing::Finished => "status IN (3, 5, 6)".to_owned(),
        };
        format!(
            "SELECT id, lease_token FROM {table} FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) \
             AND {stands} ORDER BY id FOR UPDATE SKIP LOCKED",
            marks(ids)
        )
    }

    /// The shard, then the ids. Those that are running, locked in key order: id, lease token.
    pub(crate) fn running(&self, ids: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "SELECT id, lease_token FROM {table} FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) \
             AND status = 2 ORDER BY id FOR UPDATE",
            marks(ids)
        )
    }

    /// The time twice, the shard, the ids, then the tokens. No index has what it changes.
    pub(crate) fn complete(&self, ids: usize, tokens: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "UPDATE {table} FORCE INDEX (PRIMARY) SET status = 3, completed_at = ?, lease_until = {NEVER}, \
             updated_at = ? WHERE shard = ? AND id IN ({}) AND lease_token IN ({}) AND status = 2",
            marks(ids),
            marks(tokens)
        )
    }

    /// The shard, the ids, then the tokens. Completes tasks whose rows are not kept. Named twice, since that is where a
    /// deletion takes a hint.
    pub(crate) fn complete_and_delete(&self, ids: usize, tokens: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "DELETE t FROM {table} AS t FORCE INDEX (PRIMARY) \
             WHERE t.shard = ? AND t.id IN ({}) AND t.lease_token IN ({}) AND t.status = 2",
            marks(ids),
            marks(tokens)
        )
    }

    /// The shard, then the ids. Removes finished tasks. By the primary key: of few rows the server would rather read all, and
    /// wait for those that others hold.
    pub(crate) fn remove(&self, ids: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "DELETE t FROM {table} AS t FORCE INDEX (PRIMARY) \
             WHERE t.shard = ? AND t.id IN ({}) AND t.status IN (3, 5, 6)",
            marks(ids)
        )
    }

    /// The visibility timeout in us, the shard, the ids, then the tokens.
    pub(crate) fn heartbeat(&self, ids: usize, tokens: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "UPDATE {table} FORCE INDEX (PRIMARY) SET lease_until = {now} + INTERVAL ? MICROSECOND, \
             heartbeat_at = {now} WHERE shard = ? AND id IN ({}) AND lease_token IN ({}) AND status = 2",
            marks(ids),
            marks(tokens)
        )
    }

    /// For each of `kinds` kinds of waiting task: shard, status, type, limit. Then the limit. The due ones, earliest first: id,
    /// due time. The last limit is the engine's business, because Vitess answers with 10,000 rows at most.
    pub(crate) fn due(&self, kinds: usize) -> String {
        let Self { table, now, .. } = self;
        let head = format!(
            "(SELECT id, queue_at FROM {table} FORCE INDEX ({table}_pos) \
             WHERE shard = ? AND listed = ? AND type = ? AND queue_rank = 0 AND queue_at <= {now} \
             ORDER BY queue_at, id LIMIT ?)"
        );
        format!("{} ORDER BY queue_at, id LIMIT ?", vec![head; kinds].join(" UNION ALL "))
    }
}

/// How many of `rows` rows go into the next INSERT, so that batches of any size come in few texts.
pub(crate) fn insert_rows(rows: usize) -> usize {
    INSERT_ROWS.into_iter().rfind(|step| *step <= rows).unwrap_or(0)
}

/// Whether a claim sets this column to a value that does not depend on the one before.
pub(crate) fn claim_sets(column: Column) -> bool {
    use Column::{LeaseToken, LeaseUntil, StartedAt, Status, UpdatedAt, WorkerId};
    matches!(column, Status | StartedAt | UpdatedAt | WorkerId | LeaseToken | LeaseUntil)
}

/// The list with its last entry repeated up to a power of two.
pub(crate) fn padded<T: Clone>(list: &[T]) -> Vec<T> {
    let mut padded = list.to_vec();
    if let Some(last) = list.last() {
        padded.resize(list.len().next_power_of_two(), last.clone());
    }
    padded
}

/// The condition that a task is in one of so many ranges of ranks; none where there is none. For each: the first and the last
/// rank, the time from which on, how far back from now to look besides in us. Where both ranks are the same, the time
/// is part of the range that is read; a condition that left ranges out instead would walk over all that is dead in them, since
/// InnoDB looks at the end of a range only where it meets a live entry.
fn in_ranges(ranges: usize, now: &str) -> String {
    if ranges == 0 {
        return String::new();
    }
    let range = format!(
        "queue_rank BETWEEN ? AND ? AND (queue_at >= ? OR queue_at >= {now} - INTERVAL ? MICROSECOND)"
    );
    format!(" AND ({})", vec![range; ranges].join(" OR "))
}

/// A JSON array of arrays as rows `u`, and the shard; joined with the tasks `t` that they name by the id in their first place. The
/// text is the same for any number of rows. STRAIGHT_JOIN reads the array first and then one task a row by key.
///
/// An update of a join assigns in no set order, so that no assignment may read a column that another one changes.
fn update_each(table: &TableName, columns: &str, assignments: &str, condition: &str) -> String {
    format!(
        "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id char(32) PATH '$[0]' ERROR ON ERROR, {columns})) AS u \
         STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.shard = ? AND t.id = UNHEX(u.id) \
         SET {assignments} WHERE {condition}"
    )
}

/// Arrays of id, token, status, delay in us, place, whether `scheduled_at` moves, attempts given back, whether it
/// failed, error.
fn settle(table: &TableName, now: &str) -> String {
    let columns = "token bigint PATH '$[1]' ERROR ON ERROR, status smallint PATH '$[2]' ERROR ON ERROR, \
         delay bigint PATH '$[3]' ERROR ON ERROR, place bigint PATH '$[4]' ERROR ON ERROR, \
         moves smallint PATH '$[5]' ERROR ON ERROR, given_back int PATH '$[6]' ERROR ON ERROR, \
         fails smallint PATH '$[7]' ERROR ON ERROR, \
         error longtext CHARACTER SET utf8mb4 PATH '$[8]' ERROR ON ERROR";
    let assignments = format!(
        "t.status = u.status, t.queue_rank = IF(u.status = 0, -t.priority, 0), \
         t.queue_at = {now} + INTERVAL (u.delay + u.place) MICROSECOND, \
         t.due_at = IF(u.status IN (1, 4), {now} + INTERVAL u.delay MICROSECOND, NULL), \
         t.scheduled_at = IF(u.moves = 1, {now} + INTERVAL u.delay MICROSECOND, t.scheduled_at), \
         t.attempts = t.attempts - u.given_back, t.completed_at = IF(u.status = 5, {now}, {NEVER}), \
         t.last_error = IF(u.fails = 1, u.error, t.last_error), t.lease_until = {NEVER}, \
         t.updated_at = {now}"
    );
    update_each(table, columns, &assignments, "t.lease_token = u.token AND t.status = 2")
}

/// Arrays of id, token, status, place, error.
fn reclaim(table: &TableName, now: &str) -> String {
    let columns = "token bigint PATH '$[1]' ERROR ON ERROR, status smallint PATH '$[2]' ERROR ON ERROR, \
         place bigint PATH '$[3]' ERROR ON ERROR, \
         error longtext CHARACTER SET utf8mb4 PATH '$[4]' ERROR ON ERROR";
    let assignments = format!(
        "t.status = u.status, t.queue_rank = IF(u.status = 0, -t.priority, 0), \
         t.queue_at = {now} + INTERVAL u.place MICROSECOND, t.completed_at = IF(u.status = 5, {now}, {NEVER}), \
         t.reclaims = LEAST(t.reclaims, 2147483646) + 1, \
         t.last_error = u.error, t.lease_token = 0, t.lease_until = {NEVER}, t.updated_at = {now}"
    );
    let condition = format!("t.lease_token = u.token AND t.status = 2 AND t.lease_until <= {now}");
    update_each(table, columns, &assignments, &condition)
}

/// The shard. The kinds of task that wait for a time: status, type. Grouped by the index's first columns, all of them, so that
/// both engines jump from kind to kind in it; without `shard` among them they read every waiting entry.
fn waiting(table: &TableName) -> String {
    format!(
        "SELECT listed, type FROM {table} FORCE INDEX ({table}_pos) WHERE shard = ? AND listed IN (1, 4) \
         GROUP BY shard, listed, type"
    )
}

/// Arrays of id, place.
fn promote(table: &TableName, now: &str) -> String {
    let assignments = format!(
        "t.status = 0, t.queue_rank = -t.priority, t.queue_at = {now} + INTERVAL u.place MICROSECOND, \
         t.due_at = NULL, t.updated_at = {now}"
    );
    let condition = format!("t.status IN (1, 4) AND t.due_at <= {now}");
    update_each(table, "place bigint PATH '$[1]' ERROR ON ERROR", &assignments, &condition)
}

/// Arrays of id, place.
fn run_now(table: &TableName, now: &str) -> String {
    let assignments = format!(
        "t.status = 0, t.queue_rank = -t.priority, t.queue_at = {now} + INTERVAL u.place MICROSECOND, \
         t.due_at = NULL, t.scheduled_at = LEAST(t.scheduled_at, {now}), t.updated_at = {now}"
    );
    update_each(table, "place bigint PATH '$[1]' ERROR ON ERROR", &assignments, "t.status IN (1, 4)")
}

/// Arrays of id, place.
fn redrive(table: &TableName, now: &str) -> String {
    let assignments = format!(
        "t.status = 0, t.queue_rank = -t.priority, t.queue_at = {now} + INTERVAL u.place MICROSECOND, \
         t.attempts = 0, t.reclaims = 0, t.completed_at = {NEVER}, t.lease_token = 0, \
         t.updated_at = {now}"
    );
    update_each(table, "place bigint PATH '$[1]' ERROR ON ERROR", &assignments, "t.status = 5")
}

/// So many placeholders.
pub(crate) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_of_any_size_come_in_few_texts() {
        assert_eq!([1, 2, 7, 9, 100, 199, 999, 9_999].map(insert_rows), [1, 2, 7, 8, 100, 128, 128, 128]);
        let texts: std::collections::BTreeSet<usize> = (1..10_000).map(insert_rows).collect();
        assert!(texts.len() <= 32, "{texts:?}");
    }

    #[test]
    fn a_list_is_filled_up_with_what_it_has() {
        assert_eq!(padded(&[7, 8, 9]), [7, 8, 9, 9]);
        assert!(padded::<i64>(&[]).is_empty());
    }
}
