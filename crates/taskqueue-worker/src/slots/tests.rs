//! Who gets a slot, what waits for one, and what goes back.

use taskqueue_core::{
    Claim, Lease, LeaseToken, Priority, RawPayload, Status, Task, TaskId, TaskType, clock::Clock,
    clock::ManualClock,
};

use super::*;

fn claimed(handler: usize) -> Claimed {
    let now = ManualClock::default().now();
    let (id, task_type) = (TaskId::generate(), TaskType::new("t").expect("a valid type"));
    let task = Task {
        id,
        task_type: task_type.clone(),
        status: Status::Running,
        priority: Priority::NORMAL,
        payload: RawPayload::from_stored("1"),
        scheduled_at: now,
        started_at: Some(now),
        completed_at: None,
        attempts: 1,
        max_retries: 3,
        retry_after: None,
        last_error: None,
        created_at: now,
        updated_at: now,
        region: None,
        worker_id: None,
        unique_key: None,
        reclaims: 0,
        metadata: Default::default(),
    };
    let token = LeaseToken::generate();
    let lease = Lease {
        task_id: id,
        task_type,
        token,
        number: 1,
        attempt: 1,
        max_retries: 3,
        claimed_at: now,
        until: now,
    };
    Claimed { held: Held::new(Claim { task, lease, ready_at: now }, Instant::now()), handler }
}

fn admit(slots: &Slots, handlers: &[usize]) -> usize {
    admit_at(slots, handlers, Instant::now())
}

fn admit_at(slots: &Slots, handlers: &[usize], now: Instant) -> usize {
    let claimed = handlers.iter().map(|&handler| claimed(handler)).collect();
    slots.admit(claimed, now).map_or(0, |starting| starting.len())
}

fn ask(handlers: &[usize], limit: usize) -> Ask {
    Ask { handlers: handlers.to_vec(), limit }
}

#[test]
fn types_without_limits_share_one_claim_of_all_the_room() {
    let slots = Slots::new(4, Prefetch::new(Some(3)), vec![None, None]);
    assert_eq!(slots.plan(), [ask(&[0, 1], 7)]);
}

#[test]
fn a_limited_type_is_claimed_apart_unless_its_room_is_all_the_room() {
    let slots = Slots::new(4, Prefetch::new(Some(4)), vec![None, Some(2), Some(8)]);
    let mut asks = slots.plan();
    asks.sort_by_key(|ask| ask.limit);
    assert_eq!(asks, [ask(&[1], 2), ask(&[0, 2], 8)]);
}

#[test]
fn a_type_at_its_limit_is_left_out_until_one_of_its_tasks_is_done() {
    let slots = Slots::new(4, Prefetch::new(Some(0)), vec![None, Some(1)]);
    assert_eq!(admit(&slots, &[1]), 1);
    assert_eq!(slots.plan(), [ask(&[0], 3)]);
    assert!(slots.finish(1).is_none());
    assert!(slots.plan().contains(&ask(&[1], 1)));
}

#[test]
fn which_claim_goes_first_changes_from_plan_to_plan() {
    let slots = Slots::new(4, Prefetch::new(Some(0)), vec![Some(1), Some(1), None]);
    let firsts: Vec<Ask> = (0..3).map(|_| slots.plan().remove(0)).collect();
    for wanted in [ask(&[0], 1), ask(&[1], 1), ask(&[2], 4)] {
        assert!(firsts.contains(&wanted), "{firsts:?}");
    }
}

#[test]
fn a_dry_type_is_left_out_until_something_may_have_changed() {
    let slots = Slots::new(2, Prefetch::new(Some(0)), vec![None, None]);
    slots.mark(&[0], true);
    assert_eq!(slots.plan(), [ask(&[1], 2)]);
    slots.mark(&[1], true);
    assert!(slots.plan().is_empty() && slots.all_dry());
    slots.refresh();
    assert_eq!(slots.plan(), [ask(&[0, 1], 2)]);
}

#[test]
fn while_tasks_are_waiting_a_claim_is_put_off_until_half_the_prefetch_is_gone() {
    let slots = Slots::new(2, Prefetch::new(Some(4)), vec![None]);
    assert_eq!(admit(&slots, &[0; 6]), 2);
    assert!(slots.finish(0).is_some());
    assert!(slots.plan().is_empty(), "one of four is gone");
    assert!(slots.finish(0).is_some());
    assert_eq!(slots.plan(), [ask(&[0], 2)]);
}

#[test]
fn of_a_long_prefetch_what_can_be_claimed_at_once_is_made_good_while_the_rest_waits() {
    for concurrency in [1, 2] {
        let most = claimed_max(concurrency);
        let slots = Slots::new(concurrency, Prefetch::new(Some(4 * most)), vec![None]);
        admit(&slots, &vec![0; 4 * most + concurrency]);
        for _ in 1..most {
            assert!(slots.finish(0).is_some());
            assert!(slots.plan().is_empty(), "less than can be claimed at once is gone");
        }
        assert!(slots.finish(0).is_some());
        assert_eq!(slots.plan(), [ask(&[0], most)]);
    }
}

#[test]
fn a_finished_task_hands_its_slot_to_one_that_waits_or_frees_it() {
    let slots = Slots::new(1, Prefetch::new(Some(1)), vec![None]);
    assert_eq!(admit(&slots, &[0, 0]), 1);
    assert!(slots.finish(0).is_some());
    assert_eq!(slots.running(), 1);
    assert!(slots.finish(0).is_none());
    assert_eq!(slots.running(), 0);
}

#[test]
fn what_waits_for_too_long_is_taken_out_and_its_place_is_not_filled_again() {
    let (start, later) = (Instant::now(), Instant::now() + Duration::from_millis(1));
    let slots = Slots::new(2, Prefetch::new(None), vec![None]);
    admit_at(&slots, &[0; 2], start);
    assert!(slots.finish(0).is_none() && slots.finish(0).is_none());
    assert_eq!(admit_at(&slots, &[0; 4], later), 2);
    let overdue = slots.overdue_at().expect("two wait");
    assert!(overdue > later && slots.take_overdue(later).is_empty());
    assert_eq!(slots.take_overdue(overdue).len(), 2);
    assert!(slots.plan().is_empty() && slots.overdue_at().is_none());
    assert!(slots.finish(0).is_none());
    assert_eq!(slots.plan(), [ask(&[0], 1)]);
}

#[test]
fn closed_slots_give_back_what_waits_and_take_nothing_more() {
    let slots = Slots::new(1, Prefetch::new(Some(2)), vec![None]);
    admit(&slots, &[0, 0, 0]);
    assert_eq!(slots.close().len(), 2);
    let late = slots.admit(vec![claimed(0), claimed(0)], Instant::now());
    assert_eq!(late.map_or_else(|back| back.len(), |_| 0), 2);
    assert!(slots.finish(0).is_none());
    assert!(slots.plan().is_empty());
}
