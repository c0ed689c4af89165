//! Whole runs, with the load and the receiver as processes, against a tiny server that relays at once.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod server;

use std::path::Path;
use std::time::Duration;

use harbor_bench::measure::{Ground, measure};
use harbor_bench::measurement::Measurement;
use harbor_bench::settings::{Settings, Workload};
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

async fn run(manner: Manner, workload: Workload) -> Measurement {
    let relay = Relay::start(manner).await;
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground {
        program: Path::new(env!("CARGO_BIN_EXE_harbor-bench")),
        folder: folder.path(),
        patience: Duration::from_millis(500),
    };
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
