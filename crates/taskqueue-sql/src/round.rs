//! A call on one shard after another: what takes tasks up to a limit wherever they are. Each shard's part is a
//! transaction by itself, so that no lock of one shard is held while another is worked on, and what a part did counts
//! whatever becomes of the next.

use taskqueue_core::{Claim, Reclaimed};

/// Verbs begin their rounds each in its own turn: with one for all, a worker that claims and promotes by turns would
/// begin every claim with the same one of two shards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turns {
    Dequeue,
    Promote,
    Reclaim,
    Cleanup,
    Redrive,
}

/// How many verbs there are.
pub(crate) const TURNS: usize = Turns::Redrive as usize + 1;

/// What a call did on one shard, or on several.
pub(crate) trait Share {
    /// How much of the limit it used.
    fn used(&self) -> usize;

    /// Adds what it did on another shard.
    fn add(&mut self, more: Self);
}

impl Share for u64 {
    fn used(&self) -> usize {
        usize::try_from(*self).unwrap_or(usize::MAX)
    }

    fn add(&mut self, more: Self) {
        *self += more;
    }
}

impl Share for Reclaimed {
    fn used(&self) -> usize {
        (self.released + self.dead_lettered).used()
    }

    fn add(&mut self, more: Self) {
        self.released += more.released;
        self.dead_lettered += more.dead_lettered;
    }
}

impl Share for Vec<Claim> {
    fn used(&self) -> usize {
        self.len()
    }

    fn add(&mut self, more: Self) {
        *self = Claim::merge(std::mem::take(self), more).collect();
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{Column, Field, Row, TASK_COLUMNS};

    /// A claim of this priority and time.
    fn claim((priority, scheduled_at): (i64, i64)) -> Claim {
        let field = |column: &Column| match column {
            Column::Id => Field::Id(Uuid::nil()),
            Column::Type => Field::Text("t".to_owned()),
            Column::Payload => Field::Text("1".to_owned()),
            Column::Priority => Field::Integer(priority),
            Column::ScheduledAt => Field::Integer(scheduled_at),
            Column::Status => Field::Integer(2),
            Column::LastError | Column::Region | Column::WorkerId | Column::UniqueKey | Column::Metadata => {
                Field::Null
            }
            _ => Field::Integer(1),
        };
        let row = Row::new(TASK_COLUMNS.iter().map(field).collect());
        row.claim(Timestamp::default()).expect("the row is well formed")
    }

    #[test]
    fn claims_of_two_shards_are_merged_by_priority_and_time_and_each_keeps_its_order() {
        let merged = |one: &[(i64, i64)], other: &[(i64, i64)]| {
            let [mut one, other] =
                [one, other].map(|claims| claims.iter().copied().map(claim).collect::<Vec<_>>());
            one.add(other);
            let place = |claim: &Claim| (claim.task.priority.0, claim.task.scheduled_at.timestamp_micros());
            one.iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(
            merged(&[(9, 5), (5, 1), (5, 3)], &[(9, 4), (5, 2), (0, 0)]),
            [(9, 4), (9, 5), (5, 1), (5, 2), (5, 3), (0, 0)]
        );
        assert_eq!(merged(&[(5, 8), (5, 1)], &[(5, 4)]), [(5, 4), (5, 8), (5, 1)], "a retry is behind");
        assert_eq!(merged(&[], &[(5, 4)]), [(5, 4)]);
    }

    #[test]
    fn what_shards_did_adds_up() {
        let mut reclaimed = Reclaimed { released: 2, dead_lettered: 1 };
        reclaimed.add(Reclaimed { released: 1, dead_lettered: 0 });
        assert_eq!((reclaimed.released, reclaimed.dead_lettered, reclaimed.used()), (3, 1, 4));
    }
}
