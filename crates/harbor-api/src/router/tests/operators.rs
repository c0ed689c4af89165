//! What operators do to single deliveries, lanes, events and endpoints.

use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::{DisabledReason, Drain};
use harbor_model::id::{DeliveryId, EndpointId, EventId};
use harbor_model::lane::Released;
use harbor_model::port::interventions::Intervened;
use serde_json::json;

use super::desk::{Scene, delivery, delivery_id, event_id};
use super::store::endpoint_id;
use super::*;

#[tokio::test]
async fn an_open_delivery_is_retried_or_cancelled() {
    let scene = Scene::new();
    for (verb, status) in [("retry", DeliveryStatus::Failed), ("cancel", DeliveryStatus::Cancelled)] {
        let path = format!("deliveries/{}:{verb}", delivery_id());
        scene.is_guarded("POST", &path, &Value::Null, true).await;
        let path = format!("/v1/{path}");

        scene.desk.state().intervened = Some(Intervened::Done(delivery(status)));
        scene.desk.asked();
        let (code, body) = scene.ask("hhk_admin", "POST", &path, Value::Null).await;
        assert_eq!((code, &body["id"]), (200, &json!(delivery_id().to_string())), "{body}");
        assert_eq!(body["status"], status.as_str());
        assert_eq!(scene.desk.asked(), [format!("{verb} {}", delivery_id())]);

        scene.desk.state().intervened = Some(Intervened::Final(DeliveryStatus::Dead));
        scene.refuses("hhk_admin", "POST", &path, json!({}), (409, "delivery_final")).await;
        scene.desk.state().intervened = Some(Intervened::Behind);
        scene.refuses("hhk_admin", "POST", &path, Value::Null, (409, "delivery_behind")).await;

        scene.refuses_fields("POST", &path, json!({"now": true}), &["now"]).await;
        let another = format!("/v1/deliveries/{}:{verb}", DeliveryId::from_number(99));
        scene.refuses("hhk_admin", "POST", &another, Value::Null, (404, "delivery_not_found")).await;
        // The same delivery, asked for by another tenant under its own name.
        scene.refuses("hhk_stranger", "POST", &path, Value::Null, (404, "delivery_not_found")).await;
        scene
            .refuses(
                "hhk_admin",
                "POST",
                &format!("/v1/deliveries/x:{verb}"),
                Value::Null,
                (404, "delivery_not_found"),
            )
            .await;
        scene.refuses(OPERATOR_KEY, "POST", &path, Value::Null, (400, "tenant_required")).await;
    }
    let path = format!("/v1/deliveries/{}:hurry", delivery_id());
    scene.refuses("hhk_admin", "POST", &path, Value::Null, (404, "route_not_found")).await;
}

#[tokio::test]
async fn lanes_are_shown_to_who_may_read() {
    let scene = Scene::new();
    let path = format!("endpoints/{}/lanes", endpoint_id());
    scene.is_guarded("GET", &path, &Value::Null, false).await;

    let (code, body) = scene.ask("hhk_viewer", "GET", &format!("/v1/{path}"), Value::Null).await;
    let lane = json!({
        "key": "a/b:c",
        "head": {
            "delivery_id": delivery_id().to_string(), "status": "dead", "attempt_count": 5,
            "next_attempt_at": null,
        },
        "waiting_count": 3,
        "held_at": "1970-01-01T00:00:00.000Z",
    });
    assert_eq!((code, body), (200, json!({"data": [lane], "next_cursor": null})));

    scene.refuses_fields("GET", &format!("/v1/{path}?limit=501"), Value::Null, &["limit"]).await;
    scene.refuses_fields("GET", &format!("/v1/{path}?cursor=x"), Value::Null, &["cursor"]).await;
    let another = format!("/v1/endpoints/{}/lanes", EndpointId::from_number(99));
    scene.refuses("hhk_viewer", "GET", &another, Value::Null, (404, "endpoint_not_found")).await;
    scene
        .refuses("hhk_stranger", "GET", &format!("/v1/{path}"), Value::Null, (404, "endpoint_not_found"))
        .await;
}

#[tokio::test]
async fn a_lane_is_named_by_its_key_up_to_the_last_colon() {
    let scene = Scene::new();
    let lanes = format!("/v1/endpoints/{}/lanes", endpoint_id());
    scene.desk.state().released = Released::Done(Some(delivery_id()));
    let check = async |segment: &str, key: &str, asked: &str| {
        let (code, body) = scene.ask("hhk_admin", "POST", &format!("{lanes}/{segment}"), Value::Null).await;
        assert_eq!(code, 200, "{segment}: {body}");
        assert_eq!(body, json!({"key": key, "delivery_id": delivery_id().to_string()}));
        assert_eq!(scene.desk.asked(), [asked], "{segment}");
    };
    check("order-1:skip", "order-1", "skip lane `order-1`").await;
    check("order-1:retry", "order-1", "retry lane `order-1`").await;
    check(":skip", "", "skip lane ``").await;
    check("a:b:retry", "a:b", "retry lane `a:b`").await;
    check("a%2Fb%3Ac:skip", "a/b:c", "skip lane `a/b:c`").await;
    check("%C3%A9%20%25:skip", "é %", "skip lane `é %`").await;
}

#[tokio::test]
async fn a_lane_that_cannot_be_released_says_why() {
    let scene = Scene::new();
    for verb in ["skip", "retry"] {
        let path = format!("endpoints/{}/lanes/k:{verb}", endpoint_id());
        scene.is_guarded("POST", &path, &Value::Null, true).await;
        let path = format!("/v1/{path}");
        for (released, expected) in [
            (Released::Missing, (404, "lane_not_found")),
            (Released::Expired, (410, "event_expired")),
            (Released::NoEndpoint, (409, "endpoint_unavailable")),
        ] {
            scene.desk.state().released = released;
            scene.refuses("hhk_admin", "POST", &path, Value::Null, expected).await;
        }
        scene.desk.state().released = Released::Done(None);
        let (code, body) = scene.ask("hhk_admin", "POST", &path, json!({})).await;
        assert_eq!((code, body), (200, json!({"key": "k", "delivery_id": null})));

        scene.refuses_fields("POST", &path, json!({"force": true}), &["force"]).await;
        scene.refuses("hhk_stranger", "POST", &path, Value::Null, (404, "endpoint_not_found")).await;
        let another = format!("/v1/endpoints/{}/lanes/k:{verb}", EndpointId::from_number(99));
        scene.refuses("hhk_admin", "POST", &another, Value::Null, (404, "endpoint_not_found")).await;
    }
    for segment in ["k", "k:hold", "k%00"] {
        let path = format!("/v1/endpoints/{}/lanes/{segment}", endpoint_id());
        scene.refuses("hhk_admin", "POST", &path, Value::Null, (404, "route_not_found")).await;
    }
}

#[tokio::test]
async fn an_expunged_event_is_shown_without_its_payload() {
    let scene = Scene::new();
    let event = format!("/v1/events/{}", event_id());
    let payload = format!("{event}/payload");
    scene.is_guarded("DELETE", &format!("events/{}/payload", event_id()), &Value::Null, true).await;
    let (_, body) = scene.ask("hhk_viewer", "GET", &event, Value::Null).await;
    assert_eq!((&body["payload"], &body["expunged"]), (&json!({"a": 1}), &json!(false)));

    for _ in 0..2 {
        assert_eq!(scene.ask("hhk_admin", "DELETE", &payload, Value::Null).await, (204, Value::Null));
    }

    let (code, body) = scene.ask("hhk_viewer", "GET", &event, Value::Null).await;
    assert_eq!((code, &body["payload"], &body["expunged"]), (200, &Value::Null, &json!(true)));
    let another = format!("/v1/events/{}/payload", EventId::from_number(99));
    scene.refuses("hhk_admin", "DELETE", &another, Value::Null, (404, "event_not_found")).await;
    scene.refuses("hhk_stranger", "DELETE", &payload, Value::Null, (404, "event_not_found")).await;
    scene.refuses("hhk_admin", "GET", &payload, Value::Null, (405, "method_not_allowed")).await;
}

#[tokio::test]
async fn a_resumed_endpoint_drains_at_the_rate_that_is_given() {
    let scene = Scene::new();
    let act = async |verb: &str, body: Value| {
        let path = format!("/v1/endpoints/{}:{verb}", endpoint_id());
        let (code, endpoint) = scene.ask("hhk_admin", "POST", &path, body).await;
        assert_eq!(code, 200, "{verb}: {endpoint}");
        (endpoint["paused"].clone(), endpoint["draining"].clone())
    };
    let now = StillClock.now().to_string();
    let draining = |per_second: u32, since: &str| json!({"per_second": per_second, "since": since});

    assert_eq!(act("pause", Value::Null).await, (json!(true), Value::Null));
    assert_eq!(act("resume", json!({"drain_per_second": 5})).await, (json!(false), draining(5, &now)));
    // One that drains already goes on with what it drains.
    let since = StillClock.now() + Duration::from_secs(60);
    scene.desk.state().endpoint.drain = Some(Drain { per_second: 5, since });
    let faster = act("resume", json!({"drain_per_second": 1_000_000})).await;
    assert_eq!(faster, (json!(false), draining(1_000_000, &since.to_string())));
    assert_eq!(act("resume", json!({})).await, (json!(false), Value::Null));

    act("resume", json!({"drain_per_second": 1})).await;
    assert_eq!(act("pause", Value::Null).await, (json!(true), Value::Null));
    assert_eq!(act("resume", Value::Null).await, (json!(false), Value::Null));
}

#[tokio::test]
async fn a_drain_has_a_rate_within_its_bounds() {
    let scene = Scene::new();
    let path = format!("/v1/endpoints/{}:resume", endpoint_id());
    for rate in [0, 1_000_001] {
        scene.refuses_fields("POST", &path, json!({"drain_per_second": rate}), &["drain_per_second"]).await;
    }
    scene.refuses_fields("POST", &path, json!({"drain_per_second": "5"}), &["drain_per_second"]).await;
    scene.refuses_fields("POST", &path, json!({"rate": 5}), &["rate"]).await;
    let pause = format!("/v1/endpoints/{}:pause", endpoint_id());
    scene.refuses_fields("POST", &pause, json!({"drain_per_second": 5}), &["drain_per_second"]).await;
    assert_eq!(scene.desk.state().endpoint.version, 1);
}

#[tokio::test]
async fn an_endpoint_says_that_it_failed_for_days() {
    let scene = Scene::new();
    scene.desk.state().endpoint.disabled = Some(DisabledReason::Failing);
    let path = format!("/v1/endpoints/{}", endpoint_id());
    let (_, body) = scene.ask("hhk_viewer", "GET", &path, Value::Null).await;
    assert_eq!((&body["disabled"], &body["disabled_reason"]), (&json!(true), &json!("failing")));
    // Somebody who agrees does not change the reason.
    let (_, body) = scene.ask("hhk_admin", "POST", &format!("{path}:disable"), Value::Null).await;
    assert_eq!(body["disabled_reason"], "failing");
    let (_, body) = scene.ask("hhk_admin", "POST", &format!("{path}:enable"), Value::Null).await;
    assert_eq!((&body["disabled"], &body["disabled_reason"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn dead_letters_are_counted_by_endpoint_and_cause() {
    let scene = Scene::new();
    scene.is_guarded("GET", "dlq/summary", &Value::Null, false).await;
    let (code, body) = scene.ask("hhk_viewer", "GET", "/v1/dlq/summary", Value::Null).await;
    let group = json!({
        "endpoint_id": endpoint_id().to_string(), "cause": "client_error", "count": 42,
        "first_dead_at": "1970-01-01T00:00:00.000Z", "last_dead_at": "1970-01-01T00:00:01.000Z",
    });
    assert_eq!((code, body), (200, json!({"data": [group], "complete": true})));
    // A filter that is not obeyed is better refused.
    scene.refuses_fields("GET", "/v1/dlq/summary?cause=redirect", Value::Null, &["cause"]).await;
}
