//! The pure decisions of settling: what a row becomes, what counts as a repetition, how error texts are cut.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use proptest::prelude::*;
use taskqueue_core::backend::{Decision, Transition, decide_batch, shorten};
use taskqueue_core::clock::DURATION_MAX;
use taskqueue_core::{
    BATCH_MAX, BATCH_PAYLOAD_BYTES_MAX, Clock, ErrorKind, LAST_ERROR_BYTES_MAX, Lease, LeaseToken,
    ManualClock, NewTask, Outcome, PAYLOAD_BYTES_MAX_DEFAULT, Retry, RetryPolicy, Settlement, State, TaskId,
    TaskType,
};

const SECOND: Duration = Duration::from_secs(1);

fn lease(attempt: u32, max_retries: u32) -> Lease {
    Lease {
        task_id: TaskId::generate(),
        task_type: TaskType::new("welcome").unwrap(),
        token: LeaseToken::generate(),
        number: 1,
        attempt,
        max_retries,
        claimed_at: ManualClock::default().now(),
        until: ManualClock::default().now(),
    }
}

fn decide(lease: Lease, outcome: Outcome) -> Decision {
    Settlement::new(lease, outcome).decide(&RetryPolicy::fixed(SECOND), 0.0).unwrap()
}

fn error(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_completion_carries_its_follow_ups() {
    let next = NewTask::raw("next", "{}").unwrap();
    let decision = decide(lease(1, 3), Outcome::done().then(next.clone()));
    assert_eq!((decision.transition, decision.follow_ups), (Transition::Complete, vec![next]));
}

#[test]
fn a_failure_with_attempts_left_is_retried_by_the_policy_or_after_its_own_delay() {
    let by_policy = decide(lease(2, 3), Outcome::fail("oh")).transition;
    assert_eq!(by_policy, Transition::Retry { delay: SECOND, error: error("oh") });
    let own = decide(lease(2, 3), Outcome::retry_after("oh", 9 * SECOND)).transition;
    assert_eq!(own, Transition::Retry { delay: 9 * SECOND, error: error("oh") });
}

#[test]
fn a_failure_of_the_last_attempt_is_a_dead_letter_whatever_delay_it_asks_for() {
    for outcome in [Outcome::fail("oh"), Outcome::retry_after("oh", SECOND), Outcome::permanent("oh")] {
        for attempt in [3, 4] {
            let transition = decide(lease(attempt, 3), outcome.clone()).transition;
            assert_eq!(transition, Transition::DeadLetter { error: error("oh") });
        }
    }
}

#[test]
fn a_permanent_failure_is_a_dead_letter_at_the_first_attempt() {
    let transition = decide(lease(1, 3), Outcome::permanent("oh")).transition;
    assert_eq!(transition, Transition::DeadLetter { error: error("oh") });
}

#[test]
fn delays_are_cut_to_what_every_engine_can_add_to_a_time() {
    let snooze = decide(lease(1, 3), Outcome::snooze(Duration::MAX)).transition;
    assert_eq!(snooze, Transition::Snooze { delay: DURATION_MAX });
    let retry = decide(lease(1, 3), Outcome::retry_after("", Duration::MAX)).transition;
    assert_eq!(retry, Transition::Retry { delay: DURATION_MAX, error: error("") });
}

#[test]
fn a_follow_up_without_a_json_form_makes_the_outcome_a_permanent_failure() {
    #[derive(serde::Serialize)]
    struct Keyed(std::collections::BTreeMap<Vec<u8>, u8>);
    impl taskqueue_core::Payload for Keyed {
        const TYPE: &'static str = "keyed";
    }
    let outcome = Outcome::done().then(Keyed([(vec![1], 1)].into()));
    assert!(matches!(outcome, Outcome::Fail { retry: Retry::Never, .. }), "{outcome:?}");
}

#[test]
fn what_is_settled_already_is_settled_by_no_queue_and_followed_by_nothing() {
    let settlements = vec![Settlement::new(lease(1, 3), Outcome::settled())];
    let refused = decide_batch(settlements, &RetryPolicy::default(), PAYLOAD_BYTES_MAX_DEFAULT).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let late = Outcome::settled().then(NewTask::raw("next", "{}").unwrap());
    assert!(matches!(late, Outcome::Fail { retry: Retry::Never, .. }), "{late:?}");
}

#[test]
fn a_row_that_stands_where_this_settle_puts_it_shows_a_repetition() {
    let retry = Transition::Retry { delay: SECOND, error: String::new() };
    let dead = Transition::DeadLetter { error: String::new() };
    let snooze = Transition::Snooze { delay: SECOND };
    let snooze_now = Transition::Snooze { delay: Duration::ZERO };
    // A retry or a snooze may have been promoted since; a running row was never settled.
    let cases: [(Transition, &[State]); 6] = [
        (Transition::Complete, &[State::Completed]),
        (retry, &[State::Failed, State::Ready]),
        (dead, &[State::DeadLetter]),
        (snooze, &[State::Delayed, State::Ready]),
        (snooze_now, &[State::Ready]),
        (Transition::Release, &[State::Ready]),
    ];
    for (transition, repeats) in cases {
        for state in State::ALL {
            assert_eq!(transition.is_repeat(state), repeats.contains(&state), "{transition:?} {state:?}");
        }
    }
}

#[test]
fn a_batch_is_decided_in_order() {
    let leases = [lease(1, 3), lease(1, 3)];
    let settlements = vec![
        Settlement::new(leases[0].clone(), Outcome::Release),
        Settlement::new(leases[1].clone(), Outcome::done()),
    ];
    let decisions = decide_batch(settlements, &RetryPolicy::default(), PAYLOAD_BYTES_MAX_DEFAULT).unwrap();
    let decided: Vec<_> =
        decisions.into_iter().map(|decision| (decision.lease, decision.transition)).collect();
    let [first, second] = leases;
    assert_eq!(decided, [(first, Transition::Release), (second, Transition::Complete)]);
}

#[test]
fn a_batch_with_a_task_twice_too_many_rows_or_a_bad_follow_up_is_refused() {
    let refused = |settlements| {
        decide_batch(settlements, &RetryPolicy::default(), PAYLOAD_BYTES_MAX_DEFAULT).unwrap_err().kind()
    };
    let once = Settlement::new(lease(1, 3), Outcome::done());
    assert_eq!(refused(vec![once.clone(), once]), ErrorKind::InvalidInput);
    let release = |_| Settlement::new(lease(1, 3), Outcome::Release);
    assert_eq!(refused((0..=BATCH_MAX).map(release).collect()), ErrorKind::InvalidInput);
    let bad = NewTask::raw("next", "{}").unwrap().max_retries(0);
    assert_eq!(
        refused(vec![Settlement::new(lease(1, 3), Outcome::done().then(bad))]),
        ErrorKind::InvalidInput
    );
}

/// Copies of a task share its payload.
#[test]
fn follow_ups_of_a_whole_batch_have_payloads_of_no_more_than_the_limit_together() {
    let json = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX_DEFAULT - 2));
    let large = NewTask::raw("next", json).unwrap();
    let completions = |count| {
        let complete = |_| Settlement::new(lease(1, 3), Outcome::done().then(large.clone()));
        decide_batch((0..count).map(complete).collect(), &RetryPolicy::default(), PAYLOAD_BYTES_MAX_DEFAULT)
    };
    let most = BATCH_PAYLOAD_BYTES_MAX / PAYLOAD_BYTES_MAX_DEFAULT;
    assert_eq!(completions(most).unwrap().len(), most);
    assert_eq!(completions(most + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_error_text_of_exactly_the_limit_is_kept_whole() {
    let text = "x".repeat(LAST_ERROR_BYTES_MAX);
    assert_eq!(shorten(text.clone()), text);
    let cut = shorten(text + "x");
    assert!(cut.ends_with(" … (cut)") && cut.len() == LAST_ERROR_BYTES_MAX, "{} bytes", cut.len());
}

#[test]
fn an_error_text_is_never_cut_within_a_character() {
    for lead in 0..4 {
        let cut = shorten(format!("{}{}", "x".repeat(lead), "🦀".repeat(LAST_ERROR_BYTES_MAX)));
        let kept = cut.strip_suffix(" … (cut)").unwrap();
        assert!(kept.trim_start_matches('x').chars().all(|char| char == '🦀'));
        assert!(cut.len() <= LAST_ERROR_BYTES_MAX && cut.len() > LAST_ERROR_BYTES_MAX - 4, "{}", cut.len());
    }
}

proptest! {
    #[test]
    fn a_stored_error_text_fits_has_no_nul_and_begins_as_it_was(text in any::<String>(), times in 1..2000_usize) {
        let text = text.repeat(times);
        let stored = shorten(text.clone());
        prop_assert!(stored.len() <= LAST_ERROR_BYTES_MAX);
        prop_assert!(!stored.contains('\0'));
        let kept = stored.strip_suffix(" … (cut)").unwrap_or(&stored);
        let without_nul = text.replace('\0', "\u{fffd}");
        prop_assert!(without_nul.starts_with(kept));
    }

    #[test]
    fn a_failure_is_retried_exactly_while_attempts_remain(attempt in 1..10_u32, max_retries in 1..10_u32) {
        let decision = decide(lease(attempt, max_retries), Outcome::fail("oh"));
        prop_assert_eq!(decision.transition.state() == State::Failed, attempt < max_retries);
    }
}

#[test]
fn a_follow_up_of_what_is_no_completion_is_a_permanent_failure_that_says_why() {
    let next = NewTask::raw("next", "{}").unwrap();
    for outcome in [Outcome::snooze(SECOND), Outcome::Release, Outcome::settled()] {
        let Outcome::Fail { error, retry: Retry::Never } = outcome.then(next.clone()) else {
            panic!("it is lost")
        };
        assert!(error.contains("follow-up task of an outcome"), "{error}");
    }
    assert_eq!(Outcome::permanent("no disk").then(next), Outcome::permanent("no disk"), "it says enough");
}

#[test]
fn a_follow_up_of_a_failure_leaves_its_retry_as_it_is_and_is_told_of() {
    let next = NewTask::raw("next", "{}").unwrap();
    for (failure, expected) in [
        (Outcome::fail("no disk"), Retry::ByPolicy),
        (Outcome::retry_after("no disk", SECOND), Retry::After(SECOND)),
    ] {
        let outcome = failure.then(next.clone());
        let Outcome::Fail { error, retry } = &outcome else { panic!("it is a failure: {outcome:?}") };
        assert_eq!(*retry, expected);
        assert!(error.starts_with("no disk; follow-up task"), "{error}");
        assert_eq!(outcome.clone().then(next.clone()), outcome, "once is enough");
    }
}

#[test]
fn a_clone_of_a_follow_up_is_a_permanent_failure_that_says_why() {
    let next = NewTask::raw("next", "{}").unwrap();
    let Outcome::Fail { error, retry: Retry::Never } = Outcome::done().then(next.clone()).then(next) else {
        panic!("one of them is lost")
    };
    assert!(error.contains("clones") && error.contains("type next"), "{error}");
}

#[test]
fn clones_among_follow_ups_that_were_put_together_by_hand_are_refused() {
    let decide = |outcome| {
        let settlements = vec![Settlement::new(lease(1, 3), outcome)];
        decide_batch(settlements, &RetryPolicy::default(), PAYLOAD_BYTES_MAX_DEFAULT)
    };
    let next = NewTask::raw("next", "{}").unwrap();
    let refused = decide(Outcome::Complete { follow_ups: vec![next.clone(), next.clone()] }).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("clones"), "{refused}");

    decide(Outcome::done().then(next.copy_with_new_id()).then(next.clone())).unwrap();
    let given = next.id(TaskId::generate());
    decide(Outcome::done().then(given.clone()).then(given)).expect("an id that was given is meant");
}
