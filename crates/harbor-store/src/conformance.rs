//! What every store has to do, as tests that any store can run.
//!
//! Each behaviour is a function that is given a fresh [`World`]; its name is a sentence, and its module the
//! subject. [`conformance!`](crate::conformance!) makes a test of each:
//!
//! ```ignore
//! harbor_store::conformance!(|| World::new(async |clock, rng| {
//!     let database = fresh_database().await;
//!     (MyStore::open(&database, clock, rng).await, database)
//! }));
//! ```

#![expect(missing_docs, reason = "each function's name says what it tests")]
#![expect(clippy::unwrap_used, reason = "tests")]

pub mod world;

pub mod publish;

pub mod leasing;

pub mod finishing;

pub mod health;

pub mod workers;

pub mod breakers;

pub mod lanes;

pub mod listing;

pub mod summary;

pub mod registry;

pub mod sources;

pub mod directory;

pub mod enabling;

pub mod drains;

pub mod replaying;

pub mod interventions;

pub mod jobs;

pub mod upkeep;

pub mod retention;

pub mod purge;

pub mod notices;

pub mod quotas;

pub mod api_keys;

pub mod isolation;

pub use world::{Fresh, Store, World};

/// Makes a test of each behaviour. Takes an expression that makes a [`World`] when it is called and awaited;
/// or none, where the store needs something that is not there: then nothing is tested.
#[macro_export]
macro_rules! conformance {
    ($fresh:expr) => {
        $crate::conformance! { @modules $fresh;
            publish {
                what_was_published_can_be_read_byte_for_byte
                an_event_without_anything_optional_can_be_read
                an_event_of_an_unknown_tenant_is_refused
                a_fan_out_by_an_old_directory_is_refused_and_stores_nothing
                a_fan_out_that_depends_on_no_directory_is_taken
                the_same_key_again_answers_with_the_first_event
                a_key_for_another_event_is_refused
                a_key_is_free_again_when_its_window_is_over
                two_events_with_one_key_in_a_batch_are_one
                each_event_of_a_batch_has_its_own_answer
                a_batch_larger_than_a_transaction_is_stored_in_order
                a_delivery_that_is_born_leased_is_in_flight
                a_duplicate_lends_nothing
                a_publish_whose_caller_has_gone_leaves_its_deliveries_free
                a_claim_that_slides_holds_from_its_last_repeat_on
                a_claim_that_does_not_slide_ends_when_it_was_to
                another_event_does_not_move_the_end_of_a_claim
                a_late_repeat_of_an_earlier_time_does_not_shorten_a_claim
                two_repeats_in_a_batch_both_slide
            }
            leasing {
                only_endpoints_with_due_deliveries_are_named
                endpoints_are_named_in_steps_and_each_once
                an_endpoint_that_is_held_is_neither_named_nor_lent
                the_longest_due_are_lent_first_and_no_more_than_asked
                what_is_lent_says_what_it_is
                what_is_lent_is_not_lent_again_until_it_is_given_back
                those_who_lease_at_once_get_different_deliveries
                leases_are_known_by_their_worker
                events_are_loaded_in_the_order_of_the_asks
                a_backlog_counts_what_waits
            }
            finishing {
                each_outcome_moves_the_delivery_on
                what_was_tried_is_kept_as_it_was
                attempts_are_numbered_in_turn
                a_delivery_that_ends_without_a_request_has_no_attempt
                a_result_after_the_lease_was_lost_is_kept_and_counts_for_nothing
                a_lease_whose_end_is_recorded_is_over
                a_finished_delivery_is_never_lent_again_however_many_ask
                many_results_are_answered_in_their_order
                an_interruption_is_counted_and_has_no_record
            }
            health {
                an_endpoint_that_said_it_is_gone_is_disabled
                only_the_url_that_is_still_the_endpoints_can_disable_it
                an_endpoint_that_fails_for_days_is_disabled
                one_success_makes_up_for_days_of_failures
                a_new_url_begins_without_failures
                an_endpoint_that_is_enabled_begins_without_failures
                an_endpoint_is_disabled_once
                what_is_said_of_an_endpoint_moves_its_lane_too
            }
            workers {
                a_worker_that_is_not_enlisted_is_lent_nothing
                a_beat_raises_its_own_counter_alone
                a_worker_is_buried_once_and_only_at_the_count_that_was_seen
                a_buried_worker_is_told_so_and_is_lent_nothing
                what_a_buried_worker_held_is_free
                the_work_of_a_busy_worker_is_free_at_once
                a_late_result_of_a_buried_worker_is_kept_and_counts_for_nothing
                only_a_first_interruption_is_counted_on_suspicion
                a_start_is_forgotten_with_its_lease
                what_was_interrupted_too_often_is_left_to_whoever_leases_it_next
                a_discharged_worker_holds_nothing
                reconciling_frees_nothing_that_is_held
                a_task_has_one_leader_until_it_is_outlived
            }
            breakers {
                the_first_to_open_a_breaker_wins
                those_who_open_a_breaker_at_once_agree
                only_an_endpoint_that_is_there_has_a_breaker
                a_breaker_is_changed_by_who_saw_how_it_stands
                a_breaker_that_opens_anew_is_another_one
                all_open_breakers_are_listed
                a_breaker_goes_with_the_url_that_it_was_opened_for
                a_breaker_is_its_tenants_own
            }
            lanes {
                only_the_heads_of_lanes_are_due
                each_goes_when_the_one_before_it_has_ended
                a_batch_joins_a_lane_in_its_order
                a_failing_head_keeps_its_lane_alone_waiting
                a_head_that_is_given_back_stays_the_head
                a_dead_head_is_passed_over_where_it_is_to_be_skipped
                a_dead_head_holds_its_lane_until_it_is_released
                a_replay_takes_the_place_of_a_dead_head_that_is_retried
                an_open_head_is_cancelled_or_tried_now_when_its_lane_is_released
                what_cannot_be_released_is_refused
                what_is_cancelled_leaves_its_lane
                those_cancelled_behind_a_dead_head_leave_it_holding
                a_head_whose_event_is_expunged_lets_the_next_go
                an_empty_lane_vanishes_and_begins_anew
                lanes_are_listed_with_their_heads_youngest_first
                the_lane_of_an_endpoint_orders_everything_of_it_alone
                a_replay_joins_the_tail_of_its_lane
                a_replay_is_ordered_as_its_endpoint_now_orders
                a_disabled_endpoint_empties_its_lanes
                a_deleted_endpoint_empties_its_lanes
                a_lane_survives_a_restart
                those_who_publish_and_finish_at_once_lose_no_one_of_a_lane
                many_lanes_move_at_once
                whatever_happens_to_a_lane_at_once_leaves_nobody_behind
            }
            listing {
                events_are_listed_newest_first_and_each_once
                events_are_found_by_what_is_asked_for
                deliveries_are_listed_newest_first_and_each_once
                what_comes_meanwhile_does_not_disturb_a_list
                deliveries_are_found_by_what_is_asked_for
                deliveries_of_an_event_come_with_their_attempts
                dead_letters_are_found_by_what_is_asked_for
                a_list_in_which_little_matches_goes_on_in_steps
                what_does_not_exist_is_not_found
            }
            summary {
                where_nothing_is_dead_nothing_is_counted
                open_dead_letters_are_counted_by_endpoint_and_cause
            }
            registry {
                a_tenant_can_be_read_listed_and_changed
                a_tenants_id_is_taken_once
                a_change_of_an_old_version_conflicts
                an_endpoint_survives_with_its_secrets
                there_are_no_more_endpoints_than_may_be
                an_endpoint_is_made_with_its_subscriptions_or_not_at_all
                only_a_new_url_raises_the_urls_version
                a_deleted_endpoint_is_gone_with_its_subscriptions
                a_subscription_stands_once
                there_are_no_more_subscriptions_than_may_be
                subscriptions_can_be_read_listed_changed_and_deleted
            }
            sources {
                a_source_survives_with_its_secrets
                a_source_without_anything_optional_can_be_read
                sources_are_listed_newest_first_and_each_once
                a_change_of_an_old_version_of_a_source_conflicts
                there_are_no_more_sources_than_may_be
                every_change_of_a_source_is_in_the_directory_at_once
                an_owner_is_found_by_the_id_of_its_source_alone
                a_source_of_a_deleted_tenant_has_no_owner
                a_refused_request_can_be_read_as_it_was
                refused_requests_are_counted_and_the_newest_of_each_source_kept
                what_was_refused_earlier_but_is_noted_later_takes_no_newer_ones_place
                refused_requests_are_listed_newest_first_and_each_once
                what_a_source_refused_that_has_gone_counts_for_nothing
                a_deleted_source_is_gone_with_what_it_refused
                the_count_of_a_source_is_left_alone_by_its_changes
                what_a_source_refuses_changes_neither_its_version_nor_the_directory
            }
            directory {
                an_unknown_tenant_has_no_directory
                a_directory_shows_policies_in_force_and_routes
                every_change_is_obeyed_at_once
                a_directory_does_not_change_by_itself
            }
            enabling {
                what_was_open_dies_though_its_endpoint_is_enabled_again
                what_was_in_flight_is_left_to_its_holder_and_not_tried_again
                what_died_so_can_be_replayed_once_its_endpoint_is_enabled
                a_lane_goes_on_with_what_came_after
            }
            drains {
                a_drain_ends_when_nothing_from_before_waits
                what_is_due_when_it_is_resumed_is_drained_too
                what_waits_behind_a_head_drains_in_its_turn
                drains_end_in_small_batches
                a_drain_is_as_its_endpoint_was_last_changed
            }
            replaying {
                a_replay_is_one_new_delivery_linked_to_the_old
                a_delivered_delivery_may_be_replayed
                what_cannot_be_replayed_is_refused
                there_is_one_open_replay_at_a_time
                the_same_request_again_answers_with_the_first_replay
                a_replays_key_says_nothing_of_a_publish
                an_open_dead_letter_is_discarded_once
            }
            interventions {
                what_is_open_is_tried_now
                what_waits_behind_another_is_not_tried_before_it
                what_is_open_is_cancelled
                what_comes_of_a_cancelled_delivery_counts_for_nothing
                whoever_waited_with_a_lease_learns_that_it_was_taken_away
                either_a_cancel_or_a_result_wins
                an_expunged_event_has_no_payload_any_more
                what_is_relayed_is_expunged_with_its_headers
            }
            jobs {
                a_job_can_be_read_and_listed
                a_tenant_has_few_open_jobs_at_a_time
                the_same_request_again_answers_with_the_first_job
                a_stopped_job_takes_no_more_steps
                how_a_job_stands_is_noted_by_who_saw_it_last
                ended_jobs_are_forgotten
                matches_are_counted_in_steps
                dead_letters_of_a_time_are_replayed_each_once
                dead_letters_of_one_endpoint_and_of_before_the_job_are_replayed
                deliveries_that_match_a_filter_are_replayed_each_once
                deliveries_that_are_named_are_replayed
                what_cannot_be_replayed_counts_as_failed
                a_dry_run_counts_what_a_replay_would_find
                a_step_is_made_once_however_many_plan_it
                a_job_goes_on_after_a_restart
                what_became_of_replays_is_told
                replays_of_a_job_join_their_lanes
                open_deliveries_that_match_are_cancelled
                what_is_cancelled_is_chosen_by_every_part_of_the_filter
                whole_lanes_are_cancelled_in_steps
            }
            upkeep {
                deliveries_of_a_deleted_endpoint_are_cancelled
                deliveries_of_a_disabled_endpoint_die
                orphans_end_in_small_batches
                what_is_in_flight_is_left_to_its_holder
                deliveries_of_a_paused_endpoint_wait
                keys_are_forgotten_when_their_window_is_over
            }
            retention {
                what_is_over_is_gone_with_all_that_belongs_to_it
                a_sweep_comes_to_an_end
                what_is_open_stays_with_its_event_until_it_has_ended
                dead_letters_stay_for_their_own_time
                a_dead_letter_that_was_kept_can_be_replayed
                each_tenant_keeps_as_long_as_its_own_policy_says
                what_a_job_may_want_stays_until_it_has_replayed
                a_dead_head_that_holds_its_lane_stays_until_it_is_released
                a_sweep_removes_about_as_much_as_it_may
            }
            purge {
                access_ends_when_a_tenant_is_deleted
                everything_of_a_deleted_tenant_goes_and_nothing_of_others
                a_new_tenant_with_a_free_id_sees_nothing_of_the_former
                a_purge_goes_on_after_a_restart_and_takes_no_step_twice
                a_late_result_of_a_deleted_tenant_leaves_nothing_behind
            }
            notices {
                nothing_is_told_where_nobody_subscribes_to_it
                a_death_is_told
                each_death_of_a_batch_is_told
                deaths_by_other_means_are_told
                the_death_of_what_was_told_is_not_told
                that_an_endpoint_was_disabled_is_told_once
                a_death_that_disables_is_told_with_it
                that_a_circuit_opened_is_told_once
                it_is_told_as_long_as_somebody_subscribes
                notices_stay_until_they_are_forgotten
                a_dead_head_that_is_told_moves_its_lane
            }
            quotas {
                what_is_taken_adds_up
                what_all_processes_take_adds_up
                each_day_is_counted_from_nothing
                a_tenant_that_nobody_knows_has_taken_nothing
            }
            api_keys {
                a_key_is_found_by_its_hash_until_it_is_revoked
                keys_are_listed_by_their_owner
                a_key_of_an_unknown_tenant_is_refused
                a_new_store_knows_that_it_has_no_key
            }
            isolation {
                nothing_of_another_tenant_can_be_read
                nothing_of_another_tenant_can_be_changed
                lists_show_only_the_tenants_own
                a_key_of_another_tenant_is_another_key
                a_job_reaches_nothing_of_another_tenant
            }
        }
    };
    (@modules $fresh:expr; $($module:ident { $($behaviour:ident)+ })+) => {
        $(mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $behaviour() {
                let fresh = ($fresh)().await;
                if let Some(world) = $crate::conformance::Fresh::world(fresh) {
                    $crate::conformance::$module::$behaviour(&world).await;
                }
            })+
        })+
    };
}
