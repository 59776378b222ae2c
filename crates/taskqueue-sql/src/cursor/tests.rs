//! Where cursors send claims, on a clock of the test's own.

use taskqueue_core::Priority;
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
    cursors.scanned(Shard::FIRST, &types(), &Scan { claimed: &places(claimed), is_cut_off, began, ended });
    ended
}

fn look(cursors: &Cursors, now: Instant) -> Look {
    cursors.look(Shard::FIRST, &types(), now, false)
}

/// A claim ahead of the cursors that ended at this second of the rank 0.
fn advance(cursors: &Cursors, second: u64, is_enough: bool, look_back_took: Option<Duration>) {
    let found = AheadOf { claimed: &places(&[(0, second)]), is_enough, look_back_took };
    cursors.advance(Shard::FIRST, &types(), &found);
}

/// Cursors after a slow full scan that claimed at these places.
fn scanned(claimed: &[(i64, u64)]) -> (Cursors, Instant) {
    let cursors = Cursors::new(Scanning::default());
    let ended = scan(&cursors, claimed, false, SLOW);
    (cursors, ended)
}

#[test]
fn what_nothing_is_known_of_is_looked_for_everywhere() {
    assert_eq!(look(&Cursors::new(Scanning::default()), Instant::now()), Look::Everywhere);
    let (cursors, now) = scanned(&[]);
    assert_eq!(look(&cursors, now), Look::Everywhere);
}

#[test]
fn a_scan_that_stood_still_puts_off_the_next_one_hardly_longer_than_the_one_before() {
    let stall = Duration::from_secs(45);
    let (cursors, now) = scanned(&[(0, 1)]);
    scan(&cursors, &[(0, 1)], false, stall);
    let may_scan = |cursors: &Cursors, later| cursors.may_scan(Shard::FIRST, &types(), now + stall + later);
    assert!(!may_scan(&cursors, 19 * SLOW));
    assert!(may_scan(&cursors, 2 * 19 * SLOW));
    let cursors = Cursors::new(Scanning::default());
    scan(&cursors, &[(0, 1)], false, stall);
    assert!(may_scan(&cursors, REST_MAX + SLOW), "nothing was known before");
}

#[test]
fn a_claim_starts_where_the_last_one_ended_highest_priority_first() {
    let (cursors, now) = scanned(&[(-5, 2), (0, 1)]);
    assert_eq!(look(&cursors, now), Look::From(places(&[(-5, 2), (0, 1)])));
    advance(&cursors, 9, true, None);
    advance(&cursors, 3, true, None);
    assert_eq!(look(&cursors, now), Look::From(places(&[(-5, 2), (0, 9)])));
}

#[test]
fn where_full_scans_are_quick_no_cursor_is_used() {
    let cursors = Cursors::new(Scanning::default());
    let now = scan(&cursors, &[(0, 1)], true, MILLISECOND);
    assert_eq!(look(&cursors, now), Look::Everywhere);
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
    advance(&cursors, 2, true, None);
    assert_eq!(back(), Duration::ZERO);
    advance(&cursors, 3, false, None);
    assert_eq!(back(), LOOK_BACK);
}

#[test]
fn a_full_scan_is_due_once_an_interval() {
    let (cursors, now) = scanned(&[(0, 1)]);
    assert_ne!(look(&cursors, now + SCAN_INTERVAL - MILLISECOND), Look::Everywhere);
    assert_eq!(look(&cursors, now + SCAN_INTERVAL), Look::Everywhere);
}

#[test]
fn of_claims_at_once_one_is_sent_everywhere_and_it_is_not_an_extra_one() {
    let (cursors, now) = scanned(&[(0, 1)]);
    let due = now + SCAN_INTERVAL;
    assert_ne!(cursors.look(Shard::FIRST, &types(), due, true), Look::Everywhere);
    assert_eq!(look(&cursors, due), Look::Everywhere);
    assert_ne!(look(&cursors, due), Look::Everywhere);
    assert!(!cursors.may_scan(Shard::FIRST, &types(), due), "it is on its way");
}

#[test]
fn slow_looks_back_rest_as_full_scans_do() {
    let cursors = Cursors::new(Scanning::default());
    let now = scan(&cursors, &[(0, 1)], true, SLOW);
    advance(&cursors, 2, true, Some(100 * MILLISECOND));
    let back = |now| cursors.look_back(Shard::FIRST, &types(), now);
    assert_eq!(back(now + 1_899 * MILLISECOND), Duration::ZERO);
    assert_eq!(back(now + 1_900 * MILLISECOND), LOOK_BACK);
}

#[test]
fn slow_full_scans_rest_for_nineteen_times_as_long_as_they_took() {
    let rested = || {
        let cursors = Cursors::new(Scanning::default());
        let ended = scan(&cursors, &[(0, 1)], false, 100 * MILLISECOND);
        assert!(!cursors.may_scan(Shard::FIRST, &types(), ended + 1_899 * MILLISECOND));
        assert_ne!(look(&cursors, ended + 1_899 * MILLISECOND), Look::Everywhere);
        (cursors, ended + 1_900 * MILLISECOND)
    };
    let (cursors, now) = rested();
    assert!(cursors.may_scan(Shard::FIRST, &types(), now));
    let (cursors, now) = rested();
    assert_eq!(look(&cursors, now), Look::Everywhere);
}

#[test]
fn of_what_a_full_scan_may_have_left_the_unknown_ranks_are_looked_through_until_nothing_is_left() {
    let cursors = Cursors::new(Scanning::default());
    let ended = scan(&cursors, &[(-5, 1), (0, 1)], true, 100 * MILLISECOND);
    let [task_type] = types().try_into().expect("one type");
    let gap = |above, below| Gap { task_type: task_type.clone(), above, below };
    assert!(!cursors.may_scan(Shard::FIRST, &types(), ended));
    let gaps = cursors.gaps(Shard::FIRST, &types());
    assert_eq!(gaps, [gap(i64::MIN, -5), gap(-5, 0), gap(0, i64::MAX)]);

    cursors.filled(Shard::FIRST, &types(), &places(&[(3, 1)]), true);
    let gaps = cursors.gaps(Shard::FIRST, &types());
    assert_eq!(gaps, [gap(i64::MIN, -5), gap(-5, 0), gap(0, 3), gap(3, i64::MAX)]);
    cursors.filled(Shard::FIRST, &types(), &places(&[(9, 1)]), false);
    assert_eq!(cursors.gaps(Shard::FIRST, &types()), [], "every kind is known");
    assert_eq!(look(&cursors, ended), Look::From(places(&[(-5, 1), (0, 1), (3, 1), (9, 1)])));
}

#[test]
fn of_a_type_without_a_place_every_rank_is_looked_through() {
    let cursors = Cursors::new(Scanning::default());
    let other = TaskType::new("other").expect("a valid type");
    let both = [types(), vec![other.clone()]].concat();
    let now = Instant::now();
    let found = Scan { claimed: &places(&[(0, 1)]), is_cut_off: true, began: now, ended: now };
    cursors.scanned(Shard::FIRST, &both, &found);
    let gaps = cursors.gaps(Shard::FIRST, &both);
    assert_eq!(gaps.last(), Some(&Gap { task_type: other, above: i64::MIN, below: i64::MAX }));
    assert_eq!(gaps.len(), 3);
}

#[test]
fn late_arrivals_beyond_one_claim_move_a_cursor_back() {
    let (cursors, _) = scanned(&[(0, 9)]);
    let now = scan(&cursors, &[(0, 2)], true, SLOW);
    assert_eq!(look(&cursors, now), Look::From(places(&[(0, 2)])));
    let now = scan(&cursors, &[(0, 1)], false, SLOW);
    assert_eq!(look(&cursors, now), Look::From(places(&[(0, 2)])));
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
    assert_ne!(look(&cursors, now), Look::Everywhere);
    cursors.forget_doubtful();
    assert_eq!(look(&cursors, now), Look::Everywhere);
}

#[test]
fn a_new_priority_is_looked_for_everywhere_and_a_known_one_is_not() {
    let (cursors, now) = scanned(&[(0, 9)]);
    let [task_type] = types().try_into().expect("one type");
    cursors.expect(Shard::FIRST, 0, &task_type);
    cursors.expect(Shard::FIRST, 7, &TaskType::new("other").expect("a valid type"));
    cursors.forget_doubtful();
    assert_ne!(look(&cursors, now), Look::Everywhere);
    cursors.expect(Shard::FIRST, -5, &task_type);
    cursors.forget_doubtful();
    assert_eq!(look(&cursors, now), Look::Everywhere);
}

#[test]
fn with_more_kinds_than_a_look_names_every_claim_goes_everywhere_and_no_more_are_kept() {
    let ranks = |count: i64| (0..count).map(|rank| (rank, 1)).collect::<Vec<_>>();
    let most = i64::try_from(PLACES_MAX).expect("it is small");
    let (cursors, now) = scanned(&ranks(most));
    assert_eq!(look(&cursors, now), Look::From(places(&ranks(most))));

    for is_cut_off in [true, false] {
        scan(&cursors, &ranks(1_000), is_cut_off, SLOW);
        assert_eq!(look(&cursors, now), Look::Everywhere);
        let kept = cursors.lock().track_mut(Shard::FIRST, &types()).map(|track| track.places.len());
        assert_eq!(kept, Some(PLACES_MAX + 1), "{is_cut_off}");
    }
}

#[test]
fn a_delay_of_nothing_is_expected_as_what_has_none() {
    for (delay, is_ready) in [(Duration::ZERO, true), (Duration::from_nanos(999), true), (MILLISECOND, false)]
    {
        let (cursors, now) = scanned(&[(0, 9)]);
        let task = NewTask::raw("t", "1").expect("a valid task").priority(Priority(7)).delay(delay);
        cursors.expect_tasks(Shard::FIRST, [&task]);
        cursors.forget_doubtful();
        assert_eq!(look(&cursors, now) == Look::Everywhere, is_ready, "{delay:?}");
    }
}

#[test]
fn with_more_kinds_than_a_look_names_a_new_one_costs_the_other_lists_of_types_nothing() {
    let (cursors, _) = scanned(&(0..1_000).map(|rank| (rank, 1)).collect::<Vec<_>>());
    let task = NewTask::raw("t", "1").expect("a valid task").priority(Priority(7));
    cursors.expect_tasks(Shard::FIRST, [&task]);
    cursors.forget_doubtful();
    assert!(cursors.lock().track_mut(Shard::FIRST, &types()).is_some(), "claims go everywhere as it is");
}

#[test]
fn each_shard_has_its_own_cursors() {
    let (cursors, now) = scanned(&[(0, 9)]);
    let second = taskqueue_core::Shards::new(2).expect("it is in range").all().last().expect("there are two");
    assert_eq!(cursors.look(second, &types(), now, false), Look::Everywhere);
    assert!(cursors.may_scan(second, &types(), now));
    let [task_type] = types().try_into().expect("one type");
    cursors.expect(second, -5, &task_type);
    cursors.forget_doubtful();
    assert_ne!(look(&cursors, now), Look::Everywhere);
}
