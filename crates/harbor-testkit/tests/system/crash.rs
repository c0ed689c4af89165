use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harbor_model::chance::{Rng, SeededRng};
use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use serde_json::json;

use crate::system::publishers::{Publishers, all_arrive};
use crate::system::set_up::{endpoint, receiver};

const EVENTS: u64 = 5_000;
const KILLS: u64 = 8;
const PUBLISHERS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_is_delivered_though_the_server_is_killed() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let rng = SeededRng::new(seed);
    let mut server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    endpoint(&api, &receiver, json!({})).await;

    let publishers = Publishers::start(PUBLISHERS, Duration::ZERO, vec![api]);
    for round in 1..=KILLS {
        let share = EVENTS / (KILLS + 1);
        let kill_at = (round - 1) * share + 1 + rng.next_u64() % share;
        publishers.reach(usize::try_from(kill_at).unwrap()).await;
        server.kill().await;
        server.restart().await;
    }
    publishers.reach(usize::try_from(EVENTS).unwrap()).await;
    let acknowledged = publishers.stop().await;

    let repeated = all_arrive(&receiver, &acknowledged, PATIENCE).await;
    println!("{} acknowledged, {repeated} delivered more than once over {KILLS} kills", acknowledged.len());
}

/// How many attempts the policy of the long run grants.
const ATTEMPTS_MAX: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak` runs it"]
async fn two_hundred_kills_lose_nothing_while_a_fifth_of_the_attempts_fail() {
    const ROUNDS: u64 = 200;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let rng = SeededRng::new(seed);
    let mut server = Server::start().await;
    let api = server.api();
    let turn = AtomicU64::new(0);
    let receiver = receiver(Script::by(move |_| {
        let fails = SeededRng::new(seed ^ turn.fetch_add(1, Ordering::Relaxed)).unit() < 0.2;
        if fails { 500.into() } else { 200.into() }
    }))
    .await;
    let policy = json!({
        "retry": {"max_attempts": ATTEMPTS_MAX, "schedule": ["100ms", "500ms", "1s"]},
        "circuit_breaker": {"consecutive_failures": 100},
    });
    endpoint(&api, &receiver, policy).await;

    let publishers = Publishers::start(8, Duration::from_millis(4), vec![api.clone()]);
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(50 + rng.next_u64() % 500)).await;
        server.kill().await;
        server.restart().await;
    }
    let acknowledged = publishers.stop().await;

    let repeated = all_arrive(&receiver, &acknowledged, PATIENCE).await;
    println!("{} acknowledged, {repeated} requests more than that over {ROUNDS} kills", acknowledged.len());
    let delivered = final_deliveries(&api).await;
    let unknown = acknowledged.iter().filter(|event| !delivered.contains_key(*event)).count();
    assert_eq!(unknown, 0, "every acknowledged event has its delivery");
    for (event, attempt_count) in delivered {
        assert!((1..=ATTEMPTS_MAX).contains(&attempt_count), "{event} was tried {attempt_count} times");
    }
}

/// Waits until every delivery is final; answers each one's count of attempts by its event.
async fn final_deliveries(api: &Api) -> HashMap<String, u64> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (mut counts, mut open, mut cursor) = (HashMap::new(), 0, None::<String>);
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = api.get(&format!("/v1/deliveries?limit=500{after}")).await.expect(200);
            for delivery in page["data"].as_array().unwrap() {
                let is_final = ["delivered", "dead"].contains(&delivery["status"].as_str().unwrap());
                open += u64::from(!is_final);
                let event = delivery["event_id"].as_str().unwrap().to_owned();
                counts.insert(event, delivery["attempt_count"].as_u64().unwrap());
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        if open == 0 {
            return counts;
        }
        assert!(tokio::time::Instant::now() < deadline, "{open} deliveries are not final");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
