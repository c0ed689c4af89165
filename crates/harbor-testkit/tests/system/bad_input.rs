use harbor_receiver::Script;
use harbor_testkit::api::{Api, publish_body};
use harbor_testkit::program::Server;
use http::Method;
use serde_json::json;

use crate::system::set_up::{endpoint, receiver};

/// Sends a request that must be refused so, and names these fields.
async fn refused(
    api: &Api,
    method: Method,
    path: &str,
    body: impl Into<bytes::Bytes>,
    expected: (u16, &str, &[&str]),
) {
    let body = body.into();
    let told = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    let reply = api.try_send(method, path, &[], body).await.unwrap_or_else(|error| panic!("{told}: {error}"));
    let (status, code, fields) = expected;
    assert_eq!(reply.status, status, "{told}: {}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.problem_code(), code, "{told}");
    assert_eq!(reply.problem_fields(), fields, "{told}: {}", String::from_utf8_lossy(&reply.body));
}

async fn post(api: &Api, path: &str, body: impl Into<bytes::Bytes>, expected: (u16, &str, &[&str])) {
    refused(api, Method::POST, path, body, expected).await;
}

const INVALID: &str = "validation_failed";

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_breaks_a_rule_is_told_which() {
    let server = Server::start().await;
    let api = server.api();
    let check = |body: &str, expected| post(&api, "/v1/events:publish", body.to_owned(), expected);

    check("", (400, "invalid_json", &[])).await;
    check("{", (400, "invalid_json", &[])).await;
    check(r#"{"event_type": "a", "payload": {]}"#, (400, "invalid_json", &[])).await;
    check(r#"{"event_type": 5, "payload": "#, (400, "invalid_json", &[])).await;
    check("[]", (422, INVALID, &["body"])).await;
    check("{}", (422, INVALID, &["event_type", "payload"])).await;
    check(r#"{"event_type": "a"}"#, (422, INVALID, &["payload"])).await;
    check(r#"{"payload": {}}"#, (422, INVALID, &["event_type"])).await;
    check(r#"{"event_type": 5, "payload": {}}"#, (422, INVALID, &["event_type"])).await;
    check(r#"{"event_type": "a b", "payload": {}}"#, (422, INVALID, &["event_type"])).await;
    check(r#"{"event_type": "harborhook.x", "payload": {}}"#, (422, INVALID, &["event_type"])).await;
    check(r#"{"event_type": "a", "payload": {}, "colour": 1}"#, (422, INVALID, &["colour"])).await;
    check(r#"{"event_type": "a\u0000", "payload": {}}"#, (422, INVALID, &["event_type"])).await;
    check(
        r#"{"event_type": "a", "payload": {}, "metadata": {"k": "\u0000"}}"#,
        (422, INVALID, &["metadata.k"]),
    )
    .await;
    check(r#"{"event_type": "a", "payload": {}, "metadata": {"k": 1}}"#, (422, INVALID, &["metadata.k"]))
        .await;
    check(
        r#"{"event_type": "a", "payload": {}, "idempotency_key": "\u0001"}"#,
        (422, INVALID, &["idempotency_key"]),
    )
    .await;
    check(r#"{"event_type": "a", "payload": {}, "deliver_at": "tomorrow"}"#, (422, INVALID, &["deliver_at"]))
        .await;
    check(
        r#"{"event_type": "a", "payload": {}, "deliver_at": "9999-01-01T00:00:00Z"}"#,
        (422, INVALID, &["deliver_at"]),
    )
    .await;

    let too_large = publish_body("a", format!("\"{}\"", "x".repeat(1024 * 1024)).as_bytes());
    post(&api, "/v1/events:publish", too_large, (413, "payload_too_large", &[])).await;
    let mut fits = publish_body("a", b"\"\"").to_vec();
    let filling = 1024 * 1024 - fits.len();
    let quote = fits.len() - 2;
    fits.splice(quote..quote, std::iter::repeat_n(b'x', filling));
    assert_eq!(fits.len(), 1024 * 1024);
    api.post("/v1/events:publish", fits.clone()).await.expect(200);
    fits.push(b' ');
    post(&api, "/v1/events:publish", fits, (413, "payload_too_large", &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_belongs_to_one_event() {
    let server = Server::start().await;
    let api = server.api();
    let publish = async |key: &str, header: Option<&str>, payload: &str| {
        let body = json!({"event_type": "a", "payload": payload, "idempotency_key": key}).to_string();
        let headers: Vec<_> = header.map(|value| ("idempotency-key", value)).into_iter().collect();
        api.try_send(Method::POST, "/v1/events:publish", &headers, body.into()).await.unwrap()
    };
    let first = publish("k", None, "1").await.expect(200);
    let again = publish("k", Some("k"), "1").await.expect(200);
    assert_eq!((&again["event_id"], &again["duplicate"]), (&first["event_id"], &json!(true)));
    let reused = publish("k", None, "2").await;
    assert_eq!((reused.status.as_u16(), reused.problem_code().as_str()), (409, "idempotency_key_reused"));
    let disagree = publish("k", Some("other"), "1").await;
    assert_eq!((disagree.status.as_u16(), disagree.problem_code().as_str()), (422, INVALID));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_breaks_a_rule_is_told_which() {
    let server = Server::start().await;
    let api = server.api();
    let check = |body: serde_json::Value, fields| {
        let api = api.clone();
        async move { post(&api, "/v1/endpoints", body.to_string(), (422, INVALID, fields)).await }
    };
    let with = |field: &str, value: serde_json::Value| {
        let mut body = json!({"url": "https://example.com/hooks"});
        body[field] = value;
        body
    };
    check(json!({}), &["url"]).await;
    check(json!({"url": 5}), &["url"]).await;
    for url in
        ["", "example.com", "ftp://example.com", "https://user:pw@example.com/", "https://example.com/#a"]
    {
        check(json!({"url": url}), &["url"]).await;
    }
    for private in
        ["http://10.0.0.1/", "https://169.254.169.254/", "https://[fd00::1]/", "https://192.168.1.1/"]
    {
        check(json!({"url": private}), &["url"]).await;
    }
    check(with("secret", json!("short")), &["secret"]).await;
    check(with("secret", json!("whsec_not*base64*at*all*****")), &["secret"]).await;
    check(with("name", json!("a\0")), &["name"]).await;
    check(with("timeout_ms", json!(0)), &["timeout_ms"]).await;
    check(with("timeout_ms", json!("30s")), &["timeout_ms"]).await;
    check(with("max_in_flight", json!(0)), &["max_in_flight"]).await;
    check(with("colour", json!("red")), &["colour"]).await;
    check(with("event_types", json!(["a", "*.b"])), &["event_types[1]"]).await;
    check(with("headers", json!({"webhook-id": "x"})), &["headers.webhook-id"]).await;
    check(with("headers", json!({"x-a": "b\r\nc: d"})), &["headers.x-a"]).await;
    check(with("retry", json!({"schedule": ["1s", "soon"]})), &["retry.schedule[1]"]).await;
    check(with("retry", json!({"max_attempts": 0})), &["retry.max_attempts"]).await;
    check(with("retry", json!({"schedule": [], "max_attempts": 2})), &["retry.schedule"]).await;
    check(with("retry", json!({"colour": 1})), &["retry.colour"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_to_a_tenant_unless_it_is_allowed() {
    let server = Server::start_with(&[]).await;
    let operator = server.operator();
    operator.post("/v1/tenants", json!({"id": "strict", "name": "Strict"}).to_string()).await.expect(201);
    // Under `--dev` the instance itself allows http and loopback; nothing allows the private network.
    post(
        &operator,
        "/v1/tenants/strict/endpoints",
        json!({"url": "http://10.0.0.1/"}).to_string(),
        (422, INVALID, &["url"]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_things_and_wrong_lists_are_told_apart() {
    let server = Server::start().await;
    let api = server.api();
    let unknown = "01h455vb4pex5vsknk084sn02q";
    let kinds = [
        ("endpoints/ep_", "endpoint_not_found"),
        ("subscriptions/sub_", "subscription_not_found"),
        ("events/evt_", "event_not_found"),
        ("deliveries/dlv_", "delivery_not_found"),
    ];
    for (path, code) in kinds {
        refused(&api, Method::GET, &format!("/v1/{path}{unknown}"), "", (404, code, &[])).await;
        refused(&api, Method::GET, &format!("/v1/{path}nonsense"), "", (404, code, &[])).await;
    }
    let replay = format!("/v1/deliveries/dlv_{unknown}:replay");
    refused(&api, Method::POST, &replay, "{}", (404, "delivery_not_found", &[])).await;
    refused(&api, Method::GET, "/v1/nowhere", "", (404, "route_not_found", &[])).await;
    refused(&api, Method::PUT, "/v1/endpoints", "", (405, "method_not_allowed", &[])).await;
    for list in ["endpoints", "subscriptions", "events", "deliveries", "dlq", "api-keys"] {
        for limit in ["0", "501", "-1", "many", ""] {
            let path = format!("/v1/{list}?limit={limit}");
            refused(&api, Method::GET, &path, "", (422, INVALID, &["limit"])).await;
        }
        for cursor in ["x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            let path = format!("/v1/{list}?cursor={cursor}");
            refused(&api, Method::GET, &path, "", (422, INVALID, &["cursor"])).await;
        }
        refused(&api, Method::GET, &format!("/v1/{list}?colour=red"), "", (422, INVALID, &["colour"])).await;
    }
    refused(&api, Method::GET, "/v1/deliveries?status=lost", "", (422, INVALID, &["status"])).await;
    refused(&api, Method::GET, "/v1/deliveries?since=noon", "", (422, INVALID, &["since"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_serves_the_list_it_came_from() {
    let server = Server::start().await;
    let api = server.api();
    for number in 0..5 {
        api.publish(if number % 2 == 0 { "even" } else { "odd" }, b"{}").await.expect(200);
    }
    let first = api.get("/v1/events?limit=2&event_type=even").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&format!("/v1/events?limit=2&event_type=even&cursor={cursor}")).await.expect(200);
    assert_eq!(first["data"].as_array().unwrap().len() + second["data"].as_array().unwrap().len(), 3);
    assert_eq!(second["next_cursor"], json!(null));
    for other in ["/v1/events?limit=2", "/v1/events?event_type=odd", "/v1/deliveries?event_type=even"] {
        let glue = format!("{other}&cursor={cursor}");
        refused(&api, Method::GET, &glue, "", (422, INVALID, &["cursor"])).await;
    }
    let mut forged = cursor.to_owned().into_bytes();
    forged[3] = if forged[3] == b'A' { b'B' } else { b'A' };
    let forged = format!("/v1/events?limit=2&event_type=even&cursor={}", String::from_utf8(forged).unwrap());
    refused(&api, Method::GET, &forged, "", (422, INVALID, &["cursor"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_already_and_what_has_changed_is_a_conflict() {
    let server = Server::start().await;
    let (api, operator) = (server.api(), server.operator());
    let receiver = receiver(Script::always(200)).await;
    let created = endpoint(&api, &receiver, json!({})).await;
    let again = json!({"event_type": "*", "endpoint_id": created["id"]}).to_string();
    post(&api, "/v1/subscriptions", again, (409, "subscription_exists", &[])).await;
    let taken = json!({"id": "tn_demo", "name": "Demo"}).to_string();
    post(&operator, "/v1/tenants", taken, (409, "tenant_exists", &[])).await;

    let path = format!("/v1/endpoints/{}", created["id"].as_str().unwrap());
    let stale = [("if-match", "\"999\"")];
    let patch = bytes::Bytes::from_static(br#"{"name": "new"}"#);
    let reply = api.try_send(Method::PATCH, &path, &stale, patch.clone()).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.problem_code().as_str()), (412, "precondition_failed"));
    let etag = api.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    let reply = api.try_send(Method::PATCH, &path, &[("if-match", &etag)], patch).await.unwrap();
    assert_eq!(reply.expect(200)["name"], "new");
}
