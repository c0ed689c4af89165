use harbor_auth::authenticator::Authenticator;
use harbor_ingest::publish::{self as ingest, Publisher};
use harbor_ingest::receive::{self, Inlet};
use harbor_ingest::rejections::RejectionLog;
use harbor_model::policy::InstancePolicy;
use harbor_model::port::breakers::{BreakerChange, OpenBreaker};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::observer::NoObserver;
use harbor_model::secret::Secret;
use harbor_recover::dead_letters::{self, DeadLetters};
use harbor_recover::interventions::{self, Interventions};
use harbor_recover::jobs::{self, Jobs};
use harbor_recover::tenants::TenantRemoval;
use serde_json::{Value, json};

use super::store::{Trouble, TroubledStore, endpoint_id, tells_too_much, tenant_id};
use super::*;
use crate::openapi;

fn api(trouble: Trouble, open: Vec<OpenBreaker>) -> Router {
    let store = Arc::new(TroubledStore { trouble, open });
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(StillClock), Arc::new(SeededRng::new(1)));
    let publisher = ingest::Deps {
        intake: store.clone(),
        directory: store.clone(),
        handoff: store.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        observer: Arc::new(NoObserver),
    };
    let publisher = Publisher::new(publisher, Default::default());
    let inlet = receive::Deps {
        publisher: publisher.clone(),
        sources: store.clone(),
        history: store.clone(),
        rejections: Arc::new(RejectionLog::new(store.clone())),
    };
    let dead_letters = dead_letters::Deps {
        replays: store.clone(),
        handoff: store.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    let interventions = interventions::Deps {
        interventions: store.clone(),
        lanes: store.clone(),
        handoff: store.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    let jobs = jobs::Deps { jobs: store.clone(), clock: clock.clone(), rng: rng.clone() };
    let operator_key = Secret::new(OPERATOR_KEY.to_owned());
    let authenticator = Authenticator::new(store.clone(), &[1; 32], clock.clone(), Some(&operator_key));
    router(Deps {
        publisher,
        inlet: Inlet::new(inlet),
        dead_letters: DeadLetters::new(dead_letters, Default::default()),
        interventions: Interventions::new(interventions),
        jobs: Jobs::new(jobs, Default::default()),
        tenant_removal: TenantRemoval { tenants: store.clone(), clock: clock.clone(), rng: rng.clone() },
        authenticator: Arc::new(authenticator),
        directory: store.clone(),
        tenants: store.clone(),
        endpoints: store.clone(),
        breakers: store.clone(),
        subscriptions: store.clone(),
        sources: store.clone(),
        api_keys: store.clone(),
        history: store.clone(),
        lanes: store.clone(),
        handoff: store.clone(),
        readiness: store,
        clock,
        rng,
        instance_policy: InstancePolicy::default(),
        base_url: "http://127.0.0.1:8080".to_owned(),
        public_url: None,
        cursor_key: [1; 32],
        settings: Settings::default(),
    })
}

/// A body that the operation takes.
fn body_of(operation: &str) -> Value {
    let subscribed = json!({"endpoint_id": endpoint_id().to_string(), "event_type": "a.b"});
    match operation {
        "create_tenant" => json!({"name": "Acme"}),
        "update_tenant" | "update_endpoint" => json!({"name": "other"}),
        "create_endpoint" => json!({"url": "https://example.com/"}),
        "create_subscription" => subscribed,
        "update_subscription" => json!({"event_type": "a.b"}),
        "create_source" => json!({"name": "stripe", "provider": "stripe", "secret": "whsec_x"}),
        "update_source" => json!({"name": "other"}),
        "publish_event" => json!({"event_type": "a.b", "payload": 1}),
        "batch_publish_events" => json!({"events": [{"event_type": "a.b", "payload": 1}]}),
        "cancel_deliveries" => json!({"filter": {"event_type": "a.b"}}),
        "create_replay" => json!({"filter": {"event_type": "a.b"}}),
        "create_api_key" => json!({"name": "shop", "role": "publisher"}),
        _ => Value::Null,
    }
}

/// The path of an operation with ids in it.
fn path_of(path: &str) -> String {
    let number = endpoint_id().to_string().replacen("ep_", "", 1);
    let prefixes = [
        ("/endpoints/", "ep_"),
        ("/subscriptions/", "sub_"),
        ("/sources/", "src_"),
        ("/ingest/", "src_"),
        ("/events/", "evt_"),
        ("/deliveries/", "dlv_"),
        ("/dlq/", "dlv_"),
        ("/api-keys/", "key_"),
        ("/replays/", "rpl_"),
        ("/jobs/", "job_"),
    ];
    let prefix = prefixes.iter().find(|(part, _)| path.contains(part)).map_or("", |(_, prefix)| prefix);
    path.replace("{tenant_id}", "acme").replace("{id}", &format!("{prefix}{number}")).replace("{key}", "a")
}

/// Method, path and name of every operation that asks the store for something, as an operator calls it.
fn operations() -> Vec<(String, String, String)> {
    let document = openapi::document();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            if path.starts_with("/v1/tenants") {
                all.push((method.to_uppercase(), path_of(path), name.to_owned()));
            }
        }
    }
    all
}

#[tokio::test]
async fn every_operation_says_that_the_store_is_away_and_nothing_else() {
    for trouble in [Trouble::AllAway, Trouble::AllButDirectoryAway] {
        let api = api(trouble, Vec::new());
        let operations = operations();
        assert!(operations.len() >= 30, "{operations:?}");
        for (method, path, name) in operations {
            let (status, headers, body) = call(&api, &method, &path, OPERATOR_KEY, &body_of(&name)).await;
            let at = format!("{trouble:?}: {method} {path}: {status} {body}");
            assert!(!tells_too_much(&at), "{at}");
            // Of a batch each event has its own answer, once the tenant is known.
            if name == "batch_publish_events" && trouble == Trouble::AllButDirectoryAway {
                assert_eq!(body["results"][0]["error"]["code"], "storage_unavailable", "{at}");
                continue;
            }
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{at}");
            assert_eq!(body["code"], "storage_unavailable", "{at}");
            assert_eq!(headers["retry-after"], "1", "{at}");
            assert_eq!(headers["content-type"], PROBLEM_MEDIA_TYPE, "{at}");
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_is_not_refused() {
    let api = api(Trouble::AllAway, Vec::new());
    let (status, headers, body) = call(&api, "GET", "/v1/ping", "hhk_of_somebody", &Value::Null).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("storage_unavailable")));
    assert_eq!(headers["retry-after"], "1");
    assert!(!tells_too_much(&body.to_string()), "{body}");
}

#[tokio::test]
async fn a_tenant_over_its_share_is_told_when_to_come_back() {
    let api = api(Trouble::Crowded, Vec::new());
    let publish = async |name: &str, path: &str| {
        call(&api, "POST", &format!("/v1/tenants/acme/{path}"), OPERATOR_KEY, &body_of(name)).await
    };
    let test = format!("endpoints/{}:test", endpoint_id());
    for (name, path) in [("publish_event", "events:publish"), ("test_endpoint", test.as_str())] {
        let (status, headers, body) = publish(name, path).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
        assert_eq!(body["code"], "tenant_crowded");
        assert_eq!(headers["retry-after"], "1");
    }

    let (status, _, body) = publish("batch_publish_events", "events:batchPublish").await;
    let error = &body["results"][0]["error"];
    assert_eq!((status, &error["status"]), (StatusCode::OK, &json!(429)));
    assert_eq!(error["code"], "tenant_crowded");
}

#[tokio::test]
async fn an_endpoint_shows_how_its_breaker_stands() {
    let at = |secs| StillClock.now() + Duration::from_secs(secs);
    let breaker = |tenant: &str| OpenBreaker {
        key: EndpointKey { tenant_id: tenant.parse().unwrap(), endpoint_id: endpoint_id() },
        version: 1,
        opened_at: at(0),
        change: BreakerChange {
            decided_at: at(0),
            probe_at: at(30),
            cooldown: Duration::from_secs(30),
            prober: None,
        },
    };
    let closed = json!({"state": "closed", "opened_at": null, "next_probe_at": null});
    let open = json!({
        "state": "open", "opened_at": at(0).to_string(), "next_probe_at": at(30).to_string(),
    });
    let check = async |breaker: OpenBreaker, expected: &Value| {
        let api = api(Trouble::Crowded, vec![breaker]);
        let path = format!("/v1/tenants/{}/endpoints", tenant_id());
        let (_, _, list) = call(&api, "GET", &path, OPERATOR_KEY, &Value::Null).await;
        assert_eq!((&list["data"][0]["circuit"], &list["data"][1]["circuit"]), (&closed, expected));
        let path = format!("{path}/{}", endpoint_id());
        let (_, _, one) = call(&api, "GET", &path, OPERATOR_KEY, &Value::Null).await;
        assert_eq!(&one["circuit"], expected);
        let breaker_of = |shown: &Value| shown["circuit_breaker"]["consecutive_failures"].clone();
        assert_eq!(breaker_of(&one), json!(10));
    };
    check(breaker("acme"), &open).await;
    check(breaker("another"), &closed).await;
}
