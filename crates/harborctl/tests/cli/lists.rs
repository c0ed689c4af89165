use crate::run::User;
use crate::server::Server;

fn delivery(id: &str, status: &str) -> String {
    format!(
        r#"{{"id":"{id}","event_id":"evt_1","endpoint_id":"ep_1","event_type":"a.b","status":"{status}",
        "attempt_count":1,"next_attempt_at":null,"created_at":"2020-01-31T12:00:00.000Z",
        "updated_at":"2020-01-31T12:00:00.000Z","delivered_at":null,"replay_of":null,"cause":null}}"#
    )
}

/// Three pages, the second of them empty.
fn pages() -> Server {
    Server::start(|asked| {
        let page = |items: &[String], next: &str| {
            (200, format!(r#"{{"data":[{}],"next_cursor":{next}}}"#, items.join(",")))
        };
        if asked.line.contains("cursor=c2") {
            page(&[delivery("dlv_3", "dead")], "null")
        } else if asked.line.contains("cursor=c1") {
            page(&[], "\"c2\"")
        } else {
            page(&[delivery("dlv_1", "delivered"), delivery("dlv_2", "failed")], "\"c1\"")
        }
    })
}

fn ids(list: &serde_json::Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[test]
fn a_list_shows_one_page_as_the_api_gives_it() {
    let server = pages();
    let user = User::of(&server.url);
    let ran = user.run(&["delivery", "list", "--limit", "2", "--output", "json"]).code(0);
    let list = ran.json();
    assert_eq!((ids(&list), list["next_cursor"].as_str()), (vec!["dlv_1", "dlv_2"], Some("c1")));
    assert_eq!(ran.stderr, "");
    assert_eq!(server.lines(), ["GET /v1/deliveries?limit=2"]);
}

#[test]
fn all_walks_the_pages() {
    let server = pages();
    let ran = User::of(&server.url).run(&["delivery", "list", "--all", "--output", "json"]).code(0);
    let list = ran.json();
    assert_eq!(ids(&list), ["dlv_1", "dlv_2", "dlv_3"]);
    assert!(list["next_cursor"].is_null());
    assert_eq!(
        server.lines(),
        [
            "GET /v1/deliveries?limit=500",
            "GET /v1/deliveries?limit=500&cursor=c1",
            "GET /v1/deliveries?limit=500&cursor=c2",
        ]
    );
}

#[test]
fn a_table_has_no_colour_in_a_file_and_tells_of_more() {
    let server = pages();
    let ran = User::of(&server.url).run(&["delivery", "list"]).code(0);
    assert_eq!(
        ran.stdout,
        "ID     STATUS     TRIES  EVENT TYPE  CREATED     NEXT  CAUSE  ENDPOINT  EVENT\n\
         dlv_1  delivered  1      a.b         2020-01-31  -     -      ep_1      evt_1\n\
         dlv_2  failed     1      a.b         2020-01-31  -     -      ep_1      evt_1\n"
    );
    assert_eq!(ran.stderr, "there is more: --all, or --cursor c1\n");
}

#[test]
fn an_empty_list_is_silent_on_stdout() {
    let server = Server::always(200, r#"{"data":[],"next_cursor":null}"#);
    let user = User::of(&server.url);
    let ran = user.run(&["endpoint", "list"]).code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "no endpoints\n"));
    let ran = user.run(&["endpoint", "list", "--output", "json"]).code(0);
    assert_eq!(ran.json(), serde_json::json!({"data": [], "next_cursor": null}));
}

#[test]
fn filters_become_queries() {
    let check = |words: &[&str], expected: &str| {
        let server = Server::always(200, r#"{"data":[],"next_cursor":null}"#);
        User::of(&server.url).run(words).code(0);
        assert_eq!(server.lines(), [expected], "{words:?}");
    };
    check(
        &["delivery", "list", "--endpoint", "ep_1", "--event", "evt_1", "--status", "dead"],
        "GET /v1/deliveries?endpoint_id=ep_1&event_id=evt_1&status=dead",
    );
    check(
        &["delivery", "dlq", "--cause", "client_error", "--state", "discarded"],
        "GET /v1/dlq?cause=client_error&state=discarded",
    );
    check(&["dlq", "list", "--event-type", "a.b"], "GET /v1/dlq?event_type=a.b");
    check(
        &["delivery", "status", "evt_1", "--endpoint", "ep_1"],
        "GET /v1/events/evt_1/deliveries?endpoint_id=ep_1",
    );
    check(
        &["event", "list", "--since", "2026-01-31T12:00:00Z", "--cursor", "a/b"],
        "GET /v1/events?since=2026-01-31T12%3A00%3A00.000Z&cursor=a%2Fb",
    );
    check(&["subscription", "list", "--event-type", "*"], "GET /v1/subscriptions?event_type=*");
    check(&["--tenant", "acme", "key", "list"], "GET /v1/tenants/acme/api-keys");
    check(&["--tenant", "acme", "key", "list", "--instance"], "GET /v1/api-keys");
    check(&["tenant", "list", "--limit", "3"], "GET /v1/tenants?limit=3");
    check(&["endpoint", "lane", "list", "ep_1", "--limit", "3"], "GET /v1/endpoints/ep_1/lanes?limit=3");
    check(&["replay", "list"], "GET /v1/replays");
    check(&["job", "list", "--all"], "GET /v1/jobs?limit=500");
    check(&["--tenant", "acme", "job", "list"], "GET /v1/tenants/acme/jobs");
    check(&["--tenant", "acme", "job", "list", "--instance"], "GET /v1/jobs");
}

#[test]
fn changes_are_merge_patches() {
    let check = |words: &[&str], line: &str, body: &str| {
        let server = Server::always(404, "{}");
        User::of(&server.url).run(words).code(1);
        let asked = server.asked().remove(0);
        assert_eq!((asked.line.as_str(), asked.body.as_str()), (line, body), "{words:?}");
    };
    check(
        &[
            "endpoint",
            "update",
            "ep_1",
            "--url",
            "https://x",
            "--clear",
            "rate_limit,description",
            "--header",
            "x-a: 1",
            "--remove-header",
            "x-b",
            "--max-attempts",
            "3",
            "--schedule",
            "1s,5s",
        ],
        "PATCH /v1/endpoints/ep_1",
        r#"{"url":"https://x","description":null,"headers":{"x-a":"1","x-b":null},"retry":{"max_attempts":3,"schedule":["1s","5s"]},"rate_limit":null}"#,
    );
    check(
        &["tenant", "update", "acme", "--name", "Acme", "--timeout-ms", "5000", "--clear", "retry"],
        "PATCH /v1/tenants/acme",
        r#"{"name":"Acme","policy":{"timeout_ms":5000,"retry":null}}"#,
    );
    check(
        &[
            "endpoint",
            "update",
            "ep_1",
            "--breaker-enabled=false",
            "--breaker-failures",
            "5",
            "--breaker-p95-ms",
            "800",
            "--breaker-cooldown",
            "10s",
            "--breaker-cooldown-max",
            "1m",
            "--breaker-probes",
            "2",
        ],
        "PATCH /v1/endpoints/ep_1",
        r#"{"circuit_breaker":{"enabled":false,"consecutive_failures":5,"p95_ms":800,"cooldown":"10s","cooldown_max":"1m","probes":2}}"#,
    );
    check(
        &["tenant", "update", "acme", "--clear", "circuit_breaker"],
        "PATCH /v1/tenants/acme",
        r#"{"policy":{"circuit_breaker":null}}"#,
    );
    check(
        &["tenant", "create", "--name", "Acme", "--breaker-enabled"],
        "POST /v1/tenants",
        r#"{"name":"Acme","policy":{"circuit_breaker":{"enabled":true}}}"#,
    );
    check(
        &["subscription", "update", "sub_1", "--event-type", "a.*"],
        "PATCH /v1/subscriptions/sub_1",
        r#"{"event_type":"a.*"}"#,
    );
    check(
        &[
            "endpoint",
            "create",
            "--url",
            "https://x",
            "--event-type",
            "a.*",
            "--event-type",
            "b",
            "--rate-limit",
            "100/s:200",
            "--signing",
            "standard",
            "--max-in-flight",
            "4",
            "--client-errors",
            "all",
        ],
        "POST /v1/endpoints",
        r#"{"url":"https://x","event_types":["a.*","b"],"retry":{"client_errors":"all"},"rate_limit":{"per_second":100,"burst":200},"max_in_flight":4,"signing":{"schemes":["standard"]}}"#,
    );
    check(
        &["endpoint", "rotate-secret", "ep_1", "--overlap", "2h"],
        "POST /v1/endpoints/ep_1/rotate-secret",
        r#"{"overlap":"2h"}"#,
    );
    check(
        &["dlq", "replay", "dlv_1", "--reason", "down", "--new-webhook-id"],
        "POST /v1/deliveries/dlv_1:replay",
        r#"{"reason":"down","new_webhook_id":true}"#,
    );
    check(&["endpoint", "pause", "ep_1"], "POST /v1/endpoints/ep_1:pause", "");
    check(&["endpoint", "resume", "ep_1"], "POST /v1/endpoints/ep_1:resume", "");
    check(
        &["endpoint", "resume", "ep_1", "--drain-per-second", "50"],
        "POST /v1/endpoints/ep_1:resume",
        r#"{"drain_per_second":50}"#,
    );
    check(&["endpoint", "lane", "skip", "ep_1", "a/b:c"], "POST /v1/endpoints/ep_1/lanes/a%2Fb:c:skip", "");
    check(&["endpoint", "lane", "retry", "ep_1"], "POST /v1/endpoints/ep_1/lanes/:retry", "");
    check(
        &["endpoint", "create", "--url", "https://x", "--ordering", "key", "--on-dead", "hold"],
        "POST /v1/endpoints",
        r#"{"url":"https://x","ordering":"key","on_dead":"hold"}"#,
    );
    check(
        &["endpoint", "update", "ep_1", "--ordering", "none", "--clear", "on_dead"],
        "PATCH /v1/endpoints/ep_1",
        r#"{"ordering":"none","on_dead":null}"#,
    );
    check(
        &[
            "tenant",
            "create",
            "--name",
            "Acme",
            "--ordering",
            "endpoint",
            "--quota-per-second",
            "100",
            "--quota-burst",
            "500",
            "--quota-per-day",
            "1000000",
            "--retention-history",
            "7d",
            "--retention-dead-letters",
            "30d",
        ],
        "POST /v1/tenants",
        r#"{"name":"Acme","policy":{"ordering":"endpoint","quota":{"per_second":100,"burst":500,"per_day":1000000},"retention":{"history":"7d","dead_letters":"30d"}}}"#,
    );
    check(
        &["tenant", "update", "acme", "--quota-burst", "9", "--clear", "quota_per_day,retention"],
        "PATCH /v1/tenants/acme",
        r#"{"policy":{"quota":{"burst":9,"per_day":null},"retention":null}}"#,
    );
    check(&["delivery", "retry", "dlv_1"], "POST /v1/deliveries/dlv_1:retry", "");
    check(&["delivery", "cancel", "dlv_1"], "POST /v1/deliveries/dlv_1:cancel", "");
    check(
        &["delivery", "cancel-all", "--endpoint", "ep_1", "--status", "failed"],
        "POST /v1/deliveries:cancel",
        r#"{"filter":{"endpoint_id":"ep_1","status":"failed"}}"#,
    );
    check(&["delivery", "cancel-all", "--yes"], "POST /v1/deliveries:cancel", r#"{"filter":{}}"#);
    check(&["event", "expunge", "evt_1"], "DELETE /v1/events/evt_1/payload", "");
    check(&["replay", "cancel", "rpl_1"], "POST /v1/replays/rpl_1:cancel", "");
    check(&["job", "cancel", "job_1"], "POST /v1/jobs/job_1:cancel", "");
    check(
        &["replay", "start", "--ids", "dlv_1,dlv_2", "--dry-run", "--reason", "down", "--new-webhook-id"],
        "POST /v1/replays",
        r#"{"delivery_ids":["dlv_1","dlv_2"],"dry_run":true,"new_webhook_id":true,"reason":"down"}"#,
    );
    let (from, to) = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z");
    check(
        &["replay", "start", "--from", from, "--to", to, "--endpoint", "ep_1", "--rate", "50"],
        "POST /v1/replays",
        r#"{"dlq_range":{"from":"2026-01-31T12:00:00.000Z","to":"2026-01-31T13:00:00.000Z","endpoint_id":"ep_1"},"rate_per_second":50}"#,
    );
    for words in [["dlq", "replay"], ["delivery", "replay-dlq"]] {
        check(
            &[words.as_slice(), &["--from", from, "--to", to]].concat(),
            "POST /v1/replays",
            r#"{"dlq_range":{"from":"2026-01-31T12:00:00.000Z","to":"2026-01-31T13:00:00.000Z"}}"#,
        );
        check(&[words.as_slice(), &["dlv_1"]].concat(), "POST /v1/deliveries/dlv_1:replay", "{}");
    }
    check(
        &[
            "replay",
            "start",
            "--status",
            "dead",
            "--event-type",
            "a.b",
            "--endpoint",
            "ep_1",
            "--since",
            from,
        ],
        "POST /v1/replays",
        r#"{"filter":{"endpoint_id":"ep_1","event_type":"a.b","status":"dead","since":"2026-01-31T12:00:00.000Z"}}"#,
    );
    check(&["dlq", "discard", "dlv_1"], "POST /v1/dlq/dlv_1:discard", "");
    check(
        &["key", "create", "--name", "ops", "--role", "operator", "--instance"],
        "POST /v1/api-keys",
        r#"{"name":"ops","role":"operator"}"#,
    );
}

#[test]
fn a_secret_on_stdin_loses_its_line_end_only() {
    let server = Server::always(404, "{}");
    let words = ["endpoint", "create", "--url", "https://x", "--secret", "-"];
    User::of(&server.url).run_with(&words, " a secret of 24 characters \n").code(1);
    assert_eq!(server.asked()[0].body, r#"{"url":"https://x","secret":" a secret of 24 characters "}"#);
}

#[test]
fn what_is_deleted_is_named() {
    let server = Server::always(204, "");
    let user = User::of(&server.url);
    assert_eq!(user.run(&["endpoint", "delete", "ep_1"]).code(0).stdout, "deleted ep_1\n");
    let ran = user.run(&["key", "delete", "key_1", "--output", "json"]).code(0);
    assert_eq!(ran.json(), serde_json::json!({"id": "key_1", "deleted": true}));
}

#[test]
fn lanes_show_their_heads() {
    let server = Server::always(
        200,
        r#"{"data":[
            {"key":"a","head":{"delivery_id":"dlv_1","status":"dead","attempt_count":5,"next_attempt_at":null},
             "waiting_count":3,"held_at":"2020-01-31T12:00:00.000Z"},
            {"key":"","head":{"delivery_id":"dlv_2","status":"failed","attempt_count":1,
             "next_attempt_at":"2020-01-31T12:00:00.000Z"},"waiting_count":0,"held_at":null}],"next_cursor":null}"#,
    );
    let ran = User::of(&server.url).run(&["endpoint", "lane", "list", "ep_1"]).code(0);
    assert_eq!(
        ran.stdout,
        "KEY    HEAD   STATUS  TRIES  WAITING  HELD        NEXT\n\
         a      dlv_1  dead    5      3        2020-01-31  -\n\
         (all)  dlv_2  failed  1      0        -           2020-01-31\n"
    );
}

#[test]
fn the_dead_are_counted() {
    let group = r#"{"endpoint_id":"ep_1","cause":"redirect","count":42,
        "first_dead_at":"2020-01-31T12:00:00.000Z","last_dead_at":"2020-02-01T12:00:00.000Z"}"#;
    let server = Server::always(200, &format!(r#"{{"data":[{group}],"complete":false}}"#));
    let ran = User::of(&server.url).run(&["dlq", "summary"]).code(0);
    assert_eq!(
        ran.stdout,
        "ENDPOINT  CAUSE     COUNT  FIRST DEAD  LAST DEAD\n\
         ep_1      redirect  42     2020-01-31  2020-02-01\n"
    );
    assert_eq!(ran.stderr, "there are more than were counted\n");
    assert_eq!(server.lines(), ["GET /v1/dlq/summary"]);
}
