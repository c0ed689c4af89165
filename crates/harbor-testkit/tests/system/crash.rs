use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use harbor_model::chance::{Rng, SeededRng};
use harbor_receiver::Script;
use harbor_testkit::api::{Api, publish_body};
use harbor_testkit::program::Server;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::system::set_up::{endpoint, receiver};

const EVENTS: usize = 5_000;
const KILLS: u64 = 8;
const PUBLISHERS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

/// The ids of the events that were answered 2xx.
type Acknowledged = Arc<Mutex<HashSet<String>>>;

/// Publishes until enough events are acknowledged, whatever becomes of the server meanwhile.
async fn publish_until_enough(api: Api, acknowledged: Acknowledged) {
    while acknowledged.lock().unwrap().len() < EVENTS {
        let body = publish_body("order.made", br#"{"order": 1}"#);
        match api.try_send(Method::POST, "/v1/events:publish", &[], body).await {
            Ok(reply) if reply.status == 200 => {
                let id = reply.json()["event_id"].as_str().unwrap().to_owned();
                acknowledged.lock().unwrap().insert(id);
            }
            // The server is down, or was cut off in the middle of its answer: nothing was promised.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_is_delivered_though_the_server_is_killed() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let rng = SeededRng::new(seed);
    let mut server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    endpoint(&api, &receiver, json!({})).await;

    let acknowledged = Acknowledged::default();
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn(publish_until_enough(api.clone(), Arc::clone(&acknowledged)));
    }
    for round in 1..=KILLS {
        let share = EVENTS as u64 / (KILLS + 1);
        let kill_at = usize::try_from((round - 1) * share + 1 + rng.next_u64() % share).unwrap();
        while acknowledged.lock().unwrap().len() < kill_at {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        server.kill().await;
        server.restart().await;
    }
    publishers.join_all().await;

    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() >= EVENTS);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let delivered: HashSet<_> = receiver
            .requests()
            .iter()
            .filter_map(|request| request.webhook_id().map(str::to_owned))
            .collect();
        let missing = acknowledged.difference(&delivered).count();
        if missing == 0 {
            let repeated = receiver.total() - delivered.len() as u64;
            println!(
                "{} acknowledged, {repeated} delivered more than once over {KILLS} kills",
                acknowledged.len()
            );
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{missing} acknowledged events were not delivered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
