//! The one list of all behaviours, and the macro that makes a test of each. It knows no backend.

mod cancel;
mod cleanup;
mod close;
mod dead_letter;
mod drop_safety;
mod enqueue;
mod exclusivity;
mod fencing;
mod follow_ups;
mod heartbeat;
mod histories;
mod idempotence;
mod limits;
mod listing;
mod ordering;
mod pausing;
mod reclaim;
mod retry;
mod run_now;
mod scheduling;
mod settle;
mod stats;
mod uniqueness;

use std::future::Future;
use std::pin::Pin;

use crate::{Harness, Verdict};

/// A behaviour that is being checked.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// A behaviour that every backend has.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// What it is about.
    pub group: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Checks it on a fresh queue. Needs a runtime with several threads.
    pub run: for<'a> fn(&'a dyn Harness) -> Checking<'a>,
}

/// Makes a named test of every behaviour, run on this harness:
///
/// ```
/// use taskqueue_conformance::ModelHarness;
///
/// taskqueue_conformance::suite!(ModelHarness);
/// ```
#[macro_export]
macro_rules! suite {
    ($harness:expr) => {
        $crate::__behaviours! { [$crate::__tests] [$harness] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$harness:expr] $($group:ident { $($name:ident)* })*) => {
        $(
            mod $group {
                #[allow(unused_imports, reason = "a harness may be named by its path")]
                use super::*;
                $(
                    #[test]
                    fn $name() {
                        $crate::check(&$harness, stringify!($group), stringify!($name));
                    }
                )*
            }
        )*
    };
}

macro_rules! list {
    ([] $($group:ident { $($name:ident)* })*) => {
        /// Every behaviour, group by group.
        pub const BEHAVIOURS: &[Behaviour] = &[
            $($(Behaviour {
                group: stringify!($group),
                name: stringify!($name),
                run: |harness| Box::pin($group::$name(harness)),
            },)*)*
        ];

        /// Each group's source, to be compared with the list.
        #[cfg(test)]
        const SOURCES: &[(&str, &str)] =
            &[$((stringify!($group), include_str!(concat!("behaviour/", stringify!($group), ".rs")))),*];
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __behaviours {
    ([$($callback:tt)*] [$($harness:expr)?]) => {
        $($callback)*! {
            [$($harness)?]
            enqueue {
                a_plain_task_is_pending_now_with_the_defaults
                every_field_that_was_given_comes_back
                a_claim_and_a_listing_carry_the_same_task_as_get
                payload_text_comes_back_byte_for_byte
                a_payload_stays_as_it_is_through_a_whole_life
                a_payload_of_exactly_the_limit_comes_back
                the_payload_limit_can_be_configured_and_counts_bytes
                a_batch_is_answered_in_its_order
                a_batch_may_mix_types_times_and_priorities
                an_empty_batch_is_answered_with_nothing
                a_batch_with_one_bad_task_stores_nothing
                any_uuid_is_an_id
                a_typed_payload_is_enqueued_by_itself
                get_of_an_unknown_id_is_task_not_found
                a_task_survives_the_instance_that_enqueued_it
                another_instance_claims_what_this_one_enqueued
                enqueue_rouses_those_who_listen
            }
            ordering {
                a_higher_priority_is_claimed_first
                within_a_priority_the_earlier_time_is_claimed_first
                priority_goes_before_time
                a_batch_is_claimed_in_its_order
                calls_are_claimed_in_their_order
                equal_times_go_by_insertion_order
                types_are_claimed_in_one_order
                only_the_types_asked_for_are_claimed
                a_type_asked_for_twice_is_claimed_once
                a_worker_of_very_many_types_gets_its_tasks
                a_claim_takes_no_more_than_its_limit
                a_claim_over_several_types_takes_no_more_than_its_limit
                an_empty_queue_gives_nothing
                a_task_below_every_cursor_is_claimed
                what_goes_in_behind_the_last_claim_is_claimed_before_the_rest
                what_goes_in_behind_the_last_claim_is_claimed_when_nothing_is_ahead
                promoted_tasks_are_claimed_earliest_due_first
                a_promoted_task_goes_behind_those_that_were_ready
                a_released_task_goes_behind_those_that_were_ready
                tasks_released_in_one_call_keep_its_order
                several_workers_start_claims_in_one_order
            }
            scheduling {
                a_delayed_task_is_pending_and_not_claimed_before_its_time
                a_delay_counts_from_the_queues_clock
                a_queue_tells_the_time_that_its_delays_follow
                a_task_scheduled_in_the_past_keeps_its_time_and_runs_now
                a_task_scheduled_for_this_very_moment_is_ready
                a_task_is_due_at_its_time_and_not_a_microsecond_before
                times_keep_their_microseconds
                a_claim_of_many_does_not_promote
                a_claim_of_one_promotes_what_is_due
                promotion_takes_the_earliest_due_first_up_to_its_limit
                promotion_changes_nothing_but_the_state_and_the_time_of_change
                delayed_and_failed_tasks_are_promoted_in_one_order
                promotion_reaches_every_type
                a_delay_beyond_the_longest_is_refused_and_the_longest_is_kept
                what_becomes_ready_rouses_those_who_listen
            }
            exclusivity {
                claims_of_one_at_once_never_share_a_task
                claims_of_many_at_once_never_share_a_task
                claims_over_several_types_at_once_never_share_a_task
                extra_claims_share_no_task_and_leave_none_behind
                enqueue_claim_and_settle_at_once_lose_nothing
                one_settle_of_many_at_once_is_applied
                of_different_settles_at_once_one_wins
                of_a_cancel_and_a_completion_at_once_one_wins
                enqueues_at_once_each_get_their_own_answer
                one_enqueue_of_an_id_at_once_creates_it
                one_enqueue_of_a_unique_key_at_once_takes_it
                reclaims_at_once_take_each_task_back_once
                promotions_at_once_promote_each_task_once
                redrives_and_cleanups_at_once_take_each_dead_letter_once
                a_heartbeat_and_a_reclaim_at_once_agree
                a_claim_by_another_worker_sees_no_running_task
            }
            settle {
                a_claim_makes_the_task_running
                a_lease_names_the_claim
                each_claim_has_a_new_token_and_the_next_number
                complete_makes_it_completed
                fail_with_attempts_left_makes_it_failed
                a_permanent_failure_makes_it_a_dead_letter
                snooze_puts_it_off_and_gives_the_attempt_back
                snooze_of_no_time_makes_it_ready_at_once
                release_makes_it_ready_and_gives_the_attempt_back
                the_last_error_stays_when_a_later_attempt_completes
                a_batch_is_settled_each_by_its_outcome_and_answered_in_order
                a_large_batch_of_one_outcome_is_settled_whole
                completions_beside_a_lost_lease_are_applied_and_counted_once
                a_lost_lease_is_not_taken_for_the_one_of_its_task_that_the_batch_comes_with
                an_empty_batch_of_settles_is_answered_with_nothing
                a_task_settled_twice_in_one_batch_is_refused_whole
                a_settle_of_a_task_that_is_gone_is_a_lost_lease
                the_time_of_a_settle_decides_nothing_about_other_tasks
                a_long_error_is_cut_at_a_character_and_marked
                an_error_text_of_any_characters_is_kept
                another_instance_settles_a_claim_of_this_one
            }
            follow_ups {
                follow_ups_are_enqueued_with_the_completion
                many_follow_ups_are_claimed_in_their_order
                a_lone_follow_up_goes_behind_what_its_batch_makes_ready
                a_lost_lease_enqueues_no_follow_up
                in_a_batch_only_those_of_live_leases_are_enqueued
                a_repeated_settle_enqueues_them_once
                a_bad_follow_up_leaves_the_whole_batch_unsettled
                a_follow_up_whose_id_is_taken_is_passed_over
                a_follow_up_whose_key_is_held_is_passed_over
                a_task_can_be_followed_by_one_with_its_own_key
                only_a_completion_has_follow_ups
                a_chain_runs_to_its_end
            }
            fencing {
                a_stale_worker_cannot_settle_a_reclaimed_task
                a_stale_worker_cannot_settle_the_next_workers_run
                a_released_lease_cannot_settle_the_next_workers_run
                a_failed_lease_cannot_settle_the_retry
                a_cancelled_task_cannot_be_settled
                a_lease_from_before_a_redrive_is_lost
                a_task_reclaimed_into_the_dead_letters_cannot_be_settled
                a_token_that_was_never_given_settles_nothing
                no_token_settles_a_task_that_was_never_claimed
                the_token_of_one_task_settles_no_other
                a_live_token_in_a_batch_settles_no_stale_lease_beside_it
                the_single_calls_say_lease_lost_and_that_repeating_is_no_use
                a_lease_that_ended_but_was_not_reclaimed_still_settles
                the_lease_number_rises_with_each_claim_and_never_falls
            }
            heartbeat {
                a_heartbeat_extends_the_lease_from_now
                a_heartbeat_changes_nothing_that_users_see
                a_heartbeat_may_say_for_how_long
                a_batch_of_heartbeats_is_answered_in_order
                a_lease_that_ended_is_live_again_until_it_is_reclaimed
                each_way_of_ending_a_run_loses_the_lease
                a_claim_may_say_how_long_its_lease_lasts
                the_visibility_timeout_can_be_configured
                the_visibility_timeout_is_five_minutes_by_default
                another_instance_extends_a_claim_of_this_one
            }
            reclaim {
                a_task_whose_lease_ended_is_ready_again
                a_lease_ends_at_its_time_and_not_a_microsecond_before
                only_running_tasks_are_reclaimed
                a_reclaim_takes_the_earliest_lease_ends_first_up_to_its_limit
                a_reclaimed_task_goes_behind_those_that_were_ready
                a_task_whose_attempts_are_used_up_becomes_a_dead_letter
                a_poison_task_is_reclaimed_no_more_often_than_the_cap
                the_cap_of_reclaims_can_be_configured
                a_poison_task_is_stopped_by_its_attempts_too
                reclaim_reaches_every_type
                a_claim_does_not_reclaim
                a_settled_task_is_not_reclaimed
                what_a_dead_process_held_is_reclaimed_by_another
            }
            retry {
                a_failed_task_waits_as_the_policy_says
                the_default_backs_off_exponentially_with_jitter
                an_error_can_carry_its_own_delay
                a_failed_task_is_not_claimed_before_its_time
                a_promoted_retry_is_pending_and_has_no_retry_time
                a_retry_without_delay_is_failed_and_due_at_once
                the_last_attempt_that_fails_makes_a_dead_letter
                three_attempts_are_the_default
                a_delay_of_its_own_does_not_add_an_attempt
                snooze_and_release_never_use_attempts_up
                a_retry_delay_beyond_all_bounds_is_taken_as_the_longest
            }
            dead_letter {
                a_dead_letter_stays_until_somebody_decides
                redrive_makes_it_pending_with_nothing_counted
                a_redriven_task_goes_behind_those_that_were_ready
                redrive_by_id_passes_over_all_that_is_no_dead_letter
                an_id_named_twice_is_redriven_once
                redrive_of_any_keeps_to_its_limit
                redrive_of_a_type_leaves_the_others
                redrive_takes_the_unique_key_again
                a_dead_letter_whose_key_is_held_stays_and_is_not_counted
                of_two_dead_letters_with_one_key_one_is_redriven
                held_keys_do_not_use_up_the_limit_of_a_redrive_by_id
                a_redriven_task_can_fail_and_be_redriven_again
            }
            cancel {
                a_pending_task_is_cancelled
                a_running_task_is_cancelled
                a_failed_task_is_cancelled
                a_delayed_task_is_cancelled
                a_finished_task_stays_what_it_is
                cancel_of_an_unknown_id_is_task_not_found
                a_cancelled_run_loses_its_lease
                a_cancel_of_a_running_task_is_told_to_those_who_listen
                another_instance_cancels_what_this_one_runs
            }
            uniqueness {
                a_second_task_with_the_key_is_a_duplicate_of_the_first
                an_unfinished_task_holds_its_key
                a_finished_task_holds_no_key
                a_key_is_held_through_every_way_back_to_pending
                a_reclaim_into_the_dead_letters_gives_the_key_free
                keys_of_different_types_do_not_meet
                keys_are_compared_byte_for_byte
                an_unfinished_task_is_found_by_its_key
                a_finished_task_is_not_found_by_its_key
                a_redriven_task_is_found_by_its_key_again
                a_task_is_found_by_its_own_key_and_type_alone
                a_task_can_be_cancelled_by_its_key
                another_instance_finds_a_task_by_its_key
                within_a_batch_the_first_with_a_key_wins
                tasks_without_a_key_never_meet
                a_key_can_be_held_again_and_again
                a_key_is_held_across_instances
            }
            listing {
                tasks_are_listed_by_id_from_the_highest
                a_status_lets_only_its_tasks_through
                type_and_region_let_only_their_tasks_through
                all_filters_hold_together
                pages_show_every_task_once
                pages_of_a_filter_show_every_match_once
                tasks_that_come_between_pages_shift_no_page
                after_may_name_an_id_that_is_not_there
                an_offset_passes_over_matching_tasks
                an_empty_queue_lists_nothing
                a_hundred_tasks_are_a_page_by_default
            }
            stats {
                an_empty_queue_counts_nothing
                each_status_is_counted
                unfinished_tasks_are_counted_by_type
                dead_letters_are_counted_by_type
                the_mean_processing_time_is_from_claim_to_completion
                the_oldest_pending_task_is_the_one_that_has_been_ready_longest
                a_task_for_later_is_not_the_oldest_pending_one
                a_redriven_task_waits_from_its_redrive
                a_promoted_retry_waits_from_its_promotion
                a_claim_says_since_when_its_task_was_ready
                counts_follow_every_change
                a_refused_or_repeated_call_changes_no_count
            }
            cleanup {
                every_finished_status_is_removed_and_no_other
                only_tasks_of_the_statuses_asked_for_are_removed
                dead_letters_that_stay_do_not_keep_others_from_being_removed
                the_age_counts_from_the_end_not_from_the_enqueue
                a_task_of_exactly_the_age_is_removed
                an_age_of_nothing_removes_all_that_is_finished
                an_age_beyond_all_bounds_removes_nothing
                no_more_go_than_the_limit_and_none_that_is_too_young
                a_task_that_was_redriven_is_not_removed
                the_id_of_a_removed_task_is_free_again
                a_settle_repeated_after_the_cleanup_is_a_lost_lease
            }
            close {
                every_call_on_a_closed_queue_says_so
                closing_twice_is_closing_once
                what_is_stored_stays
                closing_one_instance_leaves_the_others_open
                calls_in_flight_end_when_the_queue_is_closed
                the_queue_says_which_engine_it_is
            }
            limits {
                a_payload_over_a_mebibyte_is_invalid
                attempts_are_between_one_and_a_million
                a_task_is_scheduled_in_the_years_1_to_9999
                a_unique_key_is_one_to_two_hundred_bytes
                a_region_is_one_to_fifty_characters
                metadata_is_at_most_sixteen_kibibytes
                the_longest_names_are_stored_whole
                any_priority_is_stored
                ten_thousand_rows_are_the_most_of_one_call
                a_limit_is_one_to_ten_thousand
                a_redrive_names_at_most_ten_thousand_ids
                a_claim_names_at_least_one_type
                a_visibility_timeout_is_at_least_a_millisecond
                the_longest_lease_never_ends
                an_offset_beyond_all_bounds_is_invalid
                what_is_no_json_or_no_name_never_becomes_a_task
                a_full_queue_refuses_a_batch_whole_until_there_is_room
                a_repeat_and_a_duplicate_need_no_room
                follow_ups_beyond_the_capacity_leave_the_task_running
            }
            idempotence {
                an_enqueue_of_an_id_that_exists_is_repeated_and_changes_nothing
                an_enqueue_is_repeated_in_whatever_status_the_task_is
                a_batch_may_be_repeated_in_part
                an_id_twice_in_one_batch_is_created_once
                an_id_is_looked_at_before_its_key
                each_settle_can_be_repeated
                a_settle_can_be_repeated_after_its_promotion
                a_different_settle_of_a_settled_run_is_a_lost_lease
                a_batch_of_settles_can_be_repeated_in_part
            }
            drop_safety {
                an_enqueue_that_is_dropped_can_be_repeated
                a_settle_that_is_dropped_can_be_repeated
                a_claim_that_is_dropped_loses_no_task
                calls_that_are_dropped_leave_no_transaction_open
                many_callers_that_give_up_do_not_starve_the_next
                a_call_that_is_polled_no_further_keeps_nobody_waiting
                a_policy_that_panics_leaves_the_task_running_and_the_queue_usable
            }
            run_now {
                a_delayed_task_that_is_run_now_runs_at_once_and_once
                a_failed_task_that_is_run_now_runs_at_once_and_once
                a_task_whose_time_has_come_already_keeps_it
                what_is_run_now_goes_behind_those_that_were_ready
                tasks_that_are_run_now_in_one_call_keep_the_order_of_its_ids
                run_now_keeps_the_priority
                a_task_that_is_run_now_is_claimed_wherever_claims_have_come_to
                run_now_passes_over_all_that_does_not_wait
                run_now_leaves_a_running_task_its_lease
                an_id_named_twice_is_run_now_once
                a_task_that_is_run_now_holds_its_unique_key
                ten_thousand_ids_are_the_most_of_one_run_now
                a_settle_can_be_repeated_after_its_task_was_run_now
                run_now_rouses_those_who_listen
                another_instance_claims_what_this_one_runs_now
                calls_of_run_now_at_once_make_each_task_ready_once
                run_now_and_promotions_at_once_make_each_task_ready_once
                of_run_now_and_cancels_at_once_each_cancelled_task_stays_so
                a_run_now_that_is_dropped_can_be_repeated
                retries_that_are_run_now_use_up_the_attempts
            }
            pausing {
                a_paused_type_is_not_claimed_until_it_is_resumed
                other_types_are_claimed_as_before
                everything_else_goes_on_while_a_type_is_paused
                paused_types_are_listed_in_order
                resume_once_undoes_any_number_of_pauses
                a_pause_holds_for_every_instance_and_outlives_its_own
            }
            histories {
                random_histories_agree_with_the_model
            }
        }
    };
}

__behaviours! { [list] [] }

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BEHAVIOURS, SOURCES};

    /// The names of the behaviours that a source file defines.
    fn written(source: &str) -> BTreeSet<&str> {
        let signatures = source.lines().filter_map(|line| line.strip_prefix("pub(crate) async fn "));
        signatures.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_behaviour_that_is_written_is_listed() {
        for (group, source) in SOURCES {
            let of_group = BEHAVIOURS.iter().filter(|behaviour| behaviour.group == *group);
            let listed: BTreeSet<&str> = of_group.map(|behaviour| behaviour.name).collect();
            assert_eq!(written(source), listed, "group {group}");
            assert!(!listed.is_empty(), "group {group}");
        }
    }

    #[test]
    fn every_file_of_behaviours_is_a_group_of_the_list() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/behaviour"));
        for file in folder.expect("the folder is there") {
            let path = file.expect("the folder can be read").path();
            let group = path.file_stem().and_then(|stem| stem.to_str()).expect("the name is plain");
            assert!(SOURCES.iter().any(|(listed, _)| *listed == group), "{group} is not listed");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let names: BTreeSet<&str> = BEHAVIOURS.iter().map(|behaviour| behaviour.name).collect();
        assert_eq!(names.len(), BEHAVIOURS.len(), "a name says of which behaviour docs/guarantees.md speaks");
    }
}
