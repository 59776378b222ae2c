//! Where looks for what is due begin. Promotion and the check of claims read an index of times from its start; while an old
//! transaction pins the horizon, the entries of all that they have dealt with stay there, and each look would walk over
//! them. It knows no connection.
//!
//! A place is a hint of this process and decides nothing: what comes in behind it (a transaction that committed late, a row
//! that others had locked, a clock that was set back) is found by the looks from the start, which never stop.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{Shard, Timestamp};
use taskqueue_sql::cursor::{LOOK_BACK, SCAN_INTERVAL, Scanning};
use tokio::time::Instant;
use uuid::Uuid;

/// A place in the order of promotion; of claims only the time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) due_at: Timestamp,
    pub(crate) queue_at: Timestamp,
    pub(crate) id: Uuid,
}

impl Place {
    /// Before all that can be there.
    const START: Self = Self::of(Timestamp::UNIX_EPOCH);

    /// Before all that is due from then on.
    const fn of(due_at: Timestamp) -> Self {
        Self { due_at, queue_at: Timestamp::UNIX_EPOCH, id: Uuid::nil() }
    }

    /// Where to go on when nothing was left that was due by `now`, but for what transactions may commit late.
    pub(crate) fn after_all(now: Timestamp) -> Self {
        Self::of(now - LOOK_BACK)
    }
}

/// The places of promotion and of the check of claims.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) promotions: DueStarts,
    pub(crate) checks: DueStarts,
}

impl Due {
    pub(crate) fn new(scanning: Scanning) -> Self {
        Self { promotions: DueStarts::new(scanning), checks: DueStarts::new(scanning) }
    }
}

/// Where the next look begins in each shard.
#[derive(Debug)]
pub(crate) struct DueStarts {
    known: Mutex<HashMap<Shard, Known>>,
    scanning: Scanning,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    place: Place,
    /// When the last look from the start ended, and how long it took.
    scanned_at: Instant,
    scan_took: Duration,
}

impl DueStarts {
    fn new(scanning: Scanning) -> Self {
        Self { known: Mutex::default(), scanning }
    }

    /// Where a look begins now: at the start while that is quick, and else once such looks have rested.
    pub(crate) fn start(&self, shard: Shard, now: Instant) -> Place {
        let Some(known) = self.lock().get(&shard).copied() else { return Place::START };
        let is_quick = known.scan_took < self.scanning.slow;
        let rest = SCAN_INTERVAL.max(self.scanning.rest(known.scan_took));
        let is_due = now.saturating_duration_since(known.scanned_at) >= rest;
        if is_quick || is_due { Place::START } else { known.place }
    }

    /// A look is done that began at the place `from`; the next one may begin at `to`, which lies behind it where it was
    /// cut off.
    pub(crate) fn looked(&self, shard: Shard, (from, to): (Place, Place), began: Instant, ended: Instant) {
        let mut known = self.lock();
        let before = known.get(&shard).copied();
        let took = ended.saturating_duration_since(began);
        let (scanned_at, scan_took) = match before {
            Some(before) if from != Place::START => (before.scanned_at, before.scan_took),
            Some(before) => (ended, self.scanning.believed(took, before.scan_took)),
            None => (ended, took),
        };
        known.insert(shard, Known { place: to, scanned_at, scan_took });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Shard, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::Shards;

    use super::*;

    const SLOW: Duration = Duration::from_millis(100);

    fn nine() -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(9 * 3600)
    }

    /// Places after a look from the start that took so long and found nothing more at nine, and when it ended.
    fn after_a_scan(took: Duration) -> (DueStarts, Instant) {
        let (places, began) = (DueStarts::new(Scanning::default()), Instant::now());
        assert_eq!(places.start(Shard::FIRST, began), Place::START, "nothing is known yet");
        places.looked(Shard::FIRST, (Place::START, Place::after_all(nine())), began, began + took);
        (places, began + took)
    }

    #[test]
    fn while_looks_from_the_start_are_quick_there_is_no_other() {
        let (places, now) = after_a_scan(Duration::from_millis(1));
        assert_eq!(places.start(Shard::FIRST, now), Place::START);
    }

    #[test]
    fn slow_looks_from_the_start_rest_in_proportion_and_others_begin_a_second_back() {
        let (places, now) = after_a_scan(SLOW);
        let place = places.start(Shard::FIRST, now);
        assert_eq!(place.due_at, nine() - LOOK_BACK);
        assert_eq!(places.start(Shard::FIRST, now + 19 * SLOW - Duration::from_millis(1)), place);
        assert_eq!(places.start(Shard::FIRST, now + 19 * SLOW), Place::START);
        let other = Shards::new(2).expect("there may be two").all().last().expect("there are two");
        assert_eq!(places.start(other, now), Place::START, "shards have places of their own");
    }

    #[test]
    fn a_look_that_is_cut_off_is_followed_by_one_from_where_it_ended() {
        let (places, now) = after_a_scan(SLOW);
        let from = places.start(Shard::FIRST, now);
        let last = Place { due_at: nine(), queue_at: nine(), id: Uuid::max() };
        places.looked(Shard::FIRST, (from, last), now, now + SLOW);
        assert_eq!(places.start(Shard::FIRST, now + SLOW), last);
        assert_eq!(
            places.start(Shard::FIRST, now + 19 * SLOW),
            Place::START,
            "it was no look from the start"
        );
    }

    #[test]
    fn one_look_that_waited_for_a_disk_makes_no_rest_of_a_minute() {
        let (places, now) = after_a_scan(SLOW);
        places.looked(Shard::FIRST, (Place::START, Place::of(nine())), now, now + 100 * SLOW);
        let ended = now + 100 * SLOW;
        assert_eq!(places.start(Shard::FIRST, ended + 2 * 19 * SLOW), Place::START);
    }
}
