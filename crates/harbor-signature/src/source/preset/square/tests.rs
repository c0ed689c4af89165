use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

/// The first is the example of Square's documentation. The second was made by `hmac` of Python's standard
/// library. `verify_signature` of PyPI `squareup` 46.0.0.20260916 accepts both.
pub(crate) fn examples() -> Vec<Example> {
    let documented = Example {
        url: "https://example.com/webhook".to_owned(),
        headers: vec![(HEADER, "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=".to_owned())],
        ..signed("asdf1234", br#"{"hello":"world"}"#)
    };
    let event = concat!(
        r#"{"merchant_id":"6SSW7HV8K2ST5","type":"customer.created","#,
        r#""event_id":"f7a1e2c4-8b3d-4c5e-9f60-1a2b3c4d5e6f","#,
        r#""created_at":"2023-11-14T22:13:20Z","data":{"type":"customer","#,
        r#""id":"QPTXM8PQNX3Q726ZYHPMNP46XC"}}"#
    )
    .as_bytes();
    let event = Example {
        headers: vec![(HEADER, "h8gQ2iP0x2q66Ps6xKzA1YMSAssE4H+wXtxeJnSqZK4=".to_owned())],
        event_type: Some("customer.created"),
        event_id: Some("f7a1e2c4-8b3d-4c5e-9f60-1a2b3c4d5e6f"),
        ..signed("dGhpcyBpcyBub3QgYSByZWFsIGtleQ", event)
    };
    vec![documented, event]
}

fn signed(secret: &'static str, body: &[u8]) -> Example {
    Example {
        needs: &[HEADER],
        signs: &[HEADER],
        signs_url: true,
        ..Example::of(Provider::Square, secret, body)
    }
}

#[test]
fn the_url_is_signed_to_the_letter_and_told() {
    let mut example = examples().remove(0);
    example.url.push('/');
    let rejection = example.verify().unwrap_err();
    assert_eq!(rejection.reason, Reason::SignatureMismatch);
    let signed = br#"https://example.com/webhook/{"hello":"world"}"#;
    assert_eq!(rejection.signed_text.as_deref(), Some(&signed[..]));
}

#[test]
fn the_old_header_passes_for_nothing() {
    let mut example = examples().remove(0).without(HEADER);
    example.headers.push(("x-square-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()));
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::MissingHeader { name: HEADER.to_owned() });
}
