use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

const EVENT_ID: &str = "72f182636998354c3e29c5a71ab8cfe2ad322c7843253542d149a3fb758ecd44";

/// Made by `Signature.get_signature` of PyPI `hubspot-api-client` 12.0.0, which accepts others made likewise
/// at their time. It leaves the URI to its caller: for the second, it was given with the characters of
/// HubSpot's table as themselves.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"[{"eventId":3816279340,"subscriptionId":25,"portalId":33,"appId":1160452,"#,
        r#""occurredAt":1462216307945,"subscriptionType":"contact.creation","attemptNumber":0,"#,
        r#""objectId":123,"changeSource":"CRM","changeFlag":"NEW"},{"eventId":3816279480,"#,
        r#""subscriptionId":22,"portalId":33,"appId":1160452,"occurredAt":1462216307945,"#,
        r#""subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":123,"#,
        r#""propertyName":"jobtitle","propertyValue":"engineer","changeSource":"CRM"}]"#,
    )
    .as_bytes();
    let plain = Example {
        headers: vec![
            (SIGNATURE_HEADER, "wBW+CULMklKePTWnsTpwmMU1/nG/2FgHrzJ+sBkWQAA=".to_owned()),
            (TIMESTAMP_HEADER, "1782000000123".to_owned()),
        ],
        now_secs: 1_782_000_000,
        needs: &[SIGNATURE_HEADER, TIMESTAMP_HEADER],
        signs: &[SIGNATURE_HEADER, TIMESTAMP_HEADER],
        signs_url: true,
        grows_stale: true,
        event_type: Some("contact.creation"),
        event_id: Some(EVENT_ID),
        ..Example::of(Provider::Hubspot, "7b6ac2c1-8b0f-4bb8-8a11-5e0b6d0f2a4c", body)
    };
    let mut escaped = plain.clone();
    escaped.url += "?team=a%3Ab%2Cc%3Bd&path=%2Fx%3F%28y%29%2A%21%24%27%40&keep=%20%26";
    *escaped.header_mut(SIGNATURE_HEADER) = "qRvJ+iLbAhRLIL4IkRFjqgsDD7gFrKJ6MQs3x+FXo6s=".to_owned();
    vec![plain, escaped]
}

#[test]
fn unescapes_what_the_table_has_and_only_once() {
    let check = |uri: &str, expected: &str| assert_eq!(unescaped(uri), expected, "{uri}");
    check("https://a.example/x?y=z", "https://a.example/x?y=z");
    check("%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B", ":/?@!$'()*,;");
    check("%3a%20%26%25", "%3a%20%26%25");
    check("%253A", "%253A");
    check("%%3A%3", "%:%3");
}

#[test]
fn a_retry_bears_the_same_name_and_another_event_another() {
    let id = |change: fn(&str) -> String| {
        let mut example = examples().remove(0);
        example.body = change(str::from_utf8(&example.body).unwrap()).into_bytes();
        example.ask(|verifier, request| verifier.event_id(request))
    };
    assert_eq!(
        id(|body| body.replace(r#""attemptNumber":0"#, r#""attemptNumber":3"#)).as_deref(),
        Some(EVENT_ID)
    );
    assert_ne!(id(|body| body.replace("engineer", "gardener")).as_deref(), Some(EVENT_ID));
    assert_eq!(id(|_| r#"{"a workflow's own":"body"}"#.to_owned()), None);
}

#[test]
fn the_older_signature_passes_for_nothing() {
    let mut example = examples().remove(0).without(SIGNATURE_HEADER);
    example.headers.push(("x-hubspot-signature", "0".repeat(64)));
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::MissingHeader { name: SIGNATURE_HEADER.to_owned() });
}
