use harbor_wire::endpoint::CreateEndpoint;
use harbor_wire::event::PublishEvent;

use super::*;

/// The status, and the wrong fields or the code.
fn told(refusal: Refusal) -> String {
    let problem = refusal.to_problem("req_1");
    let fields: Vec<_> = problem.errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
    match fields.is_empty() {
        true => format!("{} {}", problem.status, problem.code),
        false => format!("{} {}", problem.status, fields.join("; ")),
    }
}

fn publish(body: &[u8]) -> String {
    let read = text(body).and_then(|text| {
        parse_borrowed::<PublishEvent<'_>>(text, |text| attempt::<PublishEvent<'_>>(text).map(drop))
    });
    match read {
        Ok(event) => event.payload.get().to_owned(),
        Err(refusal) => told(refusal),
    }
}

#[test]
fn a_payload_is_taken_as_it_is_written() {
    for payload in [
        "null",
        "\"bare\"",
        "12345678901234567890",
        "1.10",
        "1e999",
        "{\"a\":1,\"a\":2}",
        "\"\\u00e9\\ud800\"",
        "[ 1 ,\t2 ]",
        "{\"b\": {}, \"a\": []}",
    ] {
        let body = format!("{{\"event_type\": \"a\", \"payload\": {payload} }}");
        assert_eq!(publish(body.as_bytes()), payload);
    }
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let body = format!("{{\"event_type\": \"a\", \"payload\": {deep}}}");
    assert_eq!(publish(body.as_bytes()), deep);
}

#[test]
fn every_mistake_of_a_publish_is_named() {
    let check = |body: &str, expected: &str| assert_eq!(publish(body.as_bytes()), expected, "{body}");
    check("", "400 invalid_json");
    check("{", "400 invalid_json");
    check("{\"event_type\": \"a\", \"payload\": {]}}", "400 invalid_json");
    check("{\"event_type\": \"a\", \"payload\": 1} x", "400 invalid_json");
    check("{\"payload\": 01}", "400 invalid_json");
    check("[\"a\", 1]", "422 body: must be an object");
    check("5", "422 body: must be an object");
    check("{\"event_type\": \"a\"}", "422 payload: is required");
    check("{}", "422 event_type: is required; payload: is required");
    check(
        "{\"event_type\": 5, \"payload\": 1}",
        "422 event_type: invalid type: integer `5`, expected a string",
    );
    check(
        "{\"event_type\": \"a\", \"payload\": 1, \"colour\": 1}",
        "422 colour: is not a field of this request",
    );
    check(
        "{\"event_type\": \"a\", \"event_type\": \"b\", \"payload\": 1}",
        "422 event_type: is given more than once",
    );
    check(
        "{\"event_type\": null, \"x\": 1, \"metadata\": {\"a\": 1}, \"ordering_key\": []}",
        "422 event_type: invalid type: null, expected a string; \
         metadata.a: invalid type: integer `1`, expected a string; \
         ordering_key: invalid type: sequence, expected a string; \
         payload: is required; x: is not a field of this request",
    );
    assert_eq!(publish(b"{\"event_type\": \"a\", \"payload\": \"\xff\"}"), "400 invalid_json");
}

#[test]
fn mistakes_are_named_by_their_path() {
    let check = |body: &str, expected: &str| {
        let found = parse::<CreateEndpoint>(body.as_bytes()).err().map(told);
        assert_eq!(found.as_deref(), Some(expected), "{body}");
    };
    check(
        "{\"retry\": {\"schedule\": [1, \"5s\", 2], \"max_attempts\": 70000, \"client_errors\": \"some\"}}",
        "422 retry.client_errors: expected a whole number or \"all\"; \
         retry.max_attempts: invalid value: integer `70000`, expected u16; \
         retry.schedule[0]: invalid type: integer `1`, expected a string; \
         retry.schedule[2]: invalid type: integer `2`, expected a string; url: is required",
    );
    check(
        "{\"url\": \"u\", \"retry\": {\"tries\": 1}, \"signing\": {\"schemes\": [\"md5\"]}}",
        "422 retry.tries: is not a field of this request; \
         signing.schemes[0]: unknown variant `md5`, expected `standard` or `harborhook`",
    );
    check("{\"url\": \"u\", \"colour\": null}", "422 colour: is not a field of this request");
    check(
        "{\"url\": \"u\", \"circuit_breaker\": {\"p95\": 5, \"probes\": -1}}",
        "422 circuit_breaker.p95: is not a field of this request; \
         circuit_breaker.probes: invalid value: integer `-1`, expected u32",
    );
}

#[test]
fn a_field_may_have_any_name_and_the_explanation_still_ends() {
    let names = [
        "`",
        "a`b",
        "``",
        "`, expected `url",
        "x`, there are no fields",
        "\0",
        "",
        "url.x",
        "[0]",
        "é`",
        "a\nb",
    ];
    for name in names {
        for count in [1, 3, 40] {
            let fields: Vec<_> = (0..count)
                .map(|n| format!("{}: 1", serde_json::to_string(&format!("{name}{n}")).unwrap()))
                .collect();
            let fields = fields.join(", ");
            for body in [format!("{{{fields}}}"), format!("{{\"url\": \"u\", \"retry\": {{{fields}}}}}")] {
                let refusal = parse::<CreateEndpoint>(body.as_bytes()).err();
                assert!(refusal.is_some_and(|refusal| told(refusal).starts_with("422 ")), "{body}");
            }
        }
    }
}

#[test]
fn what_is_plainly_not_json_is_refused_by_its_type() {
    let check = |content_type: Option<&'static str>, fits| {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(value));
        }
        assert_eq!(check_content_type(&headers).is_ok(), fits, "{content_type:?}");
    };
    check(None, true);
    check(Some("application/json"), true);
    check(Some("Application/JSON; charset=utf-8"), true);
    check(Some("application/merge-patch+json"), true);
    check(Some("text/plain"), true);
    check(Some("application/x-www-form-urlencoded"), true);
    check(Some("multipart/form-data; boundary=x"), false);
    check(Some("application/xml"), false);
}

#[tokio::test]
async fn a_body_may_be_as_long_as_its_limit_and_no_longer() {
    let limits = BodyLimits { bytes_max: 10, timeout: Duration::from_secs(5) };
    let check = async |length: usize, announced: bool, fits: bool| {
        let mut headers = HeaderMap::new();
        if announced {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let found = read(&headers, Body::from("x".repeat(length)), limits).await;
        assert_eq!(
            found.map(|bytes| bytes.len()).map_err(|refusal| refusal.kind),
            if fits { Ok(length) } else { Err(Kind::PayloadTooLarge) }
        );
    };
    for announced in [true, false] {
        check(0, announced, true).await;
        check(10, announced, true).await;
        check(11, announced, false).await;
    }
}
