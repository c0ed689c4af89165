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

pub mod workers;

pub mod breakers;

pub mod listing;

pub mod registry;

pub mod directory;

pub mod replaying;

pub mod upkeep;

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
                an_endpoint_that_said_it_is_gone_is_disabled
                only_the_url_that_is_still_the_endpoints_can_disable_it
                a_finished_delivery_is_never_lent_again_however_many_ask
                many_results_are_answered_in_their_order
                an_interruption_is_counted_and_has_no_record
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
                what_was_interrupted_too_often_is_dead
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
            directory {
                an_unknown_tenant_has_no_directory
                a_directory_shows_policies_in_force_and_routes
                every_change_is_obeyed_at_once
                a_directory_does_not_change_by_itself
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
            upkeep {
                deliveries_of_a_deleted_endpoint_are_cancelled
                deliveries_of_a_disabled_endpoint_die
                orphans_end_in_small_batches
                what_is_in_flight_is_left_to_its_holder
                deliveries_of_a_paused_endpoint_wait
                keys_are_forgotten_when_their_window_is_over
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
