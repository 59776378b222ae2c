//! Claim cursors: where the claim index is known to hold nothing but dead entries, so that claims need not walk over
//! them. While an old transaction pins the horizon, the entries of claimed tasks cannot be removed, and each claim
//! from the start of the index would cost what all claims before it cost together.
//!
//! A cursor is a hint of this process and decides nothing: what arrives behind it (a transaction that committed late,
//! a new priority, a clock that ran ahead) is found by the full scans, which never stop. It knows no connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::clock::RESTS;
use taskqueue_core::{NewTask, Schedule, Shard, TaskType, Timestamp};
use tokio::time::Instant;

/// At least this often a claim looks from the start of the index. It bounds how long what arrives behind a cursor
/// waits while there is enough ahead of it.
pub const SCAN_INTERVAL: Duration = Duration::from_millis(200);

/// No rest is longer.
const REST_MAX: Duration = Duration::from_secs(60);

/// How far behind the cursors a claim looks where full scans have to rest for longer than usual: transactions
/// commit in another order than they begin. It walks over all that was claimed in this time.
pub const LOOK_BACK: Duration = Duration::from_secs(1);

/// What full scans may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanning {
    /// One that takes less needs no cursor's help, and finds what arrived late at once.
    pub slow: Duration,
    /// After one, the next that is not needed for certain rests so many times as long as it took; so does a look back.
    pub rests: u32,
}

impl Scanning {
    /// How long to rest after what took so long.
    pub fn rest(&self, took: Duration) -> Duration {
        took.saturating_mul(self.rests).min(REST_MAX)
    }

    /// How long a scan is taken to need: at most twice as long as the one before, since one may have waited for a disk or a
    /// standby that stood still.
    pub fn believed(&self, took: Duration, before: Duration) -> Duration {
        took.min((2 * before).max(self.slow))
    }
}

impl Default for Scanning {
    /// Full scans take a twentieth of the time at most, those of up to three seconds.
    fn default() -> Self {
        Self { slow: Duration::from_millis(2), rests: RESTS }
    }
}

/// The most places of one look. With more, the lookups cost what they save.
pub const PLACES_MAX: usize = 64;

/// The most lists of types that are kept track of in a shard. A worker whose types are limited one by one asks for many.
const TRACKS_MAX: usize = 256;

/// Places in the claim index, highest priority first: of each rank (-priority) and type, when the task there became
/// ready.
pub type Places = BTreeMap<(i64, TaskType), Timestamp>;

/// Where a claim starts to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
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
    look_back_took: Duration,
    /// Whether the last claim found as much as it asked for.
    is_enough_ahead: bool,
    /// Whether the last full scan ended at its limit: kinds of task that it did not come to may have no place yet.
    is_partial: bool,
}

/// What a full scan found.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The last places where it claimed.
    pub claimed: &'a Places,
    /// Whether its limit cut it off, so that more may lie behind its last place.
    pub is_cut_off: bool,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
}

/// What a claim ahead of the cursors found.
#[derive(Debug)]
pub struct AheadOf<'a> {
    /// The last places where it claimed.
    pub claimed: &'a Places,
    /// Whether it claimed as much as it asked for.
    pub is_enough: bool,
    /// How long it took, if it looked back.
    pub look_back_took: Option<Duration>,
}

/// Ranks of a type that are not known to hold anything: those above one and below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The type.
    pub task_type: TaskType,
    /// The rank above which it begins.
    pub above: i64,
    /// The rank below which it ends.
    pub below: i64,
}

/// What is known of each list of types.
type Tracks = HashMap<Vec<TaskType>, Track>;

/// The cursors of one queue instance.
#[derive(Debug)]
pub struct Cursors {
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
    pub fn new(scanning: Scanning) -> Self {
        Self { state: Mutex::default(), scanning }
    }

    /// Where the next claim of these types starts. Of claims at once one is sent everywhere when that is due, and never an
    /// extra one, which may be turned away.
    pub fn look(&self, shard: Shard, types: &[TaskType], now: Instant, is_extra: bool) -> Look {
        let mut state = self.lock();
        let is_known = |track: &&mut Track| !track.places.is_empty() && !track.has_too_many();
        let Some(track) = state.track_mut(shard, types).filter(is_known) else { return Look::Everywhere };
        let is_quick = track.scan_took < self.scanning.slow;
        let is_due =
            !is_extra && track.has_rested(now, SCAN_INTERVAL.max(self.scanning.rest(track.scan_took)));
        if is_quick || is_due {
            track.scanned_at = now;
            return Look::Everywhere;
        }
        Look::From(track.places.clone())
    }

    /// How far a claim ahead of the cursors is to look back: only at times while there is enough ahead.
    pub fn look_back(&self, shard: Shard, types: &[TaskType], now: Instant) -> Duration {
        let mut state = self.lock();
        let Some(track) = state.track_mut(shard, types) else { return LOOK_BACK };
        let rest = SCAN_INTERVAL.max(self.scanning.rest(track.look_back_took));
        if track.is_enough_ahead && now.saturating_duration_since(track.looked_back_at) < rest {
            return Duration::ZERO;
        }
        track.looked_back_at = now;
        LOOK_BACK
    }

    /// Whether a claim that did not find enough ahead of the cursors should look everywhere: unless full scans are so slow
    /// that they would take more than their share of the time.
    pub fn may_scan(&self, shard: Shard, types: &[TaskType], now: Instant) -> bool {
        let mut state = self.lock();
        let Some(track) = state.track_mut(shard, types) else { return true };
        let may = track.has_rested(now, self.scanning.rest(track.scan_took));
        if may {
            track.scanned_at = now;
        }
        may
    }

    /// Where else such a claim should look: in the ranks that no place is known of, if the last full scan was cut off.
    pub fn gaps(&self, shard: Shard, types: &[TaskType]) -> Vec<Gap> {
        let mut state = self.lock();
        let Some(track) = state.track_mut(shard, types).filter(|track| track.is_partial) else {
            return Vec::new();
        };
        types.iter().flat_map(|task_type| gaps_of(task_type, &track.places)).collect()
    }

    /// A claim in the gaps is done, and found as much as it asked for or all there was.
    pub fn filled(&self, shard: Shard, types: &[TaskType], claimed: &Places, is_cut_off: bool) {
        if let Some(track) = self.lock().track_mut(shard, types) {
            track.advance(claimed);
            track.is_partial = is_cut_off;
        }
    }

    /// A claim ahead of the cursors is done.
    pub fn advance(&self, shard: Shard, types: &[TaskType], ahead: &AheadOf<'_>) {
        if let Some(track) = self.lock().track_mut(shard, types) {
            track.advance(ahead.claimed);
            track.is_enough_ahead = ahead.is_enough;
            track.look_back_took = ahead.look_back_took.unwrap_or(track.look_back_took);
        }
    }

    /// A full scan is done. Where it was cut off, more may lie behind the old cursors: they go back to where it ended.
    pub fn scanned(&self, shard: Shard, types: &[TaskType], scan: &Scan<'_>) {
        let mut state = self.lock();
        let tracks = state.tracks.entry(shard).or_default();
        let before = tracks.remove(types);
        let took = scan.ended.saturating_duration_since(scan.began);
        let scan_took = before.as_ref().map_or(took, |track| self.scanning.believed(took, track.scan_took));
        let (places, look_back_took) =
            before.map(|track| (track.places, track.look_back_took)).unwrap_or_default();
        let mut track = Track {
            places,
            scanned_at: scan.ended,
            scan_took,
            looked_back_at: scan.ended,
            look_back_took,
            is_enough_ahead: scan.is_cut_off,
            is_partial: scan.is_cut_off,
        };
        if scan.is_cut_off {
            track.go_to(scan.claimed);
        } else {
            track.advance(scan.claimed);
        }
        if tracks.len() >= TRACKS_MAX {
            tracks.clear();
        }
        tracks.insert(types.to_vec(), track);
    }

    /// This instance is about to insert these.
    pub fn expect_tasks<'t>(&self, shard: Shard, tasks: impl IntoIterator<Item = &'t NewTask>) {
        let mut last = None;
        for task in tasks {
            let kind = (task.priority, &task.task_type);
            match task.schedule {
                Schedule::At(_) => self.doubt(),
                // Less than a microsecond is no delay.
                Schedule::After(delay) if delay.as_micros() > 0 => {}
                Schedule::Now | Schedule::After(_) if last != Some(kind) => {
                    self.expect(shard, -i64::from(task.priority.0), &task.task_type);
                    last = Some(kind);
                }
                Schedule::Now | Schedule::After(_) => {}
            }
        }
    }

    /// This instance is about to make a task ready now. Where nothing of its kind was claimed yet, no claim ahead of
    /// the cursors would find it; where there are too many kinds, none is made.
    fn expect(&self, shard: Shard, rank: i64, task_type: &TaskType) {
        let mut state = self.lock();
        let kind = (rank, task_type.clone());
        let knows = |(types, track): (&Vec<TaskType>, &Track)| {
            !types.contains(task_type) || track.has_too_many() || track.places.contains_key(&kind)
        };
        let knows_all = state.tracks.get(&shard).is_none_or(|tracks| tracks.iter().all(knows));
        state.is_doubtful |= !knows_all;
    }

    /// This instance is about to make tasks ready at places that may be behind a cursor.
    pub fn doubt(&self) {
        self.lock().is_doubtful = true;
    }

    /// What this instance made ready is committed: cursors that may be ahead of it are forgotten.
    pub fn forget_doubtful(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_doubtful) {
            state.tracks.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gaps between the places of a type. Places are in the order of their ranks.
fn gaps_of(task_type: &TaskType, places: &Places) -> Vec<Gap> {
    let ranks = places.keys().filter(|(_, other)| other == task_type).map(|(rank, _)| *rank);
    let edges: Vec<i64> = [i64::MIN].into_iter().chain(ranks).chain([i64::MAX]).collect();
    let gap = |edge: &[i64]| Gap { task_type: task_type.clone(), above: edge[0], below: edge[1] };
    edges.windows(2).map(gap).collect()
}

impl State {
    fn track_mut(&mut self, shard: Shard, types: &[TaskType]) -> Option<&mut Track> {
        self.tracks.get_mut(&shard)?.get_mut(types)
    }
}

impl Track {
    fn advance(&mut self, claimed: &Places) {
        self.go_to_each(claimed, Timestamp::max);
    }

    /// Back, too.
    fn go_to(&mut self, claimed: &Places) {
        self.go_to_each(claimed, |at, _before| at);
    }

    /// Of kinds beyond those that make a claim go everywhere nothing is kept: a service may give each task a priority of its own.
    fn go_to_each(&mut self, claimed: &Places, place_of: fn(Timestamp, Timestamp) -> Timestamp) {
        for (kind, at) in claimed {
            if let Some(place) = self.places.get_mut(kind) {
                *place = place_of(*at, *place);
            } else if !self.has_too_many() {
                self.places.insert(kind.clone(), *at);
            }
        }
    }

    /// Whether there are more kinds than a look can name. It stays so until the track is forgotten.
    fn has_too_many(&self) -> bool {
        self.places.len() > PLACES_MAX
    }

    fn has_rested(&self, now: Instant, rest: Duration) -> bool {
        now.saturating_duration_since(self.scanned_at) >= rest
    }
}

#[cfg(test)]
mod tests;
