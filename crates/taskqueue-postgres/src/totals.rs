//! The statements of the sums over finished tasks: rows that are only appended, and now and then folded. Text only.

use taskqueue_sql::TableName;

/// How many rows one fold takes away at most, so that it stays short: 2,000 settles a second for the usual 5 s between
/// two reclaims, and each worker folds.
const FOLD_MAX: usize = 10_000;
/// With fewer rows than this, statistics are fast and a fold would write for nothing.
pub(crate) const FOLD_MIN: usize = 256;

/// The statements for one table, rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Totals {
    pub(crate) add: String,
    pub(crate) sums: String,
    /// Answers with the rows that it took away, unless it put back what they sum up to.
    pub(crate) fold: String,
}

impl Totals {
    pub(crate) fn new(table: &TableName) -> Self {
        let totals = table.totals();
        Self { add: add(&totals), sums: sums(&totals), fold: fold(&totals) }
    }
}

/// $1 types, $2 statuses, $3 tasks, $4 busy microseconds.
fn add(totals: &str) -> String {
    format!(
        "INSERT INTO {totals} (type, status, tasks, busy_us) \
         SELECT * FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[])"
    )
}

fn sums(totals: &str) -> String {
    format!(
        "SELECT type, status, sum(tasks)::bigint, sum(busy_us)::bigint FROM {totals} \
         GROUP BY type, status ORDER BY type, status"
    )
}

/// Two folds at once take different rows; whoever reads sees the rows before or after, never both. Rows are never
/// updated, so that none is taken twice.
fn fold(totals: &str) -> String {
    format!(
        "WITH gone AS (DELETE FROM {totals} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {totals} \
         WHERE (SELECT count(*) FROM (SELECT 1 FROM {totals} LIMIT {FOLD_MIN}) AS few) = {FOLD_MIN} \
         LIMIT {FOLD_MAX} FOR UPDATE SKIP LOCKED)) RETURNING type, status, tasks, busy_us) \
         INSERT INTO {totals} (type, status, tasks, busy_us) \
         SELECT type, status, sum(tasks)::bigint, sum(busy_us)::bigint FROM gone GROUP BY type, status \
         HAVING sum(tasks) <> 0 OR sum(busy_us) <> 0"
    )
}
