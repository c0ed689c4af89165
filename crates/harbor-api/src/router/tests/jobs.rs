//! Replays of many deliveries, cancellations, and the end of a tenant.

use harbor_model::delivery::DeliveryStatus;
use harbor_model::id::{DeliveryId, JobId, ReplayId};
use harbor_model::job::{JobStatus, Selection, Task};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::JobCreated;
use serde_json::json;

use super::desk::{Scene, delivery_id, job};
use super::store::endpoint_id;
use super::*;

fn cancel_task() -> Task {
    Task::Cancel(DeliveryFilter::default())
}

#[tokio::test]
async fn a_replay_is_a_job_that_shows_what_was_asked() {
    let scene = Scene::new();
    let by_range = json!({
        "dlq_range": {
            "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z",
            "endpoint_id": endpoint_id().to_string(),
        },
        "rate_per_second": 50, "dry_run": true, "new_webhook_id": true, "reason": "receiver was down",
    });
    scene.is_guarded("POST", "replays", &by_range, true).await;

    let (code, made) = scene.ask("hhk_admin", "POST", "/v1/replays", by_range.clone()).await;

    assert_eq!(code, 202, "{made}");
    for (field, value) in by_range.as_object().unwrap() {
        assert_eq!(made[field], *value, "{made}");
    }
    assert_eq!((&made["status"], &made["error"]), (&json!("pending"), &Value::Null));
    assert_eq!(made["counts"], json!({"matched": 0, "queued": 0, "succeeded": 0, "failed": 0}));
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("rpl_"), "{id}");
    let (code, found) = scene.ask("hhk_viewer", "GET", &format!("/v1/replays/{id}"), Value::Null).await;
    assert_eq!((code, found), (200, made));
}

#[tokio::test]
async fn a_replay_takes_ids_or_a_range_or_a_filter() {
    let scene = Scene::new();
    let id = delivery_id().to_string();
    let range = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"});
    for replay in [
        json!({"delivery_ids": [id]}),
        json!({"dlq_range": range}),
        json!({"filter": {"status": "dead", "event_type": "a.b"}}),
    ] {
        let (code, body) = scene.ask("hhk_admin", "POST", "/v1/replays", replay.clone()).await;
        assert_eq!(code, 202, "{replay}: {body}");
    }
    scene.desk.asked();

    let refuses = async |replay: Value, expected: &[&str]| {
        scene.refuses_fields("POST", "/v1/replays", replay, expected).await;
    };
    refuses(json!({}), &["delivery_ids"]).await;
    refuses(json!({"delivery_ids": [id], "filter": {"status": "dead"}}), &["filter"]).await;
    refuses(json!({"delivery_ids": []}), &["delivery_ids"]).await;
    refuses(json!({"delivery_ids": ["x"]}), &["delivery_ids[0]"]).await;
    refuses(json!({"delivery_ids": [5]}), &["delivery_ids[0]"]).await;
    refuses(json!({"dlq_range": {"from": "2026-01-01T00:00:00Z"}}), &["dlq_range.to"]).await;
    let backwards = json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"});
    refuses(json!({"dlq_range": backwards}), &["dlq_range.to"]).await;
    refuses(json!({"filter": {}}), &["filter"]).await;
    refuses(json!({"filter": {"status": "queued"}}), &["filter.status"]).await;
    refuses(json!({"filter": {"status": "lost"}}), &["filter.status"]).await;
    refuses(json!({"filter": {"event_id": "x", "colour": 1}}), &["filter.colour"]).await;
    refuses(json!({"filter": {"event_id": "x"}}), &["filter.event_id"]).await;
    for rate in [0, 100_001] {
        refuses(json!({"delivery_ids": [id], "rate_per_second": rate}), &["rate_per_second"]).await;
    }
    refuses(json!({"delivery_ids": [id], "reason": "a\u{0}b"}), &["reason"]).await;
    refuses(json!({"delivery_ids": [id], "reason": "r".repeat(1025)}), &["reason"]).await;
    refuses(json!({"delivery_ids": [id], "colour": "red"}), &["colour"]).await;
    assert_eq!(scene.desk.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_replay_has_room_for_ten_thousand_ids_and_no_more() {
    let scene = Scene::new();
    let ids = |count: u128| (1..=count).map(|n| DeliveryId::from_number(n).to_string()).collect::<Vec<_>>();
    let (code, made) =
        scene.ask("hhk_admin", "POST", "/v1/replays", json!({"delivery_ids": ids(10_000)})).await;
    assert_eq!((code, made["delivery_ids"].as_array().map(Vec::len)), (202, Some(10_000)));
    scene
        .refuses_fields("POST", "/v1/replays", json!({"delivery_ids": ids(10_001)}), &["delivery_ids"])
        .await;

    let (_, list) = scene.ask("hhk_viewer", "GET", "/v1/replays", Value::Null).await;
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["delivery_ids"]), (&made["id"], &Value::Null));
}

#[tokio::test]
async fn an_idempotency_key_goes_with_a_replay() {
    let scene = Scene::new();
    let body = json!({"delivery_ids": [delivery_id().to_string()]});
    let ask = async |key: &str| {
        let headers = [("idempotency-key", key)];
        let (status, _, body) =
            call_with(&scene.api, "POST", "/v1/replays", "hhk_admin", &headers, &body).await;
        (status.as_u16(), body)
    };
    assert_eq!(ask("k-1").await.0, 202);
    assert_eq!(scene.desk.asked(), ["create replay under Some(\"k-1\")"]);
    let (code, body) = ask(&"k".repeat(256)).await;
    assert_eq!((code, &body["errors"][0]["field"]), (422, &json!("idempotency_key")));
    scene.desk.state().created = Some(JobCreated::KeyReused);
    let (code, body) = ask("k-1").await;
    assert_eq!((code, &body["code"]), (409, &json!("idempotency_key_reused")));
}

#[tokio::test]
async fn a_tenant_has_only_so_many_open_jobs() {
    let scene = Scene::new();
    scene.desk.state().created = Some(JobCreated::TooMany);
    let replay = json!({"delivery_ids": [delivery_id().to_string()]});
    scene.refuses("hhk_admin", "POST", "/v1/replays", replay.clone(), (409, "limit_reached")).await;
    let cancel = json!({"filter": {}});
    scene.refuses("hhk_admin", "POST", "/v1/deliveries:cancel", cancel, (409, "limit_reached")).await;
    scene.desk.state().created = Some(JobCreated::NoTenant);
    scene.refuses("hhk_admin", "POST", "/v1/replays", replay, (404, "tenant_not_found")).await;
}

#[tokio::test]
async fn open_deliveries_that_match_are_cancelled_by_a_job() {
    let scene = Scene::new();
    let body = json!({"filter": {"endpoint_id": endpoint_id().to_string(), "status": "queued"}});
    scene.is_guarded("POST", "deliveries:cancel", &body, true).await;

    let (code, made) = scene.ask("hhk_admin", "POST", "/v1/deliveries:cancel", body.clone()).await;

    assert_eq!((code, &made["kind"], &made["filter"]), (202, &json!("cancel"), &body["filter"]));
    assert_eq!((&made["tenant_id"], &made["removed"]), (&json!("acme"), &Value::Null));
    let path = format!("/v1/jobs/{}", made["id"].as_str().unwrap());
    assert_eq!(scene.ask("hhk_viewer", "GET", &path, Value::Null).await, (200, made));

    let refuses = async |body: Value, expected: &[&str]| {
        scene.refuses_fields("POST", "/v1/deliveries:cancel", body, expected).await;
    };
    refuses(json!({}), &["filter"]).await;
    refuses(json!({"filter": null}), &["filter"]).await;
    refuses(json!({"filter": []}), &["filter"]).await;
    refuses(json!({"filter": {"status": "dead"}}), &["filter.status"]).await;
    refuses(json!({"filter": {"since": "x", "endpoint_id": "y"}}), &["filter.endpoint_id", "filter.since"])
        .await;
    let backwards = json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"});
    refuses(json!({"filter": backwards}), &["filter.until"]).await;
    scene
        .refuses("hhk_admin", "GET", "/v1/deliveries:cancel", Value::Null, (405, "method_not_allowed"))
        .await;
}

#[tokio::test]
async fn an_open_job_is_stopped_once() {
    let scene = Scene::new();
    let replay = Task::Replay(harbor_model::job::ReplayTask {
        selection: Selection::Ids(vec![delivery_id()]),
        rate_per_second: None,
        is_dry_run: false,
        new_webhook_id: false,
        reason: None,
    });
    let running = |number, task| job(number, task, JobStatus::Running);
    scene.desk.state().jobs = vec![running(1, replay), running(2, cancel_task()), running(3, Task::Purge)];
    let (replay, cancel) = (ReplayId::from_number(1), JobId::from_number(2));
    for (path, missing) in
        [(format!("replays/{replay}"), "replay_not_found"), (format!("jobs/{cancel}"), "job_not_found")]
    {
        let stop = format!("{path}:cancel");
        scene.is_guarded("GET", &path, &Value::Null, false).await;
        scene.is_guarded("POST", &stop, &Value::Null, true).await;
        let stop = format!("/v1/{stop}");
        scene.refuses("hhk_stranger", "GET", &format!("/v1/{path}"), Value::Null, (404, missing)).await;
        scene.refuses("hhk_stranger", "POST", &stop, Value::Null, (404, missing)).await;
        scene.refuses_fields("POST", &stop, json!({"now": true}), &["now"]).await;

        let (code, stopped) = scene.ask("hhk_admin", "POST", &stop, Value::Null).await;
        assert_eq!((code, &stopped["status"]), (200, &json!("cancelled")), "{stopped}");
        scene.refuses("hhk_admin", "POST", &stop, json!({}), (409, "job_final")).await;

        let other = format!("/v1/{path}:pause");
        scene.refuses("hhk_admin", "POST", &other, Value::Null, (404, "route_not_found")).await;
        scene
            .refuses("hhk_admin", "POST", &format!("/v1/{path}"), Value::Null, (405, "method_not_allowed"))
            .await;
    }
    // Each kind is found at its own place alone, and a purge by no tenant.
    for (path, missing) in [
        (format!("/v1/jobs/{}", JobId::from_number(1)), "job_not_found"),
        (format!("/v1/jobs/{}", JobId::from_number(3)), "job_not_found"),
        (format!("/v1/replays/{}", ReplayId::from_number(2)), "replay_not_found"),
        (format!("/v1/replays/{cancel}"), "replay_not_found"),
    ] {
        scene.refuses("hhk_admin", "GET", &path, Value::Null, (404, missing)).await;
        let stop = format!("{path}:cancel");
        scene.refuses("hhk_admin", "POST", &stop, Value::Null, (404, missing)).await;
    }
}

#[tokio::test]
async fn each_sees_the_jobs_that_are_theirs() {
    let scene = Scene::new();
    scene.desk.state().jobs =
        vec![job(2, cancel_task(), JobStatus::Done), job(3, Task::Purge, JobStatus::Running)];
    for path in ["jobs", "replays"] {
        scene.is_guarded("GET", path, &Value::Null, false).await;
        scene.refuses_fields("GET", &format!("/v1/{path}?limit=0"), Value::Null, &["limit"]).await;
        scene
            .refuses_fields("GET", &format!("/v1/{path}?cursor=x&colour=red"), Value::Null, &["colour"])
            .await;
    }
    let kinds = async |key: &str, path: &str| {
        let (code, body) = scene.ask(key, "GET", path, Value::Null).await;
        assert_eq!(code, 200, "{key} {path}: {body}");
        let jobs = body["data"].as_array().unwrap().clone();
        jobs.iter().map(|job| job["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("hhk_viewer", "/v1/jobs").await, ["cancel"]);
    assert_eq!(kinds("hhk_stranger", "/v1/jobs").await, Vec::<String>::new());
    assert_eq!(kinds(OPERATOR_KEY, "/v1/tenants/acme/jobs").await, ["cancel"]);
    assert_eq!(kinds(OPERATOR_KEY, "/v1/jobs").await, ["purge"]);
    assert_eq!(kinds("hhk_instance_viewer", "/v1/jobs").await, ["purge"]);
    scene.refuses("hhk_instance_publisher", "GET", "/v1/jobs", Value::Null, (403, "forbidden")).await;
    scene.refuses(OPERATOR_KEY, "GET", "/v1/replays", Value::Null, (400, "tenant_required")).await;
    let stop = format!("/v1/jobs/{}:cancel", JobId::from_number(3));
    scene.refuses(OPERATOR_KEY, "POST", &stop, Value::Null, (400, "tenant_required")).await;
    let cancel = format!("/v1/jobs/{}", JobId::from_number(2));
    scene.refuses(OPERATOR_KEY, "GET", &cancel, Value::Null, (404, "job_not_found")).await;
}

#[tokio::test]
async fn a_deleted_tenant_is_locked_out_at_once_and_its_purge_is_shown() {
    let scene = Scene::new();
    let path = "/v1/tenants/acme";
    // The key is remembered from here on.
    assert_eq!(scene.ask("hhk_viewer", "GET", "/v1/jobs", Value::Null).await.0, 200);
    for key in ["hhk_admin", "hhk_instance_viewer", "hhk_instance_publisher"] {
        scene.refuses(key, "DELETE", path, Value::Null, (403, "forbidden")).await;
    }
    scene.refuses(OPERATOR_KEY, "DELETE", "/v1/tenants/nobody", Value::Null, (404, "tenant_not_found")).await;
    let stale = [("if-match", "\"9\"")];
    let (status, _, _) = call_with(&scene.api, "DELETE", path, OPERATOR_KEY, &stale, &Value::Null).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);

    let (code, made) = scene.ask(OPERATOR_KEY, "DELETE", path, Value::Null).await;

    assert_eq!((code, &made["kind"], &made["tenant_id"]), (202, &json!("purge"), &json!("acme")), "{made}");
    assert_eq!((&made["status"], &made["removed"]), (&json!("pending"), &json!({})));
    scene.refuses("hhk_viewer", "GET", "/v1/jobs", Value::Null, (401, "unauthorized")).await;
    for (method, below) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/jobs")]
    {
        let body = if method == "PATCH" { json!({"name": "x"}) } else { Value::Null };
        let path = format!("{path}{below}");
        scene.refuses(OPERATOR_KEY, method, &path, body, (404, "tenant_not_found")).await;
    }
    let again = json!({"id": "acme", "name": "Acme"});
    scene.refuses(OPERATOR_KEY, "POST", "/v1/tenants", again, (409, "tenant_exists")).await;
    let job = format!("/v1/jobs/{}", made["id"].as_str().unwrap());
    assert_eq!(scene.ask(OPERATOR_KEY, "GET", &job, Value::Null).await, (200, made));
}

#[tokio::test]
async fn a_delivery_that_is_final_does_not_hide_what_it_is() {
    let scene = Scene::new();
    let path = format!("/v1/deliveries/{}:cancel", delivery_id());
    scene.desk.state().intervened =
        Some(harbor_model::port::interventions::Intervened::Final(DeliveryStatus::Delivered));
    let (_, body) = scene.ask("hhk_admin", "POST", &path, Value::Null).await;
    assert_eq!(body["detail"], "the delivery has ended: it is delivered");
}
