//! Pausing and resuming an endpoint with much that waits.

use std::time::{Duration, Instant};

use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use serde_json::{Value, json};

use crate::system::set_up::{endpoint, receiver};

const SECOND: Duration = Duration::from_secs(1);

async fn publish_many(api: &Api, count: usize) {
    const BATCH: usize = 1_000;
    for first in (0..count).step_by(BATCH) {
        let events = vec![json!({"event_type": "tick", "payload": {"n": 1}}); BATCH.min(count - first)];
        let body = json!({"events": events}).to_string();
        let answer = api.post("/v1/events:batchPublish", body).await.expect(200);
        let refused = answer["results"].as_array().unwrap().iter().find(|one| !one["error"].is_null());
        assert_eq!(refused, None);
    }
}

fn path(endpoint: &Value, rest: &str) -> String {
    format!("/v1/endpoints/{}{rest}", endpoint["id"].as_str().unwrap())
}

/// Pauses an endpoint with so much that waits, and lets it drain at 100 a second for so long.
#[expect(clippy::print_stdout, reason = "the run tells its figures")]
async fn drains(waiting: usize, seconds: u32) {
    const PER_SECOND: f64 = 100.0;
    let server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    let slow = json!({"rate_limit": {"per_second": 1, "burst": 1}});
    let made = endpoint(&api, &receiver, slow).await;
    publish_many(&api, waiting).await;

    let began = Instant::now();
    let paused = api.post(&path(&made, ":pause"), "").await.expect(200);
    let took = began.elapsed();
    println!("paused with {waiting} waiting in {:.1} ms", took.as_secs_f64() * 1_000.0);
    assert_eq!(paused["paused"], true);
    assert!(took < Duration::from_millis(100), "a pause takes no longer where more waits: {took:?}");
    tokio::time::sleep(SECOND).await;
    let before = receiver.total();
    tokio::time::sleep(SECOND).await;
    assert_eq!(receiver.total(), before, "nothing is sent while it is paused");

    let patch = json!({"rate_limit": null}).to_string();
    api.send(http::Method::PATCH, &path(&made, ""), patch).await.expect(200);
    let resumed =
        api.post(&path(&made, ":resume"), json!({"drain_per_second": 100}).to_string()).await.expect(200);
    assert_eq!(resumed["paused"], false);
    assert_eq!(resumed["draining"]["per_second"], 100, "{resumed}");
    tokio::time::sleep(SECOND).await;
    let before = receiver.total();
    tokio::time::sleep(SECOND * seconds).await;
    let rate = (receiver.total() - before) as f64 / f64::from(seconds);
    println!("drains at {rate} a second");
    assert!((rate - PER_SECOND).abs() <= PER_SECOND * 0.1, "it drains at {rate} a second");

    // What is published now need not wait for what drains.
    let fresh = api.publish("fresh", b"{}").await.expect(200);
    let deadline = Instant::now() + SECOND * 5;
    let id = fresh["event_id"].as_str().unwrap();
    while !receiver.requests().iter().any(|request| request.webhook_id() == Some(id)) {
        assert!(Instant::now() < deadline, "a new event waits for what drains");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_drains_at_the_rate_that_was_asked_for() {
    drains(3_000, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak` runs it"]
async fn a_million_that_wait_are_paused_at_once_and_drain_at_their_rate() {
    drains(1_000_000, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_when_nothing_waits_any_more() {
    let server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    let made = endpoint(&api, &receiver, json!({})).await;
    api.post(&path(&made, ":pause"), "").await.expect(200);
    publish_many(&api, 150).await;
    api.post(&path(&made, ":resume"), json!({"drain_per_second": 100}).to_string()).await.expect(200);
    receiver.wait_for(150, SECOND * 10).await.unwrap();
    let deadline = Instant::now() + SECOND * 15;
    while !api.get(&path(&made, "")).await.expect(200)["draining"].is_null() {
        assert!(Instant::now() < deadline, "the drain ends by itself");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
