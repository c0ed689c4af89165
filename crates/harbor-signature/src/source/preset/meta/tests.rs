use harbor_model::source::Provider;

use super::*;
use crate::source::Verifier;
use crate::source::example::Example;

const VERIFY_TOKEN: &str = "meatyhamhock";

/// Made by `hmac` of Python's standard library, over a body that is escaped as Meta's documentation says:
/// Meta publishes neither a library that verifies nor an example with its secret.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"object":"page","entry":[{"id":"0","time":1520383571,"changes":[{"field":"feed","#,
        r#""value":{"message":"\u00e4\u00f6\u00e5 \u003C\/a>"}}]}]}"#,
    );
    let signature = "sha256=fbd4619cbd21988c6bfe9a1b66229197ba14f623b5cbb97ae8558700d6200b0f";
    vec![Example {
        options: SourceOptions {
            verify_token: Some(Secret::new(VERIFY_TOKEN.to_owned())),
            ..SourceOptions::default()
        },
        headers: vec![(HEADER, signature.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("page"),
        ..Example::of(Provider::Meta, "614fc2afde15eee07a26b2fe3eaee9b9", body.as_bytes())
    }]
}

/// What is answered to a `GET` with this query.
fn handshake(query: &str) -> Option<Result<Handshake, Reason>> {
    let mut example = Example { method: "GET", ..examples().remove(0).without(HEADER) };
    example.url += query;
    let answer = example.ask(|verifier, request| verifier.unsigned_handshake(request, &[]));
    answer.map(|answer| answer.map_err(|rejection| rejection.reason))
}

#[test]
fn the_same_text_without_escapes_is_another_body() {
    let mut example = examples().remove(0);
    let body = String::from_utf8(example.body).unwrap();
    example.body = body.replace(r"\u00e4", "ä").into_bytes();
    assert_eq!(example.verify().unwrap_err().reason, Reason::SignatureMismatch);
}

#[test]
fn whoever_knows_the_token_gets_the_challenge_back() {
    let subscribe = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let answer = handshake(&format!("{subscribe}{VERIFY_TOKEN}"));
    assert_eq!(answer, Some(Ok(Handshake::text("1158201444"))));
    for token in ["", "meatyhamhoc", "meatyhamhocks", "Meatyhamhock"] {
        let answer = handshake(&format!("{subscribe}{token}"));
        assert_eq!(answer, Some(Err(Reason::CredentialMismatch)), "{token}");
    }
    let answer = handshake("?hub.mode=subscribe&hub.challenge=1158201444");
    assert_eq!(answer, Some(Err(Reason::CredentialMismatch)));
    let answer = handshake(&format!("?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}"));
    assert!(matches!(answer, Some(Err(Reason::MalformedRequest { .. }))), "{answer:?}");
}

#[test]
fn without_a_token_of_its_own_the_secret_serves() {
    let mut example = examples().remove(0);
    example.method = "GET";
    example.options.verify_token = None;
    let url = example.url.clone();
    let mut answer = |token: &str| {
        example.url = format!("{url}?hub.mode=subscribe&hub.challenge=7&hub.verify_token={token}");
        example.ask(|verifier, request| verifier.unsigned_handshake(request, &[example.secret])).unwrap()
    };
    assert_eq!(answer(examples()[0].secret), Ok(Handshake::text("7")));
    assert!(answer(VERIFY_TOKEN).is_err());
}

#[test]
fn nothing_else_is_a_handshake() {
    let token = format!("hub.challenge=1&hub.verify_token={VERIFY_TOKEN}");
    assert_eq!(handshake(""), None);
    assert_eq!(handshake(&format!("?{token}")), None);
    assert_eq!(handshake(&format!("?hub.mode=unsubscribe&{token}")), None);
    let mut example = examples().remove(0);
    example.url += &format!("?hub.mode=subscribe&{token}");
    assert_eq!(example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])), None);
}

#[test]
fn the_token_is_of_no_use_elsewhere() {
    let check = |provider, verify_token: Option<&str>, passes: bool| {
        let options = SourceOptions {
            verify_token: verify_token.map(|token| Secret::new(token.to_owned())),
            ..SourceOptions::default()
        };
        let refused = Verifier::new(provider, &options).err().map(|error| error.field);
        assert_eq!(refused, (!passes).then_some("verify_token"), "{options:?}");
    };
    check(Provider::Meta, Some("a"), true);
    check(Provider::Meta, None, true);
    check(Provider::Meta, Some(""), false);
    check(Provider::Meta, Some("a\n"), false);
    check(Provider::Meta, Some(&"a".repeat(256)), false);
    check(Provider::Github, Some("a"), false);
}
