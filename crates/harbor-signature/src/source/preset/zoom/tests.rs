use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SECRET: &str = "Gv4cPsXqS6yLWbU2Hn9zTg";

/// Zoom publishes neither an example nor a library that signs: made by `hmac` of Python's standard library as
/// the documentation says, and accepted by the `HttpReceiver` of npm `@zoom/rivet` 0.4.0, Zoom's own.
pub(crate) fn examples() -> Vec<Example> {
    let event = concat!(
        r#"{"event":"meeting.started","payload":{"account_id":"AAAAAABBBB","object":{"#,
        r#""id":"1234567890","uuid":"4444AAAiAAAAAiAiAiiAii==","topic":"My Meeting"}},"#,
        r#""event_ts":1700000000123}"#
    )
    .as_bytes();
    let signature = "v0=9022f7170c588da156d0c1801f94b3799ba4731a1cd21429053014fd60c105b1";
    let event = Example { event_type: Some("meeting.started"), ..signed(event, signature) };
    vec![event, url_validation()]
}

fn url_validation() -> Example {
    let body = concat!(
        r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1700000000123,"#,
        r#""event":"endpoint.url_validation"}"#
    )
    .as_bytes();
    let signature = "v0=87c5f11b54056ec341f902c1ce7468b5cc181911164259cd306712724396c0da";
    Example { event_type: Some("endpoint.url_validation"), ..signed(body, signature) }
}

fn signed(body: &[u8], signature: &str) -> Example {
    Example {
        headers: vec![(SCHEME.signature, signature.to_owned()), (SCHEME.timestamp, "1700000000".to_owned())],
        needs: &["x-zm-signature", "x-zm-request-timestamp"],
        signs: &["x-zm-signature", "x-zm-request-timestamp"],
        grows_stale: true,
        ..Example::of(Provider::Zoom, SECRET, body)
    }
}

/// The encrypted token is what the same receiver of `@zoom/rivet` answered.
#[test]
fn the_token_comes_back_encrypted_with_the_secret_that_zoom_used() {
    let expected = Handshake::json(&json!({
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": "7ebb2e4184db143293b2ff6b704b18d2d7afc6a8f3d273a409eedb73fd3d3fcc",
    }));
    let example = url_validation();
    for secrets in [&[SECRET][..], &["a newer one", SECRET], &[SECRET, "an older one"]] {
        let answer = example.ask(|verifier, request| verifier.signed_handshake(request, secrets));
        assert_eq!(answer.as_ref(), Some(&expected), "{secrets:?}");
    }
}

#[test]
fn no_token_is_encrypted_for_those_who_have_not_signed() {
    let mut forged = url_validation();
    forged.body =
        br#"{"payload":{"plainToken":"v0:1700000000:{}"},"event":"endpoint.url_validation"}"#.to_vec();
    for example in [url_validation().without(SCHEME.signature), forged] {
        assert!(example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])).is_none());
        assert!(example.ask(|verifier, request| verifier.signed_handshake(request, &[SECRET])).is_none());
    }
}

#[test]
fn an_event_is_no_handshake() {
    let example = examples().remove(0);
    assert!(example.ask(|verifier, request| verifier.signed_handshake(request, &[SECRET])).is_none());
}
