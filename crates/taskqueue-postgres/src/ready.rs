//! Which tasks a claim takes: the subqueries of its statement that find ready tasks in claim order and lock them. They
//! name rows by `ctid`, and what they bind is listed where they are put together, in `claim.rs`.
//!
//! A running task may have kept its place in the index, and is passed over by `status + 0 <> 2`: of that the planner takes nearly all
//! rows to be true, whatever was running when the statistics were made.
//!
//! The index has the hash of a type, and each row is asked for the type itself, so that types of one hash do not meet.

use taskqueue_sql::TableName;

/// That a row is of this type.
fn is_of(task_type: &str) -> String {
    // Of `coalesce` the planner takes half of all rows to be true. It would take the two conditions for independent, and think
    // of a type as much rarer than it is.
    format!("hashtext(type) = hashtext({task_type}) AND coalesce(type = {task_type}, false)")
}

/// The ready tasks of the one type $1, in claim order.
pub(crate) fn one_type() -> String {
    format!(
        "SELECT ctid FROM {{table}} WHERE shard = $6 AND queue_rank IS NOT NULL AND {} \
         AND status + 0 <> 2 AND NOT EXISTS (SELECT 1 FROM {{table}}_paused AS p WHERE p.type = $1) \
         ORDER BY queue_rank, queue_at LIMIT $4 FOR UPDATE SKIP LOCKED",
        is_of("$1")
    )
}

/// As [`one_type`], in the ranks $8, highest priority first, each from its place $9 on. The places are looked through one
/// after another, and no further than the limit: what is locked is claimed. What became ready in the last $10 us is looked at
/// in any case.
pub(crate) fn one_type_ahead() -> String {
    format!(
        "SELECT h.ctid FROM unnest($8::bigint[], $9::timestamptz[]) AS k(rank, at) \
         CROSS JOIN LATERAL (SELECT ctid FROM {{table}} WHERE shard = $6 AND queue_rank IS NOT NULL AND {} \
         AND queue_rank = k.rank AND queue_at >= least(k.at, now() - $10::bigint * interval '1 microsecond') \
         AND status + 0 <> 2 ORDER BY queue_at LIMIT $4 FOR UPDATE SKIP LOCKED) AS h \
         WHERE NOT EXISTS (SELECT 1 FROM {{table}}_paused AS p WHERE p.type = $1) LIMIT $4",
        is_of("$1")
    )
}

/// Those of one of the types $1 in the rank $8 of the same number, from its place $9 on or from $10 us ago. Said with `=`,
/// the rank would be no part of the order, and what the branches find would be read whole and sorted.
const IN_PLACE: &str = "AND (queue_rank, queue_at) >= (($8::bigint[])[{n}], \
     least(($9::timestamptz[])[{n}], now() - $10::bigint * interval '1 microsecond')) AND queue_rank <= ($8::bigint[])[{n}] ";

/// The types $1.
const EVERY_TYPE: &str = "unnest($1::text[]) AS k(type)";

/// The types $1, each with the ranks above $8 and below $9.
const EVERY_GAP: &str = "unnest($1::text[], $8::bigint[], $9::bigint[]) AS k(type, above, below)";

/// How many heads are read: another claim as large as this one may have locked as many before it, or a few small ones.
const CANDIDATES: &str = "$4 + greatest($4, 512)";

/// $1 types, $2 limit, $3 shard. A row if more is ready than the heads that a claim of several types reads: where that brought less
/// than its limit, others have locked them, and more lies behind.
pub(crate) fn is_more(table: &TableName) -> String {
    let candidates = CANDIDATES.replace("$4", "$2");
    format!(
        "SELECT 1 FROM {EVERY_TYPE} CROSS JOIN LATERAL (SELECT 1 FROM {table} WHERE shard = $3 AND queue_rank IS NOT NULL \
         AND {} AND status + 0 <> 2 ORDER BY queue_rank, queue_at LIMIT 1 + {candidates}) AS h \
         WHERE NOT EXISTS (SELECT 1 FROM {table}_paused AS p WHERE p.type = k.type) LIMIT 1 OFFSET {candidates}",
        is_of("k.type")
    )
}

/// How many branches a merge has at most: the server plans each, which takes 3 ms for all of them.
const BRANCHES_MAX: usize = 64;

/// One text by the number of types or places that it is to serve: each says how many it serves, fewest first.
#[derive(Debug, Clone)]
pub(crate) struct ByNumber(Vec<(usize, String)>);

impl ByNumber {
    /// One text for any number.
    pub(crate) fn any(text: String) -> Self {
        Self(vec![(usize::MAX, text)])
    }

    /// The texts, each made into another.
    pub(crate) fn map(self, change: impl Fn(&str) -> String) -> Self {
        Self(self.0.into_iter().map(|(most, text)| (most, change(&text))).collect())
    }

    /// The shortest text that serves so many, which are no more than the longest serves.
    pub(crate) fn serving(&self, number: usize) -> &str {
        let serves = self.0.partition_point(|(most, _)| *most < number);
        &self.0[serves.min(self.0.len() - 1)].1
    }
}

/// The ready tasks of the types $1, in claim order, for any number of types.
pub(crate) fn many_types() -> ByNumber {
    let ByNumber(mut texts) = merges("");
    texts.push((usize::MAX, locked(&heads(EVERY_TYPE, ""))));
    ByNumber(texts)
}

/// The same in the types $1 and ranks $8, each from its place $9 on or from $10 us ago, for up to `BRANCHES_MAX` places.
pub(crate) fn many_places() -> ByNumber {
    merges(IN_PLACE)
}

/// The ready tasks of the types $1 in the ranks above $8 and below $9, in claim order. Where there are none, that costs a
/// look at the index for each.
pub(crate) fn gaps() -> String {
    locked(&heads(EVERY_GAP, "AND queue_rank > k.above AND queue_rank < k.below "))
}

/// The first tasks of each of any number of kinds, in claim order. It reads as many of each as of all of them together.
fn heads(kinds: &str, of_kind: &str) -> String {
    format!(
        "SELECT h.ctid FROM {kinds} CROSS JOIN LATERAL (SELECT ctid, queue_rank, queue_at FROM {{table}} \
         WHERE shard = $6 AND queue_rank IS NOT NULL AND {} {of_kind}AND status + 0 <> 2 \
         ORDER BY queue_rank, queue_at LIMIT {CANDIDATES}) AS h \
         WHERE NOT EXISTS (SELECT 1 FROM {{table}}_paused AS p WHERE p.type = k.type) \
         ORDER BY h.queue_rank, h.queue_at LIMIT {CANDIDATES}",
        is_of("k.type")
    )
}

/// One merge for each of 2, 4, …, `BRANCHES_MAX` branches: so that the server has few texts to prepare. `of_kind` is asked of the
/// rows of each type besides.
fn merges(of_kind: &str) -> ByNumber {
    let numbers = (1..).map(|power| 1 << power).take_while(|branches| *branches <= BRANCHES_MAX);
    ByNumber(numbers.map(|branches| (branches, locked(&merge(branches, of_kind)))).collect())
}

/// The first tasks of each kind, merged: only as many are read as the merge takes. A branch whose number is beyond the end of
/// the arrays finds nothing.
fn merge(branches: usize, of_kind: &str) -> String {
    let branch = |number: usize| {
        let branch = format!(
            "(SELECT ctid, queue_rank, queue_at FROM {{table}} WHERE shard = $6 AND queue_rank IS NOT NULL AND {} \
             {of_kind}AND status + 0 <> 2 AND NOT EXISTS (SELECT 1 FROM {{table}}_paused AS p WHERE p.type = ($1::text[])[{{n}}]) \
             ORDER BY queue_rank, queue_at LIMIT {CANDIDATES})",
            is_of("($1::text[])[{n}]")
        );
        branch.replace("{n}", &number.to_string())
    };
    let branches: Vec<String> = (1..=branches).map(branch).collect();
    format!(
        "SELECT h.ctid FROM ({}) AS h ORDER BY h.queue_rank, h.queue_at LIMIT {CANDIDATES}",
        branches.join(" UNION ALL ")
    )
}

/// Heads are read without locks and the first of them locked after, so that no row beyond the limit is locked; what
/// another claim took in between is skipped or fails the state's recheck.
fn locked(heads: &str) -> String {
    format!(
        "SELECT r.ctid FROM {{table}} AS r WHERE r.ctid = ANY(ARRAY({heads})) AND r.status + 0 = 0 \
         ORDER BY r.queue_rank, r.queue_at LIMIT $4 FOR UPDATE SKIP LOCKED"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskqueue_sql::cursor::PLACES_MAX;

    fn branches(texts: &ByNumber, number: usize) -> usize {
        texts.serving(number).matches("UNION ALL").count() + 1
    }

    #[test]
    fn each_type_has_a_branch_and_a_merge_has_at_most_twice_as_many() {
        let types = many_types();
        assert_eq!([2, 3, 5, 33, 64].map(|number| branches(&types, number)), [2, 4, 8, 64, 64]);
    }

    #[test]
    fn more_types_than_branches_are_still_served() {
        assert_eq!(many_types().serving(65), locked(&heads(EVERY_TYPE, "")));
    }

    #[test]
    fn as_many_places_are_served_as_cursors_know() {
        assert!(branches(&many_places(), PLACES_MAX) >= PLACES_MAX);
        assert_eq!(branches(&many_places(), 1), 2);
    }
}
