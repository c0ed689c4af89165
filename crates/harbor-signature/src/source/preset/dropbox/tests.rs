use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `hmac` of Python's standard library, as Dropbox's documentation verifies a signature: it publishes
/// neither a library that verifies nor an example with its secret.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]}, "#,
        r#""delta": {"users": [12345678]}}"#,
    );
    let signature = "eec990dd12141c0a69404bdafc07d5c1fe25a0f5a1bc97c6388b733d62e731ab";
    vec![Example {
        headers: vec![(HEADER, signature.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        ..Example::of(Provider::Dropbox, "x9f2k1q8z7m3p0v", body.as_bytes())
    }]
}

#[test]
fn two_notifications_may_have_one_body() {
    assert!(!examples()[0].verifier().body_names_event());
}

#[test]
fn answers_a_challenge_as_a_text_that_no_browser_takes_for_a_page() {
    let mut example = Example { method: "GET", ..examples().remove(0).without(HEADER) };
    example.url += "?challenge=%3Cscript%3Ea+b";
    let handshake =
        example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])).unwrap().unwrap();
    assert_eq!((handshake.status, handshake.body.as_slice()), (200, b"<script>a b".as_slice()));
    let headers: Vec<_> = handshake.headers().collect();
    assert_eq!(
        headers,
        [("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")]
    );
}

#[test]
fn nothing_else_is_a_challenge() {
    let check = |method, query: &str| {
        let mut example = Example { method, ..examples().remove(0) };
        example.url += query;
        assert!(
            example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])).is_none(),
            "{example:?}"
        );
    };
    check("GET", "");
    check("GET", "?other=1");
    check("POST", "?challenge=abc");
}
