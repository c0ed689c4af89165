use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use harbor_model::chance::{Rng, SeededRng};
use harbor_receiver::{Receiver, Script};
use harbor_testkit::api::{Api, Reply};
use harbor_testkit::program::Server;
use harbor_testkit::services::OwnServer;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::system::set_up::{SECRET, endpoint, receiver};

const PATIENCE: Duration = Duration::from_secs(60);
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const STRIPE_SECRET: &str = "whsec_test_secret_of_stripe";

/// HMAC-SHA256 in hex, as both providers write it.
fn hmac_hex(secret: &str, text: &[u8]) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text))
}

fn unix_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a provider signs by its own clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// What a provider sends besides the body.
type Headers = Vec<(&'static str, String)>;

fn of_github(delivery: &str, body: &[u8]) -> Headers {
    vec![
        ("x-hub-signature-256", format!("sha256={}", hmac_hex(GITHUB_SECRET, body))),
        ("x-github-event", "push".to_owned()),
        ("x-github-delivery", delivery.to_owned()),
    ]
}

fn of_stripe(body: &[u8]) -> Headers {
    let sent = unix_s();
    let signed = [sent.to_string().as_bytes(), b".", body].concat();
    vec![("stripe-signature", format!("t={sent},v1={}", hmac_hex(STRIPE_SECRET, &signed)))]
}

async fn try_post(api: &Api, source: &Value, headers: &Headers, body: &[u8]) -> Result<Reply, String> {
    let path = format!("/ingest/{}", source["id"].as_str().unwrap());
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.with_key(None).try_send(Method::POST, &path, &headers, Bytes::copy_from_slice(body)).await
}

async fn post(api: &Api, source: &Value, headers: &Headers, body: &[u8]) -> Reply {
    try_post(api, source, headers, body).await.unwrap()
}

async fn create_source(api: &Api, source: Value) -> Value {
    api.post("/v1/sources", source.to_string()).await.expect(201)
}

/// A source of GitHub's that relays straight to an endpoint.
async fn github(api: &Api, endpoint: &Value) -> Value {
    let source = json!({
        "name": "github", "provider": "github", "secret": GITHUB_SECRET, "endpoint_id": endpoint["id"],
    });
    create_source(api, source).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_and_stripe_sign_arrives_byte_for_byte_though_the_endpoint_fails_twice() {
    let server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::per_webhook([500, 503, 200])).await;
    let quick = json!({"event_types": [], "retry": {"schedule": ["50ms", "100ms"], "jitter": 0.0}});
    let endpoint = endpoint(&api, &receiver, quick).await;
    let github = github(&api, &endpoint).await;
    let stripe = json!({
        "name": "pay", "provider": "stripe", "secret": STRIPE_SECRET, "endpoint_id": endpoint["id"],
    });
    let stripe = create_source(&api, stripe).await;
    let push = "{\"ref\": \"refs/heads/main\",\r\n \"\\u00e9\":  1.10}".as_bytes();
    let paid = br#"{"id": "evt_1", "type": "invoice.paid", "data": {"n": 1E+2}}"#;

    let pushed = post(&api, &github, &of_github("d-1", push), push).await.expect(200);
    let paid_headers = of_stripe(paid);
    let invoiced = post(&api, &stripe, &paid_headers, paid).await.expect(200);
    let requests = receiver.wait_for(6, PATIENCE).await.unwrap();

    let last = |event: &Value| {
        let of_event =
            |request: &&Arc<harbor_receiver::Request>| request.webhook_id() == event["event_id"].as_str();
        requests.iter().rfind(of_event).unwrap().clone()
    };
    let (push_request, paid_request) = (last(&pushed), last(&invoiced));
    assert_eq!((&push_request.body[..], &paid_request.body[..]), (push, &paid[..]));
    assert_eq!(
        (push_request.event_type(), paid_request.event_type()),
        (Some("github.push"), Some("pay.invoice.paid"))
    );
    assert_eq!((push_request.attempt(), paid_request.attempt()), (Some(3), Some(3)));
    let signature = format!("sha256={}", hmac_hex(GITHUB_SECRET, push));
    assert_eq!(push_request.header("x-hub-signature-256"), Some(&*signature), "the provider's stands");
    assert_eq!(paid_request.header("stripe-signature"), Some(&*paid_headers[0].1));
    let library = standardwebhooks::Webhook::new(SECRET).unwrap();
    for request in [&push_request, &paid_request] {
        library.verify(&request.body, &request.headers).unwrap();
    }

    let delivery = final_delivery(&api, &pushed["delivery_id"]).await;
    let attempts = delivery["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["http_status"].clone()).collect();
    assert_eq!(
        (delivery["status"].as_str(), statuses),
        (Some("delivered"), vec![json!(500), json!(503), json!(200)])
    );
    let again = post(&api, &github, &of_github("d-1", push), push).await.expect(200);
    assert_eq!((&again["duplicate"], &again["status"]), (&json!(true), &json!("delivered")));
    assert_eq!((&again["event_id"], &again["delivery_id"]), (&pushed["event_id"], &pushed["delivery_id"]));
}

/// A delivery once it is final.
async fn final_delivery(api: &Api, id: &Value) -> Value {
    let path = format!("/v1/deliveries/{}", id.as_str().unwrap());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let delivery = api.get(&path).await.expect(200);
        if ["delivered", "dead"].contains(&delivery["status"].as_str().unwrap()) {
            return delivery;
        }
        assert!(tokio::time::Instant::now() < deadline, "still open: {delivery}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_at_random_gets_nearly_everything_and_the_rest_is_replayed() {
    const EVENTS: usize = 2_000;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let server = Server::start().await;
    let api = server.api();
    let turn = AtomicU64::new(0);
    let receiver = receiver(Script::by(move |_| {
        let fails = SeededRng::new(seed ^ turn.fetch_add(1, Ordering::Relaxed)).unit() < 0.3;
        if fails { 500.into() } else { 200.into() }
    }))
    .await;
    // As often as is usual, and faster.
    let policy = json!({
        "event_types": [],
        "retry": {"schedule": ["20ms", "50ms", "100ms", "200ms", "400ms"], "max_attempts": 6},
        "circuit_breaker": {"enabled": false},
    });
    let endpoint = endpoint(&api, &receiver, policy).await;
    let source = github(&api, &endpoint).await;

    let mut events = BTreeMap::new();
    for n in 0..EVENTS {
        let body = format!("{{\"n\":{n}}}").into_bytes();
        let taken = post(&api, &source, &of_github(&format!("d-{n}"), &body), &body).await.expect(200);
        events.insert(taken["event_id"].as_str().unwrap().to_owned(), body);
    }
    let delivered = settled(&api).await;
    println!("{delivered} of {EVENTS} delivered");
    assert!(delivered * 1000 >= EVENTS * 995, "{delivered} of {EVENTS} delivered");

    receiver.set_script(Script::always(200));
    let letters = api.get("/v1/dlq?limit=500").await.expect(200)["data"].as_array().unwrap().clone();
    assert_eq!(letters.len(), EVENTS - delivered, "what is not delivered is dead");
    for letter in &letters {
        let path = format!("/v1/deliveries/{}:replay", letter["id"].as_str().unwrap());
        let replay = api.post(&path, "{}").await.expect(201);
        assert_eq!(final_delivery(&api, &replay["id"]).await["status"], "delivered");
    }
    for (event, body) in accepted_bodies(&receiver) {
        assert_eq!(events.remove(&event).as_deref(), Some(&body[..]), "{event}");
    }
    assert!(events.is_empty(), "{} never arrived", events.len());
}

/// The bodies that a receiver took, by the ids of their events.
fn accepted_bodies(receiver: &Receiver) -> BTreeMap<String, Bytes> {
    let requests = receiver.requests();
    let accepted = requests.iter().filter(|request| request.status == Some(StatusCode::OK));
    accepted.map(|request| (request.webhook_id().unwrap().to_owned(), request.body.clone())).collect()
}

/// Waits until nothing is open; answers how many were delivered.
async fn settled(api: &Api) -> usize {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (mut delivered, mut open, mut cursor) = (0, 0, None::<String>);
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = api.get(&format!("/v1/deliveries?limit=500{after}")).await.expect(200);
            for delivery in page["data"].as_array().unwrap() {
                match delivery["status"].as_str().unwrap() {
                    "delivered" => delivered += 1,
                    "dead" => {}
                    _ => open += 1,
                }
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        if open == 0 {
            return delivered;
        }
        assert!(tokio::time::Instant::now() < deadline, "{open} deliveries are open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_was_told_is_taken_is_delivered_though_the_server_is_killed() {
    const SENDERS: usize = 16;
    const KILLS: usize = 4;
    let mut server = Server::start().await;
    let api = server.api();
    let receiver = receiver(Script::always(200)).await;
    let endpoint = endpoint(&api, &receiver, json!({"event_types": []})).await;
    let source = github(&api, &endpoint).await;

    let (senders, is_over) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let taken = Arc::new(std::sync::Mutex::new(HashSet::new()));
    for sender in 0..SENDERS {
        let (api, source) = (api.clone(), source.clone());
        let (is_over, taken) = (Arc::clone(&is_over), Arc::clone(&taken));
        senders.spawn(async move {
            for n in 0_u64.. {
                // As GitHub does not, but others do: again until it is taken.
                let body = format!("{{\"sender\":{sender},\"n\":{n}}}").into_bytes();
                let headers = of_github(&format!("d-{sender}-{n}"), &body);
                loop {
                    match try_post(&api, &source, &headers, &body).await {
                        Ok(reply) if reply.status == 200 => {
                            let event = reply.json()["event_id"].as_str().unwrap().to_owned();
                            assert!(taken.lock().unwrap().insert(event), "each event has an id of its own");
                            break;
                        }
                        Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
                if is_over.load(Ordering::Relaxed) {
                    return n;
                }
            }
            0
        });
    }
    senders.close();
    for _ in 0..KILLS {
        let before = taken.lock().unwrap().len();
        while taken.lock().unwrap().len() < before + 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill().await;
        server.restart().await;
    }
    is_over.store(true, Ordering::Relaxed);
    senders.wait().await;

    let taken = std::mem::take(&mut *taken.lock().unwrap());
    println!("{} taken over {KILLS} kills", taken.len());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while accepted_bodies(&receiver).len() < taken.len() {
        assert!(tokio::time::Instant::now() < deadline, "some never arrived");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arrived: HashSet<_> = accepted_bodies(&receiver).into_keys().collect();
    assert_eq!(arrived, taken, "what was answered, once under one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_answers_as_it_is_set_up_and_tells_what_it_refuses() {
    let server = Server::start_with(&["--public-url", "https://hooks.example.com"]).await;
    let api = server.api();
    let source = json!({
        "name": "acme", "provider": "generic-hmac", "template": "{method} {url}\n{body}",
        "response": {"status": 202, "body": "<ok/>", "content_type": "text/xml"},
        "rate_limit": {"per_second": 1, "burst": 2},
    });
    let source = create_source(&api, source).await;
    let (id, secret) = (source["id"].as_str().unwrap(), source["secret"].as_str().unwrap());
    let url = format!("https://hooks.example.com/ingest/{id}");
    assert_eq!(source["ingest_url"], url);
    let headers =
        |body: &str| vec![("x-signature", hmac_hex(secret, format!("POST {url}\n{body}").as_bytes()))];

    let reply = post(&api, &source, &headers("<a/>"), b"<a/>").await;
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (202, &b"<ok/>"[..]));
    assert_eq!(reply.headers["content-type"], "text/xml");
    let event_id = reply.headers["x-harborhook-event-id"].to_str().unwrap();
    let event = api.get(&format!("/v1/events/{event_id}")).await.expect(200);
    assert_eq!((&event["payload"], &event["payload_encoding"]), (&json!("<a/>"), &json!("text")));
    assert_eq!(
        (&event["fanout"]["reason"], &event["metadata"]["source_id"]),
        (&json!("no_subscription"), &source["id"])
    );

    let forged = post(&api, &source, &headers("<a/>"), b"<b/>").await;
    assert_eq!((forged.status.as_u16(), forged.problem_code().as_str()), (401, "invalid_signature"));
    post(&api, &source, &headers("<c/>"), b"<c/>").await;
    let hasty = post(&api, &source, &headers("<d/>"), b"<d/>").await;
    assert_eq!((hasty.status.as_u16(), hasty.problem_code().as_str()), (429, "rate_limited"));
    assert_eq!(hasty.headers["retry-after"], "1");
    let large = post(&api, &source, &Headers::new(), &vec![b' '; 1024 * 1024 + 1]).await;
    assert_eq!((large.status.as_u16(), large.problem_code().as_str()), (413, "payload_too_large"));
    let allowed = json!({"allowed_ips": ["203.0.113.0/24"], "rate_limit": null}).to_string();
    api.send(Method::PATCH, &format!("/v1/sources/{id}"), allowed).await.expect(200);
    let foreign = post(&api, &source, &headers("<e/>"), b"<e/>").await;
    assert_eq!((foreign.status.as_u16(), foreign.problem_code().as_str()), (403, "address_not_allowed"));

    let refused = api.get(&format!("/v1/sources/{id}/rejections")).await.expect(200);
    let codes: Vec<_> = refused["data"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(codes, ["address_not_allowed", "too_large", "rate_limited", "signature_mismatch"]);
    assert_eq!(refused["data"][3]["signed_text"], format!("POST {url}\n<b/>"));
    assert!(!refused.to_string().contains(secret), "{refused}");
    assert_eq!(api.get(&format!("/v1/sources/{id}")).await.expect(200)["rejected_count"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_obeys_what_was_set_up_at_another() {
    let Some(postgres) = OwnServer::start().await else { return };
    let url = postgres.create_database("sources").await;
    let (one, other) = (Server::start_on(&url, &[]).await, Server::start_on(&url, &[]).await);
    let (here, there) = (one.api(), other.api());
    let receiver = receiver(Script::always(200)).await;
    let endpoint = endpoint(&here, &receiver, json!({"event_types": []})).await;
    let source = github(&here, &endpoint).await;
    let path = format!("/v1/sources/{}", source["id"].as_str().unwrap());
    let taken = post(&there, &source, &of_github("d-1", b"1"), b"1").await.expect(200);
    assert_eq!(
        post(&here, &source, &of_github("d-1", b"1"), b"1").await.expect(200)["event_id"],
        taken["event_id"]
    );

    let rotation = json!({"secret": "another secret", "overlap": "0s"}).to_string();
    here.post(&format!("{path}/rotate-secret"), rotation).await.expect(200);
    let refused = post(&there, &source, &of_github("d-2", b"2"), b"2").await;
    assert_eq!(refused.status, 401, "the old secret is over");
    let refused = there.get(&format!("{path}/rejections")).await.expect(200);
    assert_eq!(refused["data"][0]["code"], "signature_mismatch");
    assert_eq!(here.get(&path).await.expect(200)["rejected_count"], 1, "all count together");

    here.send(Method::DELETE, &path, Bytes::new()).await.expect(204);
    assert_eq!(post(&there, &source, &of_github("d-3", b"3"), b"3").await.status, 404);
}
