use crate::run::User;
use crate::server::Server;

const PUBLISHED: &str = r#"{"event_id":"evt_1","fanout_count":2,"duplicate":false}"#;

#[test]
fn the_payload_is_sent_byte_for_byte() {
    let check = |payload: &str| {
        let server = Server::always(200, PUBLISHED);
        let expected = format!(r#"{{"event_type":"a.b","payload":{payload}}}"#);
        let user = User::of(&server.url).file("payload.json", payload);
        user.run(&["event", "publish", "a.b", "--data", payload]).code(0);
        user.run(&["event", "publish", "a.b", "--file", "payload.json"]).code(0);
        user.run_with(&["event", "publish", "a.b", "--data", "-"], payload).code(0);
        user.run_with(&["event", "publish", "a.b", "--file", "-"], &format!(" {payload}\n")).code(0);
        let bodies: Vec<String> = server.asked().into_iter().map(|asked| asked.body).collect();
        assert_eq!(bodies, [expected.as_str(); 4]);
    };
    check(r#"{"b": 1.10,  "a":12345678901234567890, "b":2}"#);
    check("{\n\t\"unicode\": \"\\u00e9é\\ud83d\\ude00\"\n}");
    check("null");
    check("\"bare\"");
    check("-1");
    check("[1, 2 ,3]");
}

#[test]
fn options_become_fields() {
    let server = Server::always(200, PUBLISHED);
    let words = [
        "event",
        "publish",
        "a.b",
        "--data",
        "{}",
        "--idempotency-key",
        "k1",
        "--ordering-key",
        "o1",
        "--deliver-at",
        "2030-01-01T00:00:00Z",
        "--occurred-at",
        "2020-01-01T00:00:00Z",
        "--metadata",
        "a=1",
        "--metadata",
        "b=x=y",
        "--tenant",
        "acme",
    ];
    User::of(&server.url).run(&words).code(0);
    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "POST /v1/tenants/acme/events:publish");
    assert_eq!(asked.key, "hhk_test");
    let expected = r#"{"event_type":"a.b","payload":{},"idempotency_key":"k1","occurred_at":"2020-01-01T00:00:00.000Z","deliver_at":"2030-01-01T00:00:00.000Z","ordering_key":"o1","metadata":{"a":"1","b":"x=y"}}"#;
    assert_eq!(asked.body, expected);
}

#[test]
fn a_tenant_over_its_share_is_told_to_come_back() {
    let problem =
        r#"{"type":"","title":"Too much","status":429,"detail":"Too much","code":"tenant_crowded"}"#;
    let server = Server::always(429, problem);
    let ran = User::of(&server.url).run(&["event", "publish", "a.b", "--data", "1"]).code(1);
    assert_eq!(
        ran.stderr,
        "error: Too much (429 tenant_crowded)\n  nothing was stored; the same command may succeed in a second\n"
    );
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn a_payload_that_is_no_json_is_never_sent() {
    let server = Server::always(200, PUBLISHED);
    let user = User::of(&server.url).file("bad.json", "{\"a\": }");
    let ran = user.run(&["event", "publish", "a.b", "--file", "bad.json"]).code(2);
    assert_eq!(ran.stderr, "error: bad.json is not JSON: expected value at line 1 column 7\n");
    user.run(&["event", "publish", "a.b", "--file", "missing.json"]).code(2);
    user.run(&["event", "publish", "a.b"]).code(2);
    user.run(&["event", "publish", "a.b", "--data", "1", "--file", "bad.json"]).code(2);
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn the_answer_is_for_people_or_exactly_one_json_value() {
    let server = Server::always(200, PUBLISHED);
    let user = User::of(&server.url);
    let ran = user.run(&["event", "publish", "a.b", "--data", "1"]).code(0);
    assert_eq!(ran.stdout, "event    evt_1\nfan-out  2\n");
    assert_eq!(ran.stderr, "what became of it: harborctl delivery status evt_1\n");

    let ran = user.run(&["event", "publish", "a.b", "--data", "1", "--output", "json"]).code(0);
    let expected = "{\n  \"event_id\": \"evt_1\",\n  \"fanout_count\": 2,\n  \"duplicate\": false\n}\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));

    let ran = user.run(&["event", "publish", "a.b", "--data", "1", "-o", "yaml"]).code(0);
    assert_eq!(ran.stdout, "event_id: evt_1\nfanout_count: 2\nduplicate: false\n");

    let ran = user.run(&["event", "publish", "a.b", "--data", "1", "--quiet"]).code(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_stored_payload_is_shown_exactly() {
    let payload = r#"{"z": 1.10,  "number":12345678901234567890}"#;
    let event = format!(
        r#"{{"id":"evt_1","event_type":"a.b","payload":{payload},"payload_encoding":"json",
        "content_type":"application/json","headers":{{}},"expunged":false,"created_at":"2026-01-31T12:00:00.000Z",
        "occurred_at":null,"deliver_at":null,"ordering_key":null,"idempotency_key":null,"metadata":{{}},
        "trace_id":"4bf9","fanout_count":0,
        "fanout":{{"count":0,"skipped_endpoint_ids":[],"reason":"no_subscription"}}}}"#
    );
    let server = Server::always(200, &event);
    let user = User::of(&server.url);
    let ran = user.run(&["event", "get", "evt_1", "--payload"]).code(0);
    assert_eq!(ran.stdout, format!("{payload}\n"));
    let ran = user.run(&["event", "get", "evt_1", "--output", "json"]).code(0);
    assert!(ran.stdout.contains(payload), "{}", ran.stdout);
    let ran = user.run(&["event", "get", "evt_1", "--output", "yaml"]).code(0);
    assert!(ran.stdout.contains("payload:\n  z: 1.10\n  number: 12345678901234567890\n"), "{}", ran.stdout);
    let ran = user.run(&["event", "get", "evt_1"]).code(0);
    assert!(ran.stdout.contains("no_subscription") && ran.stdout.contains(payload), "{}", ran.stdout);
}

#[test]
fn a_payload_that_was_removed_is_not_shown_as_null() {
    let event = r#"{"id":"evt_1","event_type":"a.b","payload":null,"payload_encoding":"json",
        "content_type":"application/json","headers":{},"expunged":true,
        "created_at":"2020-01-31T12:00:00.000Z","occurred_at":null,"deliver_at":null,"ordering_key":null,
        "idempotency_key":null,"metadata":{},"trace_id":"4bf9","fanout_count":1,
        "fanout":{"count":1,"skipped_endpoint_ids":[],"reason":null}}"#;
    let server = Server::start(move |asked| match asked.line.as_str() {
        "DELETE /v1/events/evt_1/payload" => (204, String::new()),
        _ => (200, event.to_owned()),
    });
    let user = User::of(&server.url);
    assert_eq!(user.run(&["event", "expunge", "evt_1"]).code(0).stdout, "removed the payload of evt_1\n");
    let ran = user.run(&["event", "expunge", "evt_1", "--output", "json"]).code(0);
    assert_eq!(ran.json(), serde_json::json!({"id": "evt_1", "expunged": true}));
    let ran = user.run(&["event", "get", "evt_1"]).code(0);
    assert!(ran.stdout.ends_with("payload     removed for good\n"), "{}", ran.stdout);
    let ran = user.run(&["event", "get", "evt_1", "--payload"]).code(1);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "error: the payload of evt_1 was removed\n"));
}
