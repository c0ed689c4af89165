//! Ordered keys on real servers that are killed, at a receiver that fails by chance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_model::chance::{Rng, SeededRng};
use harbor_receiver::{Receiver, Request, Script, Settings};
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::system::set_up::endpoint;

const PATIENCE: Duration = Duration::from_secs(300);

/// How many keys there are, how many events each has, and how many publishers.
struct Load {
    keys: usize,
    events: usize,
    publishers: usize,
}

/// The servers of a store: two on one PostgreSQL, or one with its own files.
async fn start_servers() -> Vec<Server> {
    // Beats of a fifth of the defaults, so that a death is noticed soon.
    let brisk = ["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/brisk.toml")];
    let first = Server::start_with(&brisk).await;
    let second = match first.database_url() {
        Some(url) => Some(Server::start_on(&url, &brisk).await),
        None => None,
    };
    [first].into_iter().chain(second).collect()
}

/// A receiver that fails a fifth of the attempts, whatever came before.
async fn failing_receiver(seed: u64, keep: usize) -> Receiver {
    let turn = AtomicU64::new(0);
    let script = Script::by(move |_| {
        let fails = SeededRng::new(seed ^ turn.fetch_add(1, Ordering::Relaxed)).unit() < 0.2;
        if fails { 500.into() } else { 200.into() }
    });
    Receiver::start(Settings { script, keep, ..Settings::default() }).await.unwrap()
}

/// Publishes all events of some keys, each key's one after the other, until each is acknowledged.
async fn publish(apis: Vec<Api>, keys: Vec<usize>, events: usize, count: Arc<AtomicUsize>) {
    for n in 0..events {
        for key in &keys {
            let body = json!({
                "event_type": "step", "payload": {"key": key, "n": n}, "ordering_key": format!("key {key}"),
                "idempotency_key": format!("{key}-{n}"),
            });
            for turn in *key.. {
                let api = &apis[turn % apis.len()];
                let sent = api.try_send(Method::POST, "/v1/events:publish", &[], body.to_string().into());
                let answer = tokio::time::timeout(Duration::from_secs(5), sent).await;
                if matches!(answer, Ok(Ok(reply)) if reply.status == 200) {
                    break;
                }
                // Whatever became of it, the same again is harmless.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn step(request: &Request) -> (usize, usize) {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let number = |field: &str| usize::try_from(body[field].as_u64().unwrap()).unwrap();
    (number("key"), number("n"))
}

/// The order in which the events of each key came first.
fn arrivals(requests: &[Arc<Request>]) -> HashMap<usize, Vec<usize>> {
    let mut seen = std::collections::HashSet::new();
    let mut arrivals: HashMap<usize, Vec<usize>> = HashMap::new();
    for request in requests {
        let (key, n) = step(request);
        if seen.insert((key, n)) {
            arrivals.entry(key).or_default().push(n);
        }
    }
    arrivals
}

#[expect(clippy::print_stdout, reason = "the run tells what it did")]
async fn keys_stay_in_order(load: Load) {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let total = load.keys * load.events;
    let mut servers = start_servers().await;
    let receiver = failing_receiver(seed, total * 3).await;
    let policy = json!({
        "ordering": "key", "max_in_flight": 1000, "circuit_breaker": {"enabled": false},
        "retry": {"max_attempts": 100, "schedule": ["20ms"]},
    });
    endpoint(&servers[0].api(), &receiver, policy).await;

    let began = tokio::time::Instant::now();
    let apis: Vec<_> = servers.iter().map(Server::api).collect();
    let published = Arc::new(AtomicUsize::new(0));
    let mut publishers = JoinSet::new();
    for publisher in 0..load.publishers {
        let keys = (publisher..load.keys).step_by(load.publishers).collect();
        publishers.spawn(publish(apis.clone(), keys, load.events, published.clone()));
    }
    for share in [total / 3, total * 2 / 3] {
        while published.load(Ordering::Relaxed) < share {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let victim = servers.last_mut().unwrap();
        victim.kill().await;
        victim.restart().await;
    }
    publishers.join_all().await;

    let deadline = tokio::time::Instant::now() + PATIENCE;
    for status in ["queued", "inflight", "failed"] {
        let path = format!("/v1/deliveries?status={status}&limit=1");
        while !servers[0].api().get(&path).await.expect(200)["data"].as_array().unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "deliveries are still {status}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let requests = receiver.requests();
    let arrivals = arrivals(&requests);
    assert_eq!(arrivals.len(), load.keys);
    let in_order: Vec<_> = (0..load.events).collect();
    for (key, order) in arrivals {
        assert_eq!(order, in_order, "key {key} came out of order");
    }
    println!(
        "{total} events of {} keys in order after {:.1} s, {} requests",
        load.keys,
        began.elapsed().as_secs_f64(),
        receiver.total()
    );
    let lanes = servers[0].api();
    let id = lanes.get("/v1/endpoints").await.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();
    let left = lanes.get(&format!("/v1/endpoints/{id}/lanes")).await.expect(200);
    assert_eq!(left["data"], json!([]), "every lane has emptied");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_arrive_in_order_though_a_server_is_killed_twice() {
    keys_stay_in_order(Load { keys: 24, events: 40, publishers: 12 }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak` runs it"]
async fn a_hundred_keys_of_a_thousand_events_arrive_in_order() {
    keys_stay_in_order(Load { keys: 100, events: 1_000, publishers: 50 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_head_fails_holds_up_nobody_else() {
    let server = Server::start().await;
    let api = server.api();
    let sick = Arc::new(Mutex::new(Some(3)));
    let script = {
        let sick = sick.clone();
        Script::by(
            move |request| {
                if Some(step(request).0) == *sick.lock().unwrap() { 500.into() } else { 200.into() }
            },
        )
    };
    let receiver = Receiver::start(Settings { script, keep: 10_000, ..Settings::default() }).await.unwrap();
    let policy = json!({
        "ordering": "key", "circuit_breaker": {"enabled": false},
        "retry": {"max_attempts": 100, "schedule": ["100ms"]},
    });
    let made = endpoint(&api, &receiver, policy).await;

    let count = Arc::new(AtomicUsize::new(0));
    publish(vec![api.clone()], (0..10).collect(), 5, count).await;
    let others = |requests: &[Arc<Request>]| requests.iter().filter(|one| step(one).0 != 3).count();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while others(&receiver.requests()) < 45 {
        assert!(tokio::time::Instant::now() < deadline, "other keys wait for a sick one");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let of_sick = arrivals(&receiver.requests());
    assert_eq!(of_sick[&3], [0], "only the head of a lane is tried");
    let path = format!("/v1/endpoints/{}/lanes", made["id"].as_str().unwrap());
    // What arrived is recorded a moment later.
    let mut lanes = api.get(&path).await.expect(200);
    while lanes["data"].as_array().unwrap().len() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "lanes stay: {lanes}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        lanes = api.get(&path).await.expect(200);
    }
    assert_eq!((&lanes["data"][0]["key"], &lanes["data"][0]["waiting_count"]), (&json!("key 3"), &json!(4)));

    *sick.lock().unwrap() = None;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while arrivals(&receiver.requests())[&3].len() < 5 {
        assert!(tokio::time::Instant::now() < deadline, "the lane goes on when its head is delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(arrivals(&receiver.requests())[&3], [0, 1, 2, 3, 4]);
}
