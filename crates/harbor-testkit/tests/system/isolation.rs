use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use http::Method;
use serde_json::{Value, json};

use crate::system::set_up::{endpoint, receiver};

/// The things of one tenant, by the names of the path parameters that they stand for.
async fn things(api: &Api) -> Value {
    let receiver = receiver(Script::always(404)).await;
    let created = endpoint(api, &receiver, json!({})).await;
    let subscription = json!({"event_type": "only.this", "endpoint_id": created["id"]}).to_string();
    let subscription = api.post("/v1/subscriptions", subscription).await.expect(201);
    let event = api.publish("a", b"{}").await.expect(200)["event_id"].clone();
    let key = api.post("/v1/api-keys", json!({"name": "k", "role": "viewer"}).to_string()).await.expect(201);
    let path = format!("/v1/events/{}/deliveries", event.as_str().unwrap());
    receiver.wait_for(1, std::time::Duration::from_secs(20)).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let delivery = loop {
        let delivery = api.get(&path).await.expect(200)["data"][0].clone();
        if delivery["status"] == "dead" {
            break delivery;
        }
        assert!(tokio::time::Instant::now() < deadline, "{delivery}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let replay = json!({"delivery_ids": [delivery["id"]], "dry_run": true}).to_string();
    let replay = api.post("/v1/replays", replay).await.expect(202);
    let cancel = json!({"filter": {"event_type": "only.this"}}).to_string();
    let cancel = api.post("/v1/deliveries:cancel", cancel).await.expect(202);
    let source = json!({"name": "s", "provider": "none"}).to_string();
    let source = api.post("/v1/sources", source).await.expect(201);
    json!({
        "sources": source["id"], "endpoints": created["id"], "subscriptions": subscription["id"], "events": event,
        "deliveries": delivery["id"], "dlq": delivery["id"], "api-keys": key["id"],
        "replays": replay["id"], "jobs": cancel["id"],
    })
}

/// The path with its parameters filled in: another tenant's id and things.
fn fill(path: &str, tenant: &str, things: &Value) -> String {
    let mut filled: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let text = match segment.split_once('}') {
            None => segment.to_owned(),
            Some(("{tenant_id", rest)) => format!("{tenant}{rest}"),
            Some((_, rest)) => {
                let kind = filled.last().expect("a parameter follows its collection");
                // The instance's own `/v1/tenants/{id}` names the tenant.
                let id = things[kind.as_str()].as_str().unwrap_or(tenant);
                format!("{id}{rest}")
            }
        };
        filled.push(text);
    }
    filled.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_or_changes_anything_of_another_tenant() {
    let server = Server::start().await;
    let operator = server.operator();
    let victim = things(&server.api()).await;
    operator.post("/v1/tenants", json!({"id": "tn_other", "name": "Other"}).to_string()).await.expect(201);
    let key = json!({"name": "k", "role": "admin"}).to_string();
    let key = operator.post("/v1/tenants/tn_other/api-keys", key).await.expect(201)["key"].clone();
    let stranger = server.api().with_key(key.as_str());
    let nobody = server.api().with_key(None);

    let document = nobody.get("/openapi.json").await.expect(200);
    let open = ["/v1/ping", "/healthz", "/readyz", "/openapi.json", "/docs", "/ingest/{id}"];
    let (mut walked, mut refused) = (0, 0);
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if open.contains(&path.as_str()) || operation.get("responses").is_none() {
                continue;
            }
            let target = fill(path, "tn_demo", &victim);
            let body = match method {
                Method::GET | Method::DELETE => String::new(),
                _ => "{}".to_owned(),
            };
            let unknown = nobody.send(method.clone(), &target, body.clone()).await;
            assert_eq!(unknown.status, 401, "{method} {path} without a key");
            let reply = stranger.send(method.clone(), &target, body).await;
            let status = reply.status.as_u16();
            walked += 1;
            if path.strip_prefix("/v1/tenants/{tenant_id}").is_some_and(|rest| !rest.is_empty()) {
                assert_eq!(
                    (status, reply.problem_code().as_str()),
                    (403, "tenant_mismatch"),
                    "{method} {path}"
                );
            } else if path.starts_with("/v1/tenants") {
                assert_eq!(status, 403, "{method} {path}");
            } else if path.contains('{') {
                assert!([404, 422].contains(&status), "{method} {path}: {status}");
            } else {
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                for id in victim.as_object().unwrap().values() {
                    assert!(!text.contains(id.as_str().unwrap()), "{method} {path} shows {id}");
                }
                continue;
            }
            refused += 1;
        }
    }
    println!("walked {walked} operations, {refused} of them aimed at another tenant's things");
    assert!(walked > 50 && refused > 30, "{walked} operations, {refused} refused");

    let api = server.api();
    for (kind, id) in victim.as_object().unwrap() {
        if !["dlq", "api-keys"].contains(&kind.as_str()) {
            api.get(&format!("/v1/{kind}/{}", id.as_str().unwrap())).await.expect(200);
        }
    }
    let letters = api.get("/v1/dlq").await.expect(200);
    assert_eq!(
        letters["data"].as_array().unwrap().len(),
        1,
        "the dead letter is neither replayed nor discarded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_do_what_they_may_and_no_more() {
    let server = Server::start().await;
    let (api, operator) = (server.api(), server.operator());
    let key = async |by: &Api, path: &str, role: &str| {
        let body = json!({"name": role, "role": role}).to_string();
        let key = by.post(path, body).await.expect(201);
        server.api().with_key(key["key"].as_str())
    };
    let (publisher, viewer) =
        (key(&api, "/v1/api-keys", "publisher").await, key(&api, "/v1/api-keys", "viewer").await);
    let publish = |by: Api, path: &'static str| async move {
        by.post(path, r#"{"event_type": "a", "payload": 1}"#).await
    };

    publish(publisher.clone(), "/v1/events:publish").await.expect(200);
    assert_eq!(publish(viewer.clone(), "/v1/events:publish").await.problem_code(), "forbidden");
    assert_eq!(publisher.get("/v1/events").await.problem_code(), "forbidden");
    viewer.get("/v1/events").await.expect(200);
    assert_eq!(viewer.post("/v1/endpoints", "{}").await.problem_code(), "forbidden");
    let escalation = api.post("/v1/api-keys", json!({"name": "x", "role": "operator"}).to_string()).await;
    assert!([403, 422].contains(&escalation.status.as_u16()), "{escalation:?}");

    let everywhere = key(&operator, "/v1/api-keys", "publisher").await;
    publish(everywhere.clone(), "/v1/tenants/tn_demo/events:publish").await.expect(200);
    let nowhere = publish(everywhere.clone(), "/v1/events:publish").await;
    assert_eq!((nowhere.status.as_u16(), nowhere.problem_code().as_str()), (400, "tenant_required"));
    let lost = publish(everywhere, "/v1/tenants/tn_unknown/events:publish").await;
    assert_eq!(lost.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_working() {
    let server = Server::start().await;
    let api = server.api();
    let key = api.post("/v1/api-keys", json!({"name": "k", "role": "viewer"}).to_string()).await.expect(201);
    let viewer = api.with_key(key["key"].as_str());
    viewer.get("/v1/ping").await.expect(200);
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    api.send(Method::DELETE, &path, "").await.expect(204);
    assert_eq!(viewer.get("/v1/events").await.status, 401);
}
