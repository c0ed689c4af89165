//! Jobs over many deliveries on a server that is killed meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use serde_json::{Value, json};

use crate::system::set_up::{endpoint, receiver};

const PATIENCE: Duration = Duration::from_secs(600);

/// Every item of a list.
async fn all(api: &Api, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = api.get(&format!("{path}{joint}limit=500{after}")).await.expect(200);
        items.extend(page["data"].as_array().unwrap().iter().cloned());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return items;
        }
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Replays so many dead letters at this rate, with the server killed in the middle.
#[expect(clippy::print_stdout, reason = "the run tells what it did")]
async fn replays_each_once(dead: usize, per_second: u64) {
    let mut server = Server::start().await;
    let api = server.api();
    let is_well = Arc::new(AtomicBool::new(false));
    let script = {
        let is_well = is_well.clone();
        Script::by(move |_| if is_well.load(Ordering::Relaxed) { 200.into() } else { 500.into() })
    };
    let receiver = receiver(script).await;
    let policy = json!({
        "retry": {"max_attempts": 1, "schedule": []}, "circuit_breaker": {"enabled": false}, "max_in_flight": 500,
    });
    endpoint(&api, &receiver, policy).await;
    for first in (0..dead).step_by(1_000) {
        let events = vec![json!({"event_type": "tick", "payload": {}}); 1_000.min(dead - first)];
        api.post("/v1/events:batchPublish", json!({"events": events}).to_string()).await.expect(200);
    }
    until("all die", async || {
        let summary = api.get("/v1/dlq/summary").await.expect(200);
        summary["data"][0]["count"].as_u64() == Some(dead as u64)
    })
    .await;
    is_well.store(true, Ordering::Relaxed);

    let range = json!({"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
    let body = json!({"dlq_range": range, "rate_per_second": per_second}).to_string();
    let dry = json!({"dlq_range": range, "dry_run": true}).to_string();
    let dry = api.post("/v1/replays", dry).await.expect(202);
    let job = api.post("/v1/replays", body.clone()).await.expect(202);
    let path = format!("/v1/replays/{}", job["id"].as_str().unwrap());
    let began = Instant::now();
    until("half is replayed", async || {
        let job = api.get(&path).await.expect(200);
        job["counts"]["queued"].as_u64().unwrap() >= dead as u64 / 2
    })
    .await;
    let half = began.elapsed();
    server.kill().await;
    server.restart().await;
    until("the job comes to its end", async || {
        ["done", "failed", "cancelled"]
            .contains(&api.get(&path).await.expect(200)["status"].as_str().unwrap())
    })
    .await;
    let whole = began.elapsed();

    let job = api.get(&path).await.expect(200);
    let expected = json!({"matched": dead, "queued": dead, "succeeded": dead, "failed": 0});
    assert_eq!((&job["status"], &job["counts"]), (&json!("done"), &expected), "{job}");
    let rate = (dead / 2) as f64 / half.as_secs_f64();
    println!("{dead} replayed in {:.1} s, the first half at {rate:.0} a second", whole.as_secs_f64());
    assert!(rate <= per_second as f64 * 1.15, "{rate} a second is over the rate");
    let dry = api.get(&format!("/v1/replays/{}", dry["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&dry["status"], &dry["counts"]["queued"]), (&json!("done"), &json!(0)));
    assert_eq!(dry["counts"]["matched"], dead);

    let mut originals = HashMap::new();
    for delivery in all(&api, "/v1/deliveries").await {
        if let Some(of) = delivery["replay_of"].as_str() {
            assert_eq!(delivery["status"], "delivered", "{delivery}");
            *originals.entry(of.to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(originals.len(), dead, "each dead letter was replayed");
    assert!(originals.values().all(|count| *count == 1), "none was replayed twice");
    assert_eq!(all(&api, "/v1/dlq").await.len(), 0, "no dead letter is open any more");
    let distinct: HashSet<_> = originals.keys().collect();
    assert_eq!(all(&api, "/v1/dlq?state=replayed").await.len(), distinct.len());

    // The same range again finds nothing.
    let again = api.post("/v1/replays", body).await.expect(202);
    let path = format!("/v1/replays/{}", again["id"].as_str().unwrap());
    until("the second job ends", async || api.get(&path).await.expect(200)["status"] == "done").await;
    assert_eq!(api.get(&path).await.expect(200)["counts"]["matched"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_once_each_though_the_server_is_killed() {
    replays_each_once(2_000, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak` runs it"]
async fn fifty_thousand_dead_letters_are_replayed_once_each() {
    replays_each_once(50_000, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_cancels_what_matches_and_nothing_else() {
    let server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    let made = endpoint(&api, &receiver, json!({})).await;
    let id = made["id"].as_str().unwrap();
    api.post(&format!("/v1/endpoints/{id}:pause"), "").await.expect(200);
    for event_type in ["wanted", "unwanted"] {
        let events = vec![json!({"event_type": event_type, "payload": {}}); 400];
        api.post("/v1/events:batchPublish", json!({"events": events}).to_string()).await.expect(200);
    }
    let filter = json!({"filter": {"endpoint_id": id, "event_type": "unwanted"}}).to_string();
    let job = api.post("/v1/deliveries:cancel", filter).await.expect(202);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    until("the job ends", async || api.get(&path).await.expect(200)["status"] == "done").await;
    assert_eq!(api.get(&path).await.expect(200)["counts"]["succeeded"], 400);
    api.post(&format!("/v1/endpoints/{id}:resume"), "").await.expect(200);
    receiver.wait_for(400, PATIENCE).await.unwrap();
    assert!(receiver.requests().iter().all(|request| request.event_type() == Some("wanted")));
    assert_eq!(all(&api, "/v1/deliveries?status=cancelled").await.len(), 400);
}
