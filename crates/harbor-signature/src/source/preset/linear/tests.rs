use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `createHmac` of Node.js as Linear's documentation does, and accepted by
/// `LinearWebhookClient.verify` of npm `@linear/sdk` 98.0.0 five seconds later.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"action":"create","type":"Issue","createdAt":"2026-06-21T00:00:00.000Z","#,
        r#""organizationId":"fbb0a1a7-1ed0-46d0-b2f3-b1b3b1f8b1d1","#,
        r#""data":{"id":"2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9","title":"Hook"},"#,
        r#""url":"https://linear.app/acme/issue/ACM-1","webhookTimestamp":1782000000123,"#,
        r#""webhookId":"000042e3-d123-4980-b49f-8e140eef9329"}"#,
    )
    .as_bytes();
    vec![Example {
        headers: vec![
            (HEADER, "765d1597d81422a052dd99550ea630f4c148f1602c72834773c95e622ae279f7".to_owned()),
            ("linear-event", "Issue".to_owned()),
            ("linear-delivery", "234d1a4e-b617-4388-90fe-adc3633d6b72".to_owned()),
        ],
        now_secs: 1_782_000_000,
        needs: &[HEADER],
        signs: &[HEADER],
        grows_stale: true,
        event_type: Some("Issue"),
        event_id: Some("234d1a4e-b617-4388-90fe-adc3633d6b72"),
        ..Example::of(Provider::Linear, "lin_wh_5Yw1kTq0m8aZr3VbX7cJ2nHd", body)
    }]
}

/// Signed by `hmac` of Python's standard library.
#[test]
fn a_body_without_its_time_is_refused_although_it_is_signed() {
    let mut example = examples().remove(0);
    example.body = br#"{"action":"create","type":"Issue"}"#.to_vec();
    *example.header_mut(HEADER) =
        "60771e0efa50f0c6debf93dca231898b5e57e8d44eaf91eeb4deb59b59140130".to_owned();
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason.code(), "malformed_request");
}

#[test]
fn the_unsigned_time_passes_for_nothing() {
    let mut example = examples().remove(0);
    example.headers.push(("linear-timestamp", "1782003600000".to_owned()));
    let rejection = example.verify_with(&[example.secret], 1_782_003_600).unwrap_err();
    assert_eq!(rejection.reason, Reason::StaleTimestamp { age_s: 3600 });
}
