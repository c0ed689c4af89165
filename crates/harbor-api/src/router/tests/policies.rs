//! Orders, quotas and retentions as policies, and quotas in the headers of publishes.

use harbor_model::policy::RateLimit;
use harbor_model::policy::quota::QuotaLayer;
use http::HeaderValue;
use serde_json::json;

use super::desk::Scene;
use super::store::endpoint_id;
use super::*;

#[tokio::test]
async fn a_tenants_policy_is_changed_field_by_field() {
    let scene = Scene::new();
    let patch = async |policy: Value| {
        let body = json!({"policy": policy});
        let (code, tenant) = scene.ask(OPERATOR_KEY, "PATCH", "/v1/tenants/acme", body.clone()).await;
        assert_eq!(code, 200, "{body}: {tenant}");
        tenant["policy"].clone()
    };
    let policy = patch(json!({"ordering": null})).await;
    assert_eq!((&policy["ordering"], &policy["on_dead"]), (&json!("none"), &json!("skip")));
    assert_eq!(policy["quota"], json!({"per_second": null, "burst": null, "per_day": null}));
    assert_eq!(policy["retention"], json!({"history": "30d", "dead_letters": "90d"}));
    for field in ["ordering", "on_dead", "quota.per_second", "quota.per_day", "retention.history"] {
        assert_eq!(policy["policy_origins"][field], "default", "{field}");
    }

    let policy = patch(json!({
        "ordering": "key", "on_dead": "hold", "quota": {"per_second": 10, "per_day": 1_000},
        "retention": {"history": "7d", "dead_letters": "3650d"},
    }));
    let policy = policy.await;
    assert_eq!((&policy["ordering"], &policy["on_dead"]), (&json!("key"), &json!("hold")));
    assert_eq!(policy["quota"], json!({"per_second": 10, "burst": 10, "per_day": 1_000}));
    assert_eq!(policy["retention"], json!({"history": "7d", "dead_letters": "3650d"}));
    for field in ["ordering", "quota.burst", "quota.per_day", "retention.dead_letters"] {
        assert_eq!(policy["policy_origins"][field], "tenant", "{field}");
    }

    let policy = patch(json!({"quota": {"per_second": null}, "retention": {"history": null}})).await;
    assert_eq!(policy["quota"], json!({"per_second": null, "burst": null, "per_day": 1_000}));
    assert_eq!(policy["retention"], json!({"history": "30d", "dead_letters": "3650d"}));
    let policy = patch(json!({"quota": null, "retention": null, "on_dead": null})).await;
    assert_eq!(policy["quota"]["per_day"], Value::Null);
    assert_eq!(policy["policy_origins"]["retention.dead_letters"], "default");
    assert_eq!((&policy["ordering"], &policy["on_dead"]), (&json!("key"), &json!("skip")));
}

#[tokio::test]
async fn a_quota_and_a_retention_keep_to_their_bounds() {
    let scene = Scene::new();
    let check = async |policy: Value, expected: &[&str]| {
        let text = policy.to_string();
        let body = json!({"policy": policy});
        let (status, answer) = scene.ask(OPERATOR_KEY, "PATCH", "/v1/tenants/acme", body).await;
        let errors = answer["errors"].as_array().cloned().unwrap_or_default();
        let fields: Vec<_> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!((status, fields.as_slice()), (422, expected), "{text}: {answer}");
    };
    check(
        json!({"quota": {"per_second": 0, "burst": 1_000_001}}),
        &["policy.quota.per_second", "policy.quota.burst"],
    )
    .await;
    check(json!({"quota": {"burst": 5}}), &["policy.quota.burst"]).await;
    check(json!({"quota": {"per_day": 0}}), &["policy.quota.per_day"]).await;
    check(json!({"quota": {"per_hour": 1}}), &["policy.quota.per_hour"]).await;
    check(json!({"quota": 5}), &["policy.quota"]).await;
    check(json!({"retention": {"history": "59s"}}), &["policy.retention.history"]).await;
    check(json!({"retention": {"history": "a month"}}), &["policy.retention.history"]).await;
    check(json!({"retention": {"dead_letters": "3651d"}}), &["policy.retention.dead_letters"]).await;
    check(json!({"retention": {"events": "1d"}}), &["policy.retention.events"]).await;
    check(json!({"ordering": "strict"}), &["policy.ordering"]).await;
    check(json!({"on_dead": "stop"}), &["policy.on_dead"]).await;
    assert_eq!(scene.desk.state().tenant.as_ref().map(|tenant| tenant.version), Some(1));
}

#[tokio::test]
async fn an_endpoint_orders_its_deliveries_as_it_says() {
    let scene = Scene::new();
    let create = json!({"url": "https://example.com/", "ordering": "endpoint", "on_dead": "hold"});
    let (code, made) = scene.ask("hhk_admin", "POST", "/v1/endpoints", create).await;
    assert_eq!((code, &made["ordering"], &made["on_dead"]), (201, &json!("endpoint"), &json!("hold")));
    assert_eq!((&made["policy_origins"]["ordering"], &made["draining"]), (&json!("endpoint"), &Value::Null));

    let path = format!("/v1/endpoints/{}", endpoint_id());
    let (_, changed) = scene.ask("hhk_admin", "PATCH", &path, json!({"ordering": "key"})).await;
    assert_eq!((&changed["ordering"], &changed["on_dead"]), (&json!("key"), &json!("skip")));
    let (_, changed) = scene.ask("hhk_admin", "PATCH", &path, json!({"ordering": null})).await;
    assert_eq!(changed["ordering"], "none");
    assert_eq!(changed["policy_origins"]["ordering"], "default");

    scene.refuses_fields("PATCH", &path, json!({"ordering": "lane"}), &["ordering"]).await;
    scene.refuses_fields("PATCH", &path, json!({"quota": {"per_day": 1}}), &["quota"]).await;
    scene.refuses_fields("PATCH", &path, json!({"draining": null}), &["draining"]).await;
    let bad = json!({"url": "https://example.com/", "ordering": 1, "on_dead": "never"});
    scene.refuses_fields("POST", "/v1/endpoints", bad, &["on_dead", "ordering"]).await;
}

async fn publish(scene: &Scene, path: &str, body: &Value) -> (u16, HeaderMap, Value) {
    let (status, headers, body) = call(&scene.api, "POST", path, "hhk_publisher", body).await;
    (status.as_u16(), headers, body)
}

#[tokio::test]
async fn a_publish_over_the_quota_is_refused_with_when_to_come_back() {
    let scene = Scene::new();
    let event = json!({"event_type": "a.b", "payload": 1});
    let (code, headers, _) = publish(&scene, "/v1/events:publish", &event).await;
    assert_eq!((code, headers.get("ratelimit")), (200, None), "there is no quota");

    scene.desk.state().quota = QuotaLayer { rate: None, per_day: Some(2) };
    for left in ["1", "0"] {
        let (code, headers, _) = publish(&scene, "/v1/events:publish", &event).await;
        assert_eq!((code, &headers["ratelimit-remaining"]), (200, &HeaderValue::from_str(left).unwrap()));
        assert_eq!(headers["ratelimit-limit"], "2");
        assert!(!headers.contains_key("retry-after"));
    }
    let (code, headers, body) = publish(&scene, "/v1/events:publish", &event).await;

    assert_eq!((code, &body["code"]), (429, &json!("quota_exceeded")));
    // It is 22:13:20 on this clock.
    let secs = "6400";
    assert_eq!(headers["retry-after"], secs);
    assert_eq!(headers["ratelimit-policy"], "\"day\";q=2;w=86400");
    assert_eq!(headers["ratelimit"], format!("\"day\";r=0;t={secs}"));
    assert_eq!(
        (&headers["ratelimit-limit"], &headers["ratelimit-reset"]),
        (&HeaderValue::from(2), &HeaderValue::from_static(secs))
    );
    assert_eq!(headers["content-type"], PROBLEM_MEDIA_TYPE);
}

#[tokio::test]
async fn in_a_batch_each_event_over_the_quota_is_refused_by_itself() {
    let scene = Scene::new();
    let rate = RateLimit { per_second: 2, burst: 2 };
    scene.desk.state().quota = QuotaLayer { rate: Some(rate), per_day: None };
    let event = json!({"event_type": "a.b", "payload": 1});
    let batch = json!({"events": vec![event; 3]});

    let (code, headers, body) = publish(&scene, "/v1/events:batchPublish", &batch).await;

    assert_eq!(code, 200);
    let codes: Vec<_> =
        body["results"].as_array().unwrap().iter().map(|one| one["error"]["code"].clone()).collect();
    assert_eq!(codes, [Value::Null, Value::Null, json!("quota_exceeded")]);
    assert_eq!(body["results"][2]["error"]["status"], 429);
    assert_eq!(headers["ratelimit-policy"], "\"second\";q=2;w=1");
    assert_eq!(
        (&headers["ratelimit-remaining"], &headers["ratelimit-reset"]),
        (&HeaderValue::from(0), &HeaderValue::from(1))
    );
}
