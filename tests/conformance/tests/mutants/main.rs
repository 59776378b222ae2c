//! The suite can fail: each queue here breaks one promise, and the behaviours that speak of it see that.

mod fault;
mod harness;
mod mutant;

use fault::Fault;
use harness::MutantHarness;
use taskqueue_conformance::{BEHAVIOURS, Report, run};

/// A behaviour that draws its histories at random may miss a fault in one run; it may not in so many.
const RUNS_MAX: usize = 20;

/// Asserts that these behaviours fail on a queue with this fault.
fn assert_caught(fault: Fault, by: &[&str]) {
    for name in by {
        let behaviour = BEHAVIOURS.iter().find(|behaviour| behaviour.name == *name).expect("it is listed");
        let sees = |_| matches!(run(&MutantHarness(fault), behaviour), Report::Failed(_));
        assert!((0..RUNS_MAX).any(sees), "{name} does not see that {fault:?}");
    }
}

#[test]
fn a_wrapper_without_a_fault_passes_everything() {
    for behaviour in BEHAVIOURS {
        assert_eq!(run(&MutantHarness(Fault::None), behaviour), Report::Passed, "{}", behaviour.name);
    }
}

/// One test for each fault: its name, the fault, and the behaviours that must fail.
macro_rules! caught {
    ($($name:ident: $fault:ident by $($behaviour:ident)+;)*) => {
        $(
            #[test]
            fn $name() {
                assert_caught(Fault::$fault, &[$(stringify!($behaviour)),+]);
            }
        )*
    };
}

caught! {
    settles_that_are_not_fenced_are_caught: SettleIsNotFenced
        by a_stale_worker_cannot_settle_the_next_workers_run a_released_lease_cannot_settle_the_next_workers_run
        random_histories_agree_with_the_model;
    heartbeats_that_are_not_fenced_are_caught: HeartbeatIsNotFenced
        by a_stale_worker_cannot_settle_the_next_workers_run;
    heartbeats_that_do_nothing_are_caught: HeartbeatsDoNotExtend
        by a_heartbeat_extends_the_lease_from_now a_heartbeat_may_say_for_how_long
        random_histories_agree_with_the_model;
    another_clock_than_that_of_delays_is_caught: AnotherClockIsTold
        by a_queue_tells_the_time_that_its_delays_follow;
    a_cancel_without_completed_at_is_caught: CancelSetsNoCompletedAt
        by a_pending_task_is_cancelled a_running_task_is_cancelled a_failed_task_is_cancelled
        random_histories_agree_with_the_model;
    reclaims_without_a_cap_are_caught: ReclaimIsNotCapped
        by a_poison_task_is_reclaimed_no_more_often_than_the_cap the_cap_of_reclaims_can_be_configured
        random_histories_agree_with_the_model;
    claims_handed_out_twice_are_caught: ClaimsAreHandedOutTwice
        by claims_of_one_at_once_never_share_a_task claims_of_many_at_once_never_share_a_task;
    claims_over_their_limit_are_caught: ClaimsExceedTheirLimit
        by a_claim_takes_no_more_than_its_limit
        random_histories_agree_with_the_model;
    claims_type_by_type_are_caught: ClaimsIgnoreTheOrderAcrossTypes
        by types_are_claimed_in_one_order random_histories_agree_with_the_model;
    follow_ups_outside_the_settle_are_caught: FollowUpsComeBeforeTheSettle
        by a_lost_lease_enqueues_no_follow_up a_repeated_settle_enqueues_them_once
        a_bad_follow_up_leaves_the_whole_batch_unsettled
        random_histories_agree_with_the_model;
    follow_ups_in_a_transaction_of_their_own_are_caught: FollowUpsComeAfterTheSettle
        by a_settle_that_is_dropped_can_be_repeated a_bad_follow_up_leaves_the_whole_batch_unsettled
        follow_ups_beyond_the_capacity_leave_the_task_running;
    follow_ups_of_a_repeat_are_caught: FollowUpsOfARepeatAreEnqueued
        by a_repeated_settle_enqueues_them_once one_settle_of_many_at_once_is_applied;
    a_repeat_that_is_called_lost_is_caught: ARepeatIsALostLease
        by each_settle_can_be_repeated a_settle_can_be_repeated_after_its_promotion
        random_histories_agree_with_the_model;
    a_batch_out_of_order_is_caught: ABatchIsStoredInReverse
        by a_batch_is_claimed_in_its_order within_a_batch_the_first_with_a_key_wins
        random_histories_agree_with_the_model;
    a_batch_in_part_is_caught: ABatchIsStoredInPart
        by a_batch_with_one_bad_task_stores_nothing a_full_queue_refuses_a_batch_whole_until_there_is_room;
    an_enqueue_dropped_half_done_is_caught: AnEnqueueCanBeDroppedHalfDone
        by an_enqueue_that_is_dropped_can_be_repeated;
    an_id_created_again_is_caught: AnExistingIdIsCreatedAgain
        by an_enqueue_of_an_id_that_exists_is_repeated_and_changes_nothing one_enqueue_of_an_id_at_once_creates_it
        random_histories_agree_with_the_model;
    delays_that_are_ignored_are_caught: DelaysAreIgnored
        by a_delayed_task_is_pending_and_not_claimed_before_its_time
        random_histories_agree_with_the_model;
    a_snooze_that_costs_an_attempt_is_caught: SnoozeCostsAnAttempt
        by snooze_puts_it_off_and_gives_the_attempt_back snooze_and_release_never_use_attempts_up
        random_histories_agree_with_the_model;
    a_release_that_moves_the_schedule_is_caught: ReleaseIsASnooze
        by release_makes_it_ready_and_gives_the_attempt_back
        random_histories_agree_with_the_model;
    keys_that_are_never_released_are_caught: KeysAreNeverReleased
        by a_finished_task_holds_no_key a_key_can_be_held_again_and_again
        random_histories_agree_with_the_model;
    keys_that_meet_across_types_are_caught: KeysMeetAcrossTypes
        by keys_of_different_types_do_not_meet
        random_histories_agree_with_the_model;
    finished_tasks_that_are_found_by_their_keys_are_caught: FinishedTasksAreFoundByTheirKeys
        by a_finished_task_is_not_found_by_its_key random_histories_agree_with_the_model;
    a_listing_that_skips_a_row_is_caught: ListSkipsARow
        by pages_show_every_task_once tasks_that_come_between_pages_shift_no_page;
    payloads_that_are_normalised_are_caught: SpacesInPayloadsAreLost
        by payload_text_comes_back_byte_for_byte a_payload_stays_as_it_is_through_a_whole_life;
    a_payload_limit_off_by_one_is_caught: TheLargestPayloadIsRefused
        by a_payload_of_exactly_the_limit_comes_back the_payload_limit_can_be_configured_and_counts_bytes;
    a_limit_that_is_not_checked_is_caught: ALimitOfNothingIsTaken
        by a_limit_is_one_to_ten_thousand;
    a_capacity_that_is_ignored_is_caught: CapacityIsIgnored
        by a_full_queue_refuses_a_batch_whole_until_there_is_room
        follow_ups_beyond_the_capacity_leave_the_task_running;
    a_cleanup_without_a_limit_is_caught: CleanupIgnoresItsLimit
        by no_more_go_than_the_limit_and_none_that_is_too_young;
    a_cleanup_of_every_status_is_caught: CleanupIgnoresItsStatuses
        by only_tasks_of_the_statuses_asked_for_are_removed
        dead_letters_that_stay_do_not_keep_others_from_being_removed
        random_histories_agree_with_the_model;
    a_redrive_of_every_type_is_caught: RedriveIgnoresTheType
        by redrive_of_a_type_leaves_the_others;
    a_retry_policy_that_is_ignored_is_caught: TheRetryPolicyIsIgnored
        by a_failed_task_waits_as_the_policy_says the_default_backs_off_exponentially_with_jitter
        random_histories_agree_with_the_model;
    a_pause_that_does_nothing_is_caught: PauseDoesNothing
        by a_paused_type_is_not_claimed_until_it_is_resumed paused_types_are_listed_in_order
        random_histories_agree_with_the_model;
    a_close_that_does_nothing_is_caught: CloseDoesNothing
        by every_call_on_a_closed_queue_says_so;
    a_close_under_a_call_is_caught: CloseBreaksCallsInFlight
        by calls_in_flight_end_when_the_queue_is_closed;
    stale_statistics_are_caught: StatisticsAreStale
        by counts_follow_every_change
        random_histories_agree_with_the_model;
    priorities_that_are_ignored_are_caught: PrioritiesAreIgnored
        by a_higher_priority_is_claimed_first priority_goes_before_time any_priority_is_stored
        random_histories_agree_with_the_model;
    metadata_that_is_lost_is_caught: MetadataIsLost
        by every_field_that_was_given_comes_back metadata_is_at_most_sixteen_kibibytes;
    errors_that_are_lost_are_caught: ErrorsAreLost
        by fail_with_attempts_left_makes_it_failed the_last_error_stays_when_a_later_attempt_completes
        random_histories_agree_with_the_model;
    claims_that_ignore_their_timeout_are_caught: ClaimsIgnoreTheirTimeout
        by a_claim_may_say_how_long_its_lease_lasts;
    a_visibility_timeout_that_is_ignored_is_caught: TheVisibilityTimeoutIsIgnored
        by the_visibility_timeout_can_be_configured;
    a_token_that_settles_any_task_is_caught: ATokenSettlesAnyTask
        by the_token_of_one_task_settles_no_other;
    lost_leases_that_are_extended_are_caught: LostLeasesAreExtended
        by each_way_of_ending_a_run_loses_the_lease a_cancelled_run_loses_its_lease;
    reclaims_over_their_limit_are_caught: ReclaimsIgnoreTheirLimit
        by a_reclaim_takes_the_earliest_lease_ends_first_up_to_its_limit
        random_histories_agree_with_the_model;
    promotions_over_their_limit_are_caught: PromotionsIgnoreTheirLimit
        by promotion_takes_the_earliest_due_first_up_to_its_limit
        random_histories_agree_with_the_model;
    a_run_now_that_does_nothing_is_caught: RunNowDoesNothing
        by a_delayed_task_that_is_run_now_runs_at_once_and_once a_failed_task_that_is_run_now_runs_at_once_and_once
        run_now_keeps_the_priority
        random_histories_agree_with_the_model;
    a_run_now_that_counts_too_many_is_caught: RunNowCountsTwice
        by an_id_named_twice_is_run_now_once calls_of_run_now_at_once_make_each_task_ready_once
        run_now_and_promotions_at_once_make_each_task_ready_once
        random_histories_agree_with_the_model;
    a_run_now_of_dead_letters_is_caught: RunNowIsARedriveToo
        by run_now_passes_over_all_that_does_not_wait retries_that_are_run_now_use_up_the_attempts
        random_histories_agree_with_the_model;
    a_resume_that_does_nothing_is_caught: ResumeDoesNothing
        by a_paused_type_is_not_claimed_until_it_is_resumed resume_once_undoes_any_number_of_pauses;
    tasks_that_end_with_their_instance_are_caught: NothingOutlivesItsInstance
        by a_task_survives_the_instance_that_enqueued_it another_instance_settles_a_claim_of_this_one
        another_instance_extends_a_claim_of_this_one a_key_is_held_across_instances;
}
