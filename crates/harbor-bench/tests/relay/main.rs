//! Whole runs, with the load and the receiver as processes, against a tiny server that relays at once.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod server;

use std::path::Path;
use std::time::Duration;

use harbor_bench::measure::{Ground, measure};
use harbor_bench::measurement::Measurement;
use harbor_bench::noisy;
use harbor_bench::settings::{Noisy, Provider, Settings, Workload};
use server::{Manner, Relay};

/// A workload short enough for a test.
fn short() -> Workload {
    Workload {
        connections: 4,
        warmup: Duration::from_millis(100),
        duration: Duration::from_millis(500),
        ..Workload::default()
    }
}

fn ground(folder: &Path) -> Ground<'_> {
    Ground {
        program: Path::new(env!("CARGO_BIN_EXE_harbor-bench")),
        folder,
        identity: None,
        patience: Duration::from_millis(500),
    }
}

async fn run(manner: Manner, workload: Workload) -> Measurement {
    let relay = Relay::start(manner).await;
    let folder = tempfile::tempdir().unwrap();
    let ground = ground(folder.path());
    measure(relay.site(), &Settings::load(None).unwrap(), &workload, &ground).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_counts_every_delivery() {
    let measured = run(Manner::Faithful, Workload { fan_out: 3, ..short() }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert!(measured.events > 0);
    assert_eq!(measured.deliveries, measured.events * 3);
    assert_eq!(measured.check.recorded, measured.deliveries);
    assert!(measured.check.signatures_checked >= measured.deliveries / 64);
    assert!(measured.end_to_end.p50_ms > 0.0);
    assert!(measured.events_per_second > 0.0 && measured.deliveries_per_second > 0.0);
    assert!(measured.server.memory_peak_mib > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_sends_what_is_due_and_no_more() {
    let measured = run(Manner::Faithful, Workload { rate: Some(200), ..short() }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert_eq!((measured.events, measured.check.unsent), (100, 0));
    assert!(measured.seconds >= 0.495, "the last is due after 495 ms, not {} s", measured.seconds);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_counted_by_their_events() {
    let measured = run(Manner::Faithful, Workload { fan_out: 0, batch: 10, preload: 1_500, ..short() }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert!(measured.requests > 0);
    assert_eq!(measured.events, measured.requests * 10);
    assert_eq!(measured.deliveries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_status_and_code() {
    let measured = run(Manner::RefusesEveryThird, short()).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert!(measured.events > 0);
    let errors: Vec<_> = measured.check.errors.keys().collect();
    assert_eq!(errors, ["429 quota"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_twice_counts_once() {
    let measured = run(Manner::DeliversTwice, short()).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert_eq!(measured.deliveries, measured.events);
    assert!(measured.check.duplicates > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_event_that_never_arrives_makes_a_run_worthless() {
    let measured = run(Manner::LosesEveryTenth, Workload { warmup: Duration::ZERO, ..short() }).await;

    assert_eq!(measured.check.missing, measured.events / 10);
    let fault = &measured.check.faults()[0];
    assert!(fault.ends_with("of the deliveries owed never arrived"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_makes_a_run_worthless() {
    let measured = run(Manner::SignsWrongly, short()).await;

    let faults = measured.check.faults();
    assert_eq!(
        faults,
        [format!("{} of the signatures checked were wrong", measured.check.signatures_checked)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_take_turns() {
    let measured = run(Manner::Faithful, Workload { tenants: 3, fan_out: 2, ..short() }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert!(measured.events >= 3);
    assert_eq!(measured.deliveries, measured.events * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_in_through_a_source_of_each_tenant() {
    for provider in [Provider::Github, Provider::Stripe] {
        let workload = Workload { source: Some(provider), tenants: 2, preload: 100, ..short() };
        let measured = run(Manner::Faithful, workload).await;

        assert_eq!(measured.check.faults(), [""; 0], "{provider:?}");
        assert!(measured.events >= 2);
        assert_eq!(measured.deliveries, measured.events);
        assert!(measured.check.errors.is_empty(), "{:?}", measured.check.errors);
        assert!(measured.check.signatures_checked >= measured.deliveries / 32, "ours and the provider's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_not_new_is_an_error() {
    let workload = Workload { source: Some(Provider::Github), rate: Some(200), ..short() };
    let measured = run(Manner::SeesTwice, Workload { warmup: Duration::ZERO, ..workload }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert_eq!((measured.events, measured.check.errors["200 duplicate"]), (90, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_the_signature_of_the_provider_makes_a_run_worthless() {
    let measured = run(Manner::DropsHeaders, Workload { source: Some(Provider::Github), ..short() }).await;

    let check = &measured.check;
    assert_eq!(check.signatures_wrong * 2, check.signatures_checked, "ours are right");
    assert_eq!(check.faults(), [format!("{} of the signatures checked were wrong", check.signatures_wrong)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_by_chance_ends_as_delivered_or_dead() {
    let measured = run(Manner::Faithful, Workload { fail_rate: 0.5, ..short() }).await;

    assert_eq!(measured.check.faults(), [""; 0]);
    assert!(measured.dead > 0, "one in eight dies after three attempts");
    assert_eq!(measured.deliveries + measured.dead, measured.events);
    assert!(measured.attempts > measured.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_is_refused_comes_back_and_is_accounted_for() {
    let relay = Relay::start(Manner::RefusesEveryThird).await;
    let folder = tempfile::tempdir().unwrap();
    let noisy = Noisy {
        workload: Workload { rate: Some(50), ..short() },
        events: 30,
        connections: 8,
        answers_after: Duration::from_secs(3),
        lead: Duration::from_millis(2_000),
        ..Noisy::default()
    };

    let settings = Settings::load(None).unwrap();
    let measured = noisy::measure(relay.site(), &settings, &noisy, &ground(folder.path())).await.unwrap();

    let account = &measured.neighbour.account;
    assert_eq!(measured.faults(), [""; 0]);
    assert_eq!((account.events, account.deliveries, account.missing), (30, 60, 0));
    assert!(measured.neighbour.sent_again > 0, "{:?}", measured.neighbour.errors);
    assert!(measured.beside.deliveries > 0);
    assert!(measured.beside.end_to_end.p99_ms < 3_000.0, "the slow endpoint is the neighbour's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_does_not_find_is_lost() {
    let relay = Relay::start(Manner::ListsAllButOne).await;
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload { rate: Some(50), ..short() };
    let noisy = Noisy { workload, events: 10, lead: Duration::ZERO, ..Noisy::default() };

    let settings = Settings::load(None).unwrap();
    let measured = noisy::measure(relay.site(), &settings, &noisy, &ground(folder.path())).await.unwrap();

    assert_eq!(measured.neighbour.account.missing, 1);
    assert!(measured.faults()[0].starts_with("of the neighbour, 1 deliveries"), "{:?}", measured.faults());
}
