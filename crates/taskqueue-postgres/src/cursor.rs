//! Claim cursors: where the claim index is known to hold nothing but dead entries, so that claims need not walk over
//! them. While an old transaction pins the horizon, the entries of claimed tasks cannot be removed, and each claim
//! from the start of the index would cost what all claims before it cost together.
//!
//! A cursor is a hint of this process and decides nothing: what arrives behind it (a transaction that committed late,
//! a new priority, a clock that ran ahead) is found by the full scans, which never stop. It knows no connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{Shard, TaskType, Timestamp};
use tokio::time::Instant;

/// At least this often a claim looks from the start of the index. It bounds how long what arrives behind a cursor
/// waits while there is enough ahead of it.
const SCAN_INTERVAL: Duration = Duration::from_millis(200);

/// How far behind the cursors a claim looks where full scans have to rest for longer than [`SCAN_INTERVAL`]: transactions
/// commit in another order than they begin. It walks over all that was claimed in this time.
pub(crate) const LOOK_BACK: Duration = Duration::from_secs(1);

/// What full scans may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanning {
    /// One that takes less needs no cursor's help, and finds what arrived late at once.
    pub slow: Duration,
    /// After one, the next that is not needed for certain rests so many times as long as it took.
    pub rests: u32,
}

impl Default for Scanning {
    /// Full scans take a twentieth of the time at most.
    fn default() -> Self {
        Self { slow: Duration::from_millis(2), rests: 19 }
    }
}

/// The most places of one look. With more, the lookups cost what they save.
pub(crate) const PLACES_MAX: usize = 64;

/// The most lists of types that are kept track of in a shard. A worker whose types are limited one by one asks for many.
const TRACKS_MAX: usize = 256;

/// Places in the claim index, highest priority first: of each rank (-priority) and type, when the task there became
/// ready.
pub(crate) type Places = BTreeMap<(i64, TaskType), Timestamp>;

/// Where a claim starts to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// From the start of the index.
    Everywhere,
    /// From these places on.
    From(Places),
}

/// What is known of the types of one claim in one shard. Claims of other types, and in other shards, have their own.
#[derive(Debug)]
struct Track {
    places: Places,
    scanned_at: Instant,
    scan_took: Duration,
    looked_back_at: Instant,
    /// Whether the last claim found as much as it asked for.
    is_enough_ahead: bool,
    /// Whether the last full scan ended at its limit: kinds of task that it did not come to have no place yet.
    is_partial: bool,
}

/// What a full scan found.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    /// The last places where it claimed.
    pub(crate) claimed: &'a Places,
    /// Whether its limit cut it off, so that more may lie behind its last place.
    pub(crate) is_cut_off: bool,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// What is known of each list of types.
type Tracks = HashMap<Vec<TaskType>, Track>;

/// The cursors of one queue instance.
#[derive(Debug)]
pub(crate) struct Cursors {
    state: Mutex<State>,
    scanning: Scanning,
}

#[derive(Debug, Default)]
struct State {
    tracks: HashMap<Shard, Tracks>,
    /// Something was made ready that may lie behind a cursor once it is committed.
    is_doubtful: bool,
}

impl Cursors {
    /// None yet.
    pub(crate) fn new(scanning: Scanning) -> Self {
        Self { state: Mutex::default(), scanning }
    }

    /// Where the next claim of these types starts.
    pub(crate) fn look(&self, shard: Shard, types: &[TaskType], now: Instant) -> Look {
        let state = self.lock();
        let is_known = |track: &&Track| (1..=PLACES_MAX).contains(&track.places.len());
        let Some(track) = state.track(shard, types).filter(is_known) else { return Look::Everywhere };
        let is_quick = track.scan_took < self.scanning.slow;
        if is_quick || track.has_rested(now, SCAN_INTERVAL.max(self.rest(track))) {
            return Look::Everywhere;
        }
        Look::From(track.places.clone())
    }

    /// How far a claim ahead of the cursors is to look back: only at times while there is enough ahead.
    pub(crate) fn look_back(&self, shard: Shard, types: &[TaskType], now: Instant) -> Duration {
        let mut state = self.lock();
        let Some(track) = state.track_mut(shard, types) else { return LOOK_BACK };
        if track.is_enough_ahead && now.saturating_duration_since(track.looked_back_at) < SCAN_INTERVAL {
            return Duration::ZERO;
        }
        track.looked_back_at = now;
        LOOK_BACK
    }

    /// Whether a claim that did not find enough ahead of the cursors should look everywhere: where the last full scan
    /// left something, and else unless full scans are so slow that they would take more than their share of the time.
    pub(crate) fn may_scan(&self, shard: Shard, types: &[TaskType], now: Instant) -> bool {
        let may = |track: &Track| track.is_partial || track.has_rested(now, self.rest(track));
        self.lock().track(shard, types).is_none_or(may)
    }

    /// A claim ahead of the cursors took tasks, the last ones at these places, and as many as it asked for or fewer.
    pub(crate) fn advance(&self, shard: Shard, types: &[TaskType], claimed: &Places, is_enough: bool) {
        if let Some(track) = self.lock().track_mut(shard, types) {
            track.advance(claimed);
            track.is_enough_ahead = is_enough;
        }
    }

    /// A full scan is done. Where it was cut off, more may lie behind the old cursors: they go back to where it ended.
    pub(crate) fn scanned(&self, shard: Shard, types: &[TaskType], scan: &Scan<'_>) {
        let mut state = self.lock();
        let tracks = state.tracks.entry(shard).or_default();
        let places = tracks.remove(types).map(|track| track.places).unwrap_or_default();
        let scan_took = scan.ended.saturating_duration_since(scan.began);
        let mut track = Track {
            places,
            scanned_at: scan.ended,
            scan_took,
            looked_back_at: scan.ended,
            is_enough_ahead: scan.is_cut_off,
            is_partial: scan.is_cut_off,
        };
        if scan.is_cut_off {
            track.places.extend(scan.claimed.clone());
        } else {
            track.advance(scan.claimed);
        }
        if tracks.len() >= TRACKS_MAX {
            tracks.clear();
        }
        tracks.insert(types.to_vec(), track);
    }

    /// This instance is about to make a task ready now. Where nothing of its kind was claimed yet, no claim ahead of
    /// the cursors would find it.
    pub(crate) fn expect(&self, shard: Shard, rank: i64, task_type: &TaskType) {
        let mut state = self.lock();
        let kind = (rank, task_type.clone());
        let knows = |(types, track): (&Vec<TaskType>, &Track)| {
            !types.contains(task_type) || track.places.contains_key(&kind)
        };
        let knows_all = state.tracks.get(&shard).is_none_or(|tracks| tracks.iter().all(knows));
        state.is_doubtful |= !knows_all;
    }

    /// This instance is about to make tasks ready at places that may be behind a cursor.
    pub(crate) fn doubt(&self) {
        self.lock().is_doubtful = true;
    }

    /// What this instance made ready is committed: cursors that may be ahead of it are forgotten.
    pub(crate) fn forget_doubtful(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_doubtful) {
            state.tracks.clear();
        }
    }

    /// How long full scans rest after the last one.
    fn rest(&self, track: &Track) -> Duration {
        track.scan_took * self.scanning.rests
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn track(&self, shard: Shard, types: &[TaskType]) -> Option<&Track> {
        self.tracks.get(&shard)?.get(types)
    }

    fn track_mut(&mut self, shard: Shard, types: &[TaskType]) -> Option<&mut Track> {
        self.tracks.get_mut(&shard)?.get_mut(types)
    }
}

impl Track {
    fn advance(&mut self, claimed: &Places) {
        for (kind, at) in claimed {
            let place = self.places.entry(kind.clone()).or_insert(*at);
            *place = (*at).max(*place);
        }
    }

    fn has_rested(&self, now: Instant, rest: Duration) -> bool {
        now.saturating_duration_since(self.scanned_at) >= rest
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::clock::{Clock, ManualClock};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    /// How long a full scan of these tests takes.
    const SLOW: Duration = Duration::from_millis(5);

    fn types() -> Vec<TaskType> {
        vec![TaskType::new("t").expect("a valid type")]
    }

    /// Of each rank its last place.
    fn places(places: &[(i64, u64)]) -> Places {
        let [task_type] = types().try_into().expect("one type");
        let at = |second| ManualClock::default().now() + Duration::from_secs(second);
        places.iter().map(|&(rank, second)| ((rank, task_type.clone()), at(second))).collect()
    }

    fn scan(cursors: &Cursors, claimed: &[(i64, u64)], is_cut_off: bool, took: Duration) -> Instant {
        let began = Instant::now();
        let ended = began + took;
        cursors.scanned(
            Shard::FIRST,
            &types(),
            &Scan { claimed: &places(claimed), is_cut_off, began, ended },
        );
        ended
    }

    /// Cursors after a slow full scan that claimed at these places.
    fn scanned(claimed: &[(i64, u64)]) -> (Cursors, Instant) {
        let cursors = Cursors::new(Scanning::default());
        let ended = scan(&cursors, claimed, false, SLOW);
        (cursors, ended)
    }

    #[test]
    fn what_nothing_is_known_of_is_looked_for_everywhere() {
        assert_eq!(
            Cursors::new(Scanning::default()).look(Shard::FIRST, &types(), Instant::now()),
            Look::Everywhere
        );
        let (cursors, now) = scanned(&[]);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
    }

    #[test]
    fn a_claim_starts_where_the_last_one_ended_highest_priority_first() {
        let (cursors, now) = scanned(&[(-5, 2), (0, 1)]);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::From(places(&[(-5, 2), (0, 1)])));
        cursors.advance(Shard::FIRST, &types(), &places(&[(0, 9)]), true);
        cursors.advance(Shard::FIRST, &types(), &places(&[(0, 3)]), true);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::From(places(&[(-5, 2), (0, 9)])));
    }

    #[test]
    fn where_full_scans_are_quick_no_cursor_is_used() {
        let cursors = Cursors::new(Scanning::default());
        let now = scan(&cursors, &[(0, 1)], true, MILLISECOND);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
    }

    #[test]
    fn while_there_is_enough_ahead_claims_look_back_once_an_interval() {
        let cursors = Cursors::new(Scanning::default());
        let now = scan(&cursors, &[(0, 1)], true, SLOW);
        let back = |now| cursors.look_back(Shard::FIRST, &types(), now);
        assert_eq!(back(now + SCAN_INTERVAL - MILLISECOND), Duration::ZERO, "a full scan counts as one");
        let later = now + SCAN_INTERVAL;
        assert_eq!(back(later), LOOK_BACK);
        assert_eq!(back(later + MILLISECOND), Duration::ZERO);
        assert_eq!(back(later + SCAN_INTERVAL), LOOK_BACK);
    }

    #[test]
    fn each_claim_looks_back_after_one_that_did_not_find_enough() {
        let (cursors, now) = scanned(&[(0, 1)]);
        let back = || cursors.look_back(Shard::FIRST, &types(), now);
        assert_eq!([back(), back()], [LOOK_BACK; 2]);
        cursors.advance(Shard::FIRST, &types(), &places(&[(0, 2)]), true);
        assert_eq!(back(), Duration::ZERO);
        cursors.advance(Shard::FIRST, &types(), &places(&[(0, 3)]), false);
        assert_eq!(back(), LOOK_BACK);
    }

    #[test]
    fn a_full_scan_is_due_once_an_interval() {
        let (cursors, now) = scanned(&[(0, 1)]);
        assert_ne!(cursors.look(Shard::FIRST, &types(), now + SCAN_INTERVAL - MILLISECOND), Look::Everywhere);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now + SCAN_INTERVAL), Look::Everywhere);
    }

    #[test]
    fn slow_full_scans_rest_for_nineteen_times_as_long_as_they_took() {
        let cursors = Cursors::new(Scanning::default());
        let ended = scan(&cursors, &[(0, 1)], false, 100 * MILLISECOND);
        assert!(!cursors.may_scan(Shard::FIRST, &types(), ended + 1_899 * MILLISECOND));
        assert_ne!(cursors.look(Shard::FIRST, &types(), ended + 1_899 * MILLISECOND), Look::Everywhere);
        assert!(cursors.may_scan(Shard::FIRST, &types(), ended + 1_900 * MILLISECOND));
        assert_eq!(cursors.look(Shard::FIRST, &types(), ended + 1_900 * MILLISECOND), Look::Everywhere);
    }

    #[test]
    fn what_a_full_scan_left_is_looked_for_without_a_rest() {
        let cursors = Cursors::new(Scanning::default());
        let ended = scan(&cursors, &[(-5, 1)], true, 100 * MILLISECOND);
        assert!(cursors.may_scan(Shard::FIRST, &types(), ended), "a lower priority may have been left");
    }

    #[test]
    fn late_arrivals_beyond_one_claim_move_a_cursor_back() {
        let (cursors, _) = scanned(&[(0, 9)]);
        let now = scan(&cursors, &[(0, 2)], true, SLOW);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::From(places(&[(0, 2)])));
        let now = scan(&cursors, &[(0, 1)], false, SLOW);
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::From(places(&[(0, 2)])));
    }

    #[test]
    fn no_more_lists_of_types_are_kept_track_of_than_there_is_use_for() {
        let (cursors, now) = (Cursors::new(Scanning::default()), Instant::now());
        for number in 0..=TRACKS_MAX {
            let types = [TaskType::new(format!("t{number}")).expect("a valid type")];
            let scan = Scan { claimed: &Places::new(), is_cut_off: false, began: now, ended: now };
            cursors.scanned(Shard::FIRST, &types, &scan);
        }
        assert!(cursors.lock().tracks[&Shard::FIRST].len() <= TRACKS_MAX);
    }

    #[test]
    fn what_may_go_in_behind_a_cursor_is_looked_for_everywhere_once_it_is_in() {
        let (cursors, now) = scanned(&[(0, 9)]);
        cursors.doubt();
        assert_ne!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
        cursors.forget_doubtful();
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
    }

    #[test]
    fn a_new_priority_is_looked_for_everywhere_and_a_known_one_is_not() {
        let (cursors, now) = scanned(&[(0, 9)]);
        let [task_type] = types().try_into().expect("one type");
        cursors.expect(Shard::FIRST, 0, &task_type);
        cursors.expect(Shard::FIRST, 7, &TaskType::new("other").expect("a valid type"));
        cursors.forget_doubtful();
        assert_ne!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
        cursors.expect(Shard::FIRST, -5, &task_type);
        cursors.forget_doubtful();
        assert_eq!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
    }

    #[test]
    fn each_shard_has_its_own_cursors() {
        let (cursors, now) = scanned(&[(0, 9)]);
        let second =
            taskqueue_core::Shards::new(2).expect("it is in range").all().last().expect("there are two");
        assert_eq!(cursors.look(second, &types(), now), Look::Everywhere);
        assert!(cursors.may_scan(second, &types(), now));
        let [task_type] = types().try_into().expect("one type");
        cursors.expect(second, -5, &task_type);
        cursors.forget_doubtful();
        assert_ne!(cursors.look(Shard::FIRST, &types(), now), Look::Everywhere);
    }
}
