//! Cleanup as a walk over the primary key: no index holds finished tasks but the dead letters, for the sake of HOT
//! settles. Where only dead letters are to go, the walk is over their index. This file owns the order of the walk and its
//! statements; it keeps no row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use taskqueue_core::{FinishedStatuses, Shard, TaskId};
use taskqueue_sql::TableName;
use uuid::Uuid;

/// How many tasks one slice looks at.
const SLICE_ROWS: usize = 5_000;
/// How many slices one call looks at. Together no fewer tasks than `CLEANUP_LOOK` promises.
const SLICES_MAX: usize = 20;
/// How far ahead of the server's a client's clock may be for its tasks to be passed over by age.
const AHEAD_MS: u128 = 24 * 3_600_000;

/// The statements for one table, rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Cleaning {
    pub(crate) of_all: Slice,
    pub(crate) of_dead_letters: Slice,
}

/// The statements of one slice of a walk.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) edge: String,
    pub(crate) remove: String,
}

/// Which tasks a walk passes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// All.
    All,
    /// Dead letters alone, which have an index in the order of the walk.
    DeadLetters,
}

impl Way {
    /// What is said of `task` so that it is this way.
    pub(crate) fn condition(self, task: &str) -> String {
        match self {
            Self::All => String::new(),
            Self::DeadLetters => format!(" AND {task}dead_at IS NOT NULL"),
        }
    }
}

impl Cleaning {
    pub(crate) fn new(table: &TableName) -> Self {
        Self::with(table, remove)
    }

    /// With the removal of an engine.
    pub(crate) fn with(table: &TableName, remove: impl Fn(&TableName, Way) -> String) -> Self {
        let slice = |way| Slice { edge: edge(table, way), remove: remove(table, way) };
        Self { of_all: slice(Way::All), of_dead_letters: slice(Way::DeadLetters) }
    }

    /// Those for a cleanup of these statuses.
    pub(crate) fn of(&self, statuses: FinishedStatuses) -> &Slice {
        if statuses == FinishedStatuses::DEAD_LETTER { &self.of_dead_letters } else { &self.of_all }
    }
}

/// $1 first id, $2 shard. The last id of a full slice; no row where the table ends before. And now, in milliseconds.
fn edge(table: &TableName, way: Way) -> String {
    format!(
        "SELECT id, (extract(epoch FROM now()) * 1000)::bigint FROM {table} WHERE shard = $2 AND id >= $1{} \
         ORDER BY id LIMIT 1 OFFSET {}",
        way.condition(""),
        SLICE_ROWS - 1
    )
}

/// $1 first id, $2 last id, $3 age in us, $4 limit, $5 shard, $6 states. What others have locked is being cleaned up or
/// redriven by them. The condition is repeated outside: what was locked may have changed since it was looked at.
fn remove(table: &TableName, way: Way) -> String {
    const OLD: &str =
        "status + 0 = ANY($6::int2[]) AND completed_at <= now() - $3::bigint * interval '1 microsecond'";
    let this_way = way.condition("");
    format!(
        "WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} \
         WHERE shard = $5 AND id >= $1 AND id <= $2{this_way} AND {OLD} ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED)) \
         AND {OLD} \
         RETURNING id, type, status, CASE WHEN status = 3 \
         THEN (extract(epoch FROM completed_at - started_at) * 1000000)::bigint ELSE 0 END AS busy_us), \
         c AS (INSERT INTO {table}_totals (type, status, tasks, busy_us) \
         SELECT type, status, -count(*), -sum(busy_us)::bigint FROM gone GROUP BY type, status) \
         SELECT id FROM gone"
    )
}

/// Where the next cleanup of a queue instance starts in each shard. A hint: wherever one starts, it comes round. Those of
/// other statuses have other places: two that took turns at one would each see the same half of a large table, always.
#[derive(Debug, Default)]
pub(crate) struct WalkStarts(Mutex<HashMap<(Shard, FinishedStatuses), u128>>);

impl WalkStarts {
    pub(crate) fn start(&self, shard: Shard, statuses: FinishedStatuses) -> Walk {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Walk::from(places.get(&(shard, statuses)).copied().unwrap_or_default())
    }

    pub(crate) fn leave(&self, shard: Shard, statuses: FinishedStatuses, walk: &Walk) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((shard, statuses), walk.at);
    }
}

/// One call's way over the ids: from where the last one stopped to the end of the table, then from its start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    start: u128,
    at: u128,
    has_wrapped: bool,
    slices: usize,
}

/// What the table says of a full slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) id: TaskId,
    pub(crate) now_ms: i64,
}

impl Walk {
    fn from(start: u128) -> Self {
        Self { start, at: start, has_wrapped: start == 0, slices: 0 }
    }

    /// The first id of the next slice.
    pub(crate) fn first(&self) -> Uuid {
        Uuid::from_u128(self.at)
    }

    /// Stops behind this task, the last one that the limit let go.
    pub(crate) fn stop_behind(&mut self, id: TaskId) {
        self.at = behind(id);
    }

    /// Goes on behind a slice that has been cleaned up, which ended there, or with the table. Answers whether another
    /// one follows.
    pub(crate) fn go_on(&mut self, edge: Option<Edge>, older_than: Duration) -> bool {
        let Some(edge) = edge else {
            let is_done = self.has_wrapped;
            (self.at, self.has_wrapped) = (0, true);
            return !is_done;
        };
        self.at = behind(edge.id);
        self.slices += 1;
        if self.has_wrapped && self.start != 0 && self.at > self.start {
            return false;
        }
        if self.slices == SLICES_MAX {
            self.pass_over_young(edge.now_ms, older_than);
            return false;
        }
        true
    }

    /// Ids carry the time at which they were made (UUIDv7): what was made later than the age ago cannot have finished
    /// before. Without this, ten million tasks that are kept would be walked over before the first one is looked at
    /// again. An id of another form that falls in between is found when the time has moved on.
    fn pass_over_young(&mut self, now_ms: i64, older_than: Duration) {
        let now_ms = u128::try_from(now_ms).unwrap_or_default();
        let young = id_of_time(now_ms.saturating_sub(older_than.as_millis()));
        let ahead = id_of_time(now_ms + AHEAD_MS);
        if (young..ahead).contains(&self.at) {
            self.at = ahead;
        }
    }
}

fn behind(id: TaskId) -> u128 {
    id.as_uuid().as_u128().saturating_add(1)
}

/// The lowest UUIDv7 of a time: 48 bits of milliseconds come first.
fn id_of_time(ms: u128) -> u128 {
    ms << 80
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(3600);
    const NOW_MS: i64 = 1_800_000_000_000;

    fn edge(id: u128) -> Option<Edge> {
        Some(Edge { id: TaskId::from(Uuid::from_u128(id)), now_ms: NOW_MS })
    }

    fn left(walk: &Walk) -> u128 {
        let places = WalkStarts::default();
        places.leave(Shard::FIRST, FinishedStatuses::ALL, walk);
        let second = taskqueue_core::Shards::new(2).unwrap().all().last().unwrap();
        assert_eq!(places.start(second, FinishedStatuses::ALL), Walk::from(0), "another shard has its own");
        let of_dead_letters = places.start(Shard::FIRST, FinishedStatuses::DEAD_LETTER);
        assert_eq!(of_dead_letters, Walk::from(0), "other statuses have their own");
        places.start(Shard::FIRST, FinishedStatuses::ALL).first().as_u128()
    }

    #[test]
    fn a_walk_from_the_start_ends_with_the_table_and_starts_there_again() {
        let mut walk = WalkStarts::default().start(Shard::FIRST, FinishedStatuses::ALL);
        assert!(walk.go_on(edge(9), AGE));
        assert_eq!(walk.first().as_u128(), 10);
        assert!(!walk.go_on(None, AGE));
        assert_eq!(left(&walk), 0);
    }

    #[test]
    fn a_walk_from_the_middle_comes_round_to_where_it_began() {
        let mut walk = Walk::from(50);
        assert!(walk.go_on(None, AGE), "the start of the table has not been looked at");
        assert_eq!(walk.first().as_u128(), 0);
        assert!(walk.go_on(edge(49), AGE), "the task 50 may have come since");
        assert!(!walk.go_on(edge(60), AGE));
        assert_eq!(left(&walk), 61);
    }

    #[test]
    fn one_call_looks_at_a_bounded_number_of_slices_and_the_next_one_goes_on() {
        let mut walk = Walk::from(0);
        let mut slices = 1;
        while walk.go_on(edge(slices * 10), AGE) {
            slices += 1;
        }
        assert_eq!((slices as usize, left(&walk)), (SLICES_MAX, slices * 10 + 1));
        const { assert!(SLICES_MAX * SLICE_ROWS >= taskqueue_core::CLEANUP_LOOK) };
    }

    #[test]
    fn what_is_too_young_to_go_is_passed_over_once_a_call_has_looked_at_its_share() {
        let made = |ms: i64| id_of_time(u128::try_from(NOW_MS - ms).unwrap()) + 5;
        let end_of = |id: u128| {
            let mut walk = Walk { slices: SLICES_MAX - 1, ..Walk::from(0) };
            assert!(!walk.go_on(edge(id), AGE));
            left(&walk)
        };
        assert_eq!(end_of(made(3_600_001)), made(3_600_001) + 1, "it may be old enough");
        assert_eq!(end_of(made(3_599_999)), id_of_time(u128::try_from(NOW_MS).unwrap() + AHEAD_MS));
        assert_eq!(end_of(u128::MAX), u128::MAX, "no id of this time");
        let mut walk = Walk::from(0);
        assert!(walk.go_on(edge(made(0)), AGE));
        assert_eq!(left(&walk), made(0) + 1, "a small table is looked at whole");
    }
}
