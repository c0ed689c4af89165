//! Several servers on one PostgreSQL, and what may happen to them.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use harbor_receiver::{Answer, Receiver, Script};
use harbor_testkit::api::Api;
use harbor_testkit::fault_proxy::{Direction, FaultProxy};
use harbor_testkit::program::Server;
use harbor_testkit::services::OwnServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::system::publishers::{Publishers, all_arrive};
use crate::system::set_up::{endpoint, receiver};

const PATIENCE: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);

/// How soon workers notice that another one is dead.
struct Pace {
    config: &'static str,
    /// Longer than it takes to be declared dead.
    freeze: Duration,
}

/// The defaults.
const PATIENT: Pace = Pace { config: "", freeze: Duration::from_secs(60) };

/// A fifth of the defaults.
const BRISK: Pace = Pace {
    config: "[worker]\nbeat_interval = \"1s\"\nfence_after = \"3s\"\ndeath_after = \"5s\"\n",
    freeze: Duration::from_secs(10),
};

/// Three servers on one PostgreSQL, with a proxy between.
struct Cluster {
    servers: Vec<Server>,
    proxy: FaultProxy,
    postgres: OwnServer,
    _config: TempDir,
}

impl Cluster {
    /// Starts everything; none where there is no PostgreSQL, which the run says.
    async fn start(pace: &Pace) -> Option<Self> {
        let postgres = OwnServer::start().await?;
        let url = postgres.create_database("cluster").await;
        let (head, rest) = url.split_once('@').expect("the URL names a user");
        let (address, database) = rest.split_once('/').expect("the URL names a database");
        let proxy = FaultProxy::start(address.parse().expect("the URL has an address")).await;
        let url = format!("{head}@{}/{database}", proxy.address());
        let config = TempDir::new().expect("a temporary folder");
        let path = config.path().join("harborhook.toml");
        std::fs::write(&path, pace.config).expect("the file is written");
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(Server::start_on(&url, &["--config", text(&path)]).await);
        }
        Some(Self { servers, proxy, postgres, _config: config })
    }

    fn apis(&self) -> Vec<Api> {
        self.servers.iter().map(Server::api).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[expect(clippy::print_stdout, reason = "the run tells how much came twice")]
async fn survives(pace: Pace) {
    let Some(mut cluster) = Cluster::start(&pace).await else { return };
    let receiver = receiver(Script::always(Answer::from(200).delay(Duration::from_millis(20)))).await;
    endpoint(&cluster.servers[0].api(), &receiver, json!({"circuit_breaker": {"enabled": false}})).await;
    let publishers = Publishers::start(12, Duration::from_millis(10), cluster.apis());
    publishers.reach(300).await;

    cluster.servers[0].kill().await;
    tokio::time::sleep(pace.freeze / 2).await;
    cluster.servers[0].restart().await;

    cluster.servers[1].freeze().await;
    tokio::time::sleep(pace.freeze).await;
    cluster.servers[1].thaw().await;

    cluster.postgres.restart().await;
    tokio::time::sleep(SECOND * 3).await;

    cluster.proxy.delay(Direction::ToServer, Duration::from_millis(200));
    for _ in 0..5 {
        tokio::time::sleep(SECOND).await;
        cluster.proxy.reset_all().await;
    }
    cluster.proxy.fall_silent();
    tokio::time::sleep(SECOND * 3).await;
    cluster.proxy.heal().await;
    cluster.proxy.reset_all().await;

    let before = publishers.count();
    publishers.reach(before + 300).await;
    let acknowledged = publishers.stop().await;
    let repeated = all_arrive(&receiver, &acknowledged, PATIENCE).await;
    println!("{} acknowledged, {repeated} delivered more than once", acknowledged.len());

    // Only what was in flight may come twice: per incident at most what one worker has in flight to the
    // endpoint, or what all have where the database went away.
    let (in_flight_max, lone_incidents, common_incidents) = (32, 2, 7);
    assert!(
        repeated <= in_flight_max * (lone_incidents + common_incidents),
        "{repeated} requests repeated one: more than could be in flight"
    );
    settled(&cluster.servers[2].api(), &receiver).await;
}

/// Waits until every delivery is final, and holds its attempts against what the receiver saw.
async fn settled(api: &Api, receiver: &Receiver) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for status in ["queued", "inflight", "failed"] {
        let open = format!("/v1/deliveries?status={status}&limit=1");
        while !api.get(&open).await.expect(200)["data"].as_array().unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "deliveries are still {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests() {
        *seen.entry(request.webhook_id().unwrap().to_owned()).or_default() += 1;
    }
    for (event, requests) in seen.into_iter().filter(|(_, requests)| *requests > 1).take(100) {
        let answer = api.get(&format!("/v1/events/{event}/deliveries")).await.expect(200);
        let delivery = &answer["data"][0];
        assert_eq!(delivery["status"], "delivered", "{delivery}");
        let attempts = delivery["attempts"].as_array().unwrap();
        let numbers: Vec<_> = attempts.iter().filter_map(|attempt| attempt["number"].as_u64()).collect();
        let counted: Vec<_> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, counted, "each result counts once: {delivery}");
        assert!(attempts.len() <= requests, "no attempt was recorded that was not made: {delivery}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_die_freeze_and_lose_the_database_and_nothing_is_lost() {
    survives(BRISK).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak` runs it"]
async fn nothing_is_lost_at_the_pace_of_the_defaults() {
    survives(PATIENT).await;
}

#[expect(clippy::print_stdout, reason = "the run tells the rate")]
async fn limit_holds(seconds: u64, tolerance: f64) {
    const PER_SECOND: u64 = 50;
    let Some(cluster) = Cluster::start(&BRISK).await else { return };
    let receiver = receiver(Script::always(200)).await;
    let limit = json!({"rate_limit": {"per_second": PER_SECOND, "burst": 1}});
    endpoint(&cluster.servers[0].api(), &receiver, limit).await;
    // Every worker has seen the others.
    tokio::time::sleep(SECOND * 3).await;
    let payload: Value = json!({"n": 1});
    let events = vec![json!({"event_type": "tick", "payload": payload}); 1_000];
    let body = json!({"events": events}).to_string();
    for _ in 0..(PER_SECOND * (seconds + 10)).div_ceil(1_000) {
        cluster.servers[0].api().post("/v1/events:batchPublish", body.clone()).await.expect(200);
    }
    // The lanes have filled.
    tokio::time::sleep(SECOND * 3).await;
    let before = receiver.total();
    tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await;
    let rate = (receiver.total() - before) as f64 / seconds as f64;
    println!("{rate} requests a second with a limit of {PER_SECOND}");
    let wanted = PER_SECOND as f64;
    assert!((rate - wanted).abs() <= wanted * tolerance, "{rate} requests a second over three workers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_over_three_workers() {
    limit_holds(10, 0.2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: `make soak` runs it"]
async fn a_rate_limit_holds_over_a_minute() {
    limit_holds(60, 0.1).await;
}
