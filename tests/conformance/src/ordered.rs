//! Which behaviours are not to be had where the tasks are spread over shards, since the order of claims then holds
//! within each shard. It knows no backend, and not what the order is.

/// The behaviours that are about one order over all tasks of a queue, or look at an answer that depends on it.
pub const ORDERED: &[&str] = &[
    "an_enqueue_that_is_dropped_can_be_repeated",
    "a_batch_may_mix_types_times_and_priorities",
    "a_batch_is_claimed_in_its_order",
    "calls_are_claimed_in_their_order",
    "equal_times_go_by_insertion_order",
    "types_are_claimed_in_one_order",
    "a_task_below_every_cursor_is_claimed",
    "a_promoted_task_goes_behind_those_that_were_ready",
    "a_released_task_goes_behind_those_that_were_ready",
    "tasks_released_in_one_call_keep_its_order",
    "several_workers_start_claims_in_one_order",
    "a_task_scheduled_for_this_very_moment_is_ready",
    "promotion_takes_the_earliest_due_first_up_to_its_limit",
    "delayed_and_failed_tasks_are_promoted_in_one_order",
    "many_follow_ups_are_claimed_in_their_order",
    "a_lone_follow_up_goes_behind_what_its_batch_makes_ready",
    "in_a_batch_only_those_of_live_leases_are_enqueued",
    "a_follow_up_whose_key_is_held_is_passed_over",
    "a_reclaim_takes_the_earliest_lease_ends_first_up_to_its_limit",
    "a_reclaimed_task_goes_behind_those_that_were_ready",
    "a_redriven_task_goes_behind_those_that_were_ready",
    "what_is_run_now_goes_behind_those_that_were_ready",
    "tasks_that_are_run_now_in_one_call_keep_the_order_of_its_ids",
    "within_a_batch_the_first_with_a_key_wins",
    "random_histories_agree_with_the_model",
];

#[cfg(test)]
mod tests {
    use super::ORDERED;
    use crate::BEHAVIOURS;

    #[test]
    fn what_is_about_order_is_listed() {
        for name in ORDERED {
            assert!(BEHAVIOURS.iter().any(|behaviour| behaviour.name == *name), "{name}");
        }
    }
}
