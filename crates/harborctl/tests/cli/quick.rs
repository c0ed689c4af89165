use std::sync::atomic::{AtomicUsize, Ordering};

use crate::run::User;
use crate::server::{Asked, Server};

const PUBLISHED: &str = r#"{"event_id":"evt_1","fanout_count":1,"duplicate":false}"#;

/// A delivery with as many attempts as `answers`, the last of which decides its status.
fn delivery(status: &str, answers: &[u16]) -> String {
    let attempt = |(index, answer): (usize, &u16)| {
        let class = if *answer < 400 { "null" } else { "\"http_5xx\"" };
        let error = if *answer < 400 { "null".to_owned() } else { format!("\"the answer was {answer}\"") };
        format!(
            r#"{{"id":"att_{index}","number":{number},"started_at":"2020-01-31T12:00:00.000Z","latency_ms":20,
            "http_status":{answer},"error_class":{class},"error":{error},"response_body":"sorry","response_headers":{{}},
            "remote_address":"127.0.0.1:8081"}}"#,
            number = index + 1
        )
    };
    let attempts: Vec<String> = answers.iter().enumerate().map(attempt).collect();
    let cause = if status == "dead" { "\"attempts_exhausted\"" } else { "null" };
    format!(
        r#"{{"id":"dlv_1","event_id":"evt_1","endpoint_id":"ep_1","event_type":"quick.test","status":"{status}",
        "attempt_count":{count},"next_attempt_at":null,"created_at":"2020-01-31T12:00:00.000Z",
        "updated_at":"2020-01-31T12:00:00.000Z","delivered_at":null,"replay_of":null,"cause":{cause},
        "attempts":[{attempts}]}}"#,
        count = answers.len(),
        attempts = attempts.join(",")
    )
}

/// Publishes, then shows the delivery fail once before it ends as `last`.
fn retrying(last: &'static str, answers: &'static [u16]) -> Server {
    let looks = AtomicUsize::new(0);
    Server::start(move |asked: &Asked| {
        if asked.line.starts_with("POST ") {
            return (200, PUBLISHED.to_owned());
        }
        let first = looks.fetch_add(1, Ordering::SeqCst) == 0;
        let one = if first { delivery("failed", &answers[..1]) } else { delivery(last, answers) };
        (200, format!(r#"{{"data":[{one}],"next_cursor":null}}"#))
    })
}

#[test]
fn test_waits_until_the_event_has_arrived() {
    let server = retrying("delivered", &[500, 200]);
    let ran = User::of(&server.url).run(&["quick", "test"]).code(0);
    assert_eq!(
        ran.stdout,
        "published  evt_1\n\
         fan-out    1\n\
         \n\
         delivery  dlv_1\n\
         status    delivered\n\
         event     evt_1 (quick.test)\n\
         endpoint  ep_1\n\
         created   2020-01-31 12:00:00 UTC\n\
         \n\
         ATTEMPT  STARTED     ANSWER  TOOK   ERROR               ADDRESS\n\
         #1       2020-01-31  500     20 ms  the answer was 500  127.0.0.1:8081\n\
         #2       2020-01-31  200     20 ms  -                   127.0.0.1:8081\n"
    );
    let looks = server.lines().iter().filter(|line| line.starts_with("GET ")).count();
    assert_eq!(looks, 2);
    assert!(server.asked()[0].body.starts_with(r#"{"event_type":"quick.test","payload":{"message":"Hello"#));
}

#[test]
fn test_exits_with_1_when_it_does_not_arrive() {
    let server = retrying("dead", &[500, 503]);
    let ran = User::of(&server.url).run(&["quick", "test", "--output", "json"]).code(1);
    assert_eq!(ran.json()["deliveries"][0]["cause"], "attempts_exhausted");
    assert_eq!(ran.stderr, "error: 1 of 1 deliveries failed\n");
    let server = retrying("dead", &[500, 503]);
    let ran = User::of(&server.url).run(&["quick", "test"]).code(1);
    assert!(ran.stdout.ends_with("\nlast answer: sorry\n"), "{}", ran.stdout);
}

#[test]
fn waiting_ends() {
    let server = retrying("failed", &[500]);
    let words = ["delivery", "status", "evt_1", "--wait", "100ms", "--output", "json"];
    let ran = User::of(&server.url).run(&words).code(1);
    assert_eq!(ran.stderr, "error: 1 of 1 deliveries are not final after 100ms\n");
    assert_eq!(ran.json()["data"][0]["status"], "failed");
}

#[test]
fn test_says_why_nobody_got_it() {
    let server = Server::start(|asked| {
        let event = r#"{"id":"evt_1","event_type":"quick.test","payload":1,"payload_encoding":"json",
            "content_type":"application/json","headers":{},"expunged":false,"created_at":"2026-01-31T12:00:00.000Z",
            "occurred_at":null,"deliver_at":null,"ordering_key":null,"idempotency_key":null,"metadata":{},
            "trace_id":"4bf9","fanout_count":0,
            "fanout":{"count":0,"skipped_endpoint_ids":[],"reason":"no_subscription"}}"#;
        let body = match asked.line.as_str() {
            "POST /v1/events:publish" => r#"{"event_id":"evt_1","fanout_count":0,"duplicate":false}"#,
            "GET /v1/events/evt_1" => event,
            _ => r#"{"data":[],"next_cursor":null}"#,
        };
        (200, body.to_owned())
    });
    let ran = User::of(&server.url).run(&["quick", "test"]).code(1);
    assert!(ran.stderr.contains("nobody subscribed") && ran.stderr.contains("quick setup"), "{}", ran.stderr);
}

const CLOSED: &str = r#"{"state":"closed","opened_at":null,"next_probe_at":null}"#;

fn endpoint(url: &str, circuit: &str) -> String {
    endpoint_that_stands(
        url,
        circuit,
        r#""paused":false,"draining":null,"disabled":false,"disabled_reason":null"#,
    )
}

fn endpoint_that_stands(url: &str, circuit: &str, so: &str) -> String {
    format!(
        r#"{{"id":"ep_1","url":"{url}","secret":"whsec_c2VjcmV0","name":null,"description":null,{so},"circuit":{circuit},"header_names":[],"timeout_ms":30000,
        "retry":{{"max_attempts":5,"strategy":"schedule","schedule":["1s","5s"],"jitter":0.1}},"rate_limit":null,
        "max_in_flight":32,
        "circuit_breaker":{{"enabled":true,"consecutive_failures":10,"p95_ms":800,"cooldown":"30s",
            "cooldown_max":"5m","probes":1}},
        "ordering":"key","on_dead":"skip","signing":{{"schemes":["standard"]}},
        "policy_origins":{{"timeout_ms":"default","ordering":"endpoint","retry.schedule":"tenant",
            "circuit_breaker.p95_ms":"endpoint"}},"metadata":{{}},
        "created_at":"2020-01-31T12:00:00.000Z","updated_at":"2020-01-31T12:00:00.000Z"}}"#
    )
}

#[test]
fn setup_makes_a_subscribed_endpoint_and_says_what_is_next() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "POST /v1/endpoints" => (201, endpoint("http://127.0.0.1:8081/", CLOSED)),
        _ => (200, r#"{"data":[],"next_cursor":null}"#.to_owned()),
    });
    let ran = User::of(&server.url).run(&["quick", "setup"]).code(0);
    assert!(ran.stdout.contains("harborhook receiver --secret 'whsec_c2VjcmV0'"), "{}", ran.stdout);
    assert_eq!(
        server.asked()[1].body,
        r#"{"url":"http://127.0.0.1:8081/","name":"quick setup","event_types":["*"]}"#
    );
}

#[test]
fn setup_makes_no_second_endpoint_by_accident() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "POST /v1/endpoints" => (201, endpoint("http://127.0.0.1:8081/", CLOSED)),
        _ => (
            200,
            format!(r#"{{"data":[{}],"next_cursor":null}}"#, endpoint("http://127.0.0.1:8081/", CLOSED)),
        ),
    });
    let user = User::of(&server.url);
    let ran = user.run(&["quick", "setup"]).code(1);
    assert!(ran.stderr.contains("rotate-secret ep_1"), "{}", ran.stderr);
    assert!(!server.lines().contains(&"POST /v1/endpoints".to_owned()));
    user.run(&["quick", "setup", "--another"]).code(0);
    assert!(server.lines().contains(&"POST /v1/endpoints".to_owned()));
}

#[test]
fn an_endpoint_shows_its_policy_and_who_set_it() {
    let server = Server::always(200, &endpoint("https://example.com/", CLOSED));
    let ran = User::of(&server.url).run(&["endpoint", "get", "ep_1"]).code(0);
    assert_eq!(
        ran.stdout,
        "id               ep_1\n\
         url              https://example.com/\n\
         state            active\n\
         circuit          closed\n\
         secret           whsec_c2VjcmV0\n\
         timeout          30000 ms\n\
         retry            5 attempts; 1s, 5s; ±10 % (set by tenant)\n\
         rate limit       none\n\
         in flight        32\n\
         circuit breaker  opens after 10 failures or a p95 over 800 ms; for 30s to 5m; 1 probe (set by endpoint)\n\
         ordering         by ordering key (set by endpoint)\n\
         dead head        is passed over\n\
         signing          standard\n\
         created          2020-01-31 12:00:00 UTC\n\
         updated          2020-01-31 12:00:00 UTC\n"
    );
}

#[test]
fn an_endpoint_that_is_left_alone_says_since_when_and_until() {
    let half_open = r#"{"state":"half_open","opened_at":"2020-01-31T12:00:00.000Z",
        "next_probe_at":"2020-01-31T12:00:30.000Z"}"#;
    let server = Server::always(200, &endpoint("https://example.com/", half_open));
    let ran = User::of(&server.url).run(&["endpoint", "get", "ep_1"]).code(0);
    let expected = "circuit           half_open\n\
         left alone since  2020-01-31 12:00:00 UTC\n\
         next probe        2020-01-31 12:00:30 UTC\n";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
}

#[test]
fn an_endpoint_says_why_it_is_disabled_and_how_it_drains() {
    let check = |so: &str, expected: &str| {
        let server = Server::always(200, &endpoint_that_stands("https://example.com/", CLOSED, so));
        let ran = User::of(&server.url).run(&["endpoint", "get", "ep_1"]).code(0);
        let lines: Vec<_> =
            ran.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines.join("\n").contains(expected), "{}", ran.stdout);
    };
    check(
        r#""paused":false,"draining":null,"disabled":true,"disabled_reason":"failing""#,
        "state failing\ncircuit closed\ndisabled because nothing but failures came from it for days",
    );
    check(
        r#""paused":false,"draining":null,"disabled":true,"disabled_reason":"gone""#,
        "state gone\ncircuit closed\ndisabled because it answered 410",
    );
    check(
        r#""paused":false,"draining":{"per_second":50,"since":"2020-01-31T12:00:00.000Z"},
            "disabled":false,"disabled_reason":null"#,
        "state draining\ncircuit closed\ndraining at 50/s what waited since 2020-01-31 12:00:00 UTC",
    );
}
