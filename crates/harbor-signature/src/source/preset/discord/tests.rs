use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const PUBLIC_KEY: &str = "788bf5c2ddc1f1e6dce6bcd889847591e49ae56e5dc4172bff517427e975db19";

/// Made by PyPI `PyNaCl` 1.6.2, since Discord's libraries sign nothing; `verify_key` of PyPI
/// `discord-interactions` 0.4.0 and `verifyKey` of npm `discord-interactions` 4.4.0 accept all of them.
pub(crate) fn examples() -> Vec<Example> {
    vec![webhook_event(), webhook_ping(), interaction_ping(), interaction()]
}

fn webhook_event() -> Example {
    let body = concat!(
        r#"{"version":1,"application_id":"1234560123453231555","type":1,"event":{"#,
        r#""type":"APPLICATION_AUTHORIZED","timestamp":"2023-11-14T22:13:19.958321","data":{"#,
        r#""integration_type":1,"scopes":["applications.commands"]}}}"#
    )
    .as_bytes();
    let signature = concat!(
        "8673be8a0b38b8b8614b00b192754e4eababd5c8daac766c317abaa8e6229ddb",
        "6cf0c1645e4d921a3b2757341cc3b2d3ca38aed501425539d8da4ba335c37805"
    );
    Example { event_type: Some("APPLICATION_AUTHORIZED"), ..signed(body, signature) }
}

fn webhook_ping() -> Example {
    let body = br#"{"version":1,"application_id":"1234560123453231555","type":0}"#;
    let signature = concat!(
        "a9e32ea3014298fe741cf5658e0baa921e99b2df08755baa272ab68e3afdbcf6",
        "cca8e7e83f7534e002d06440b1d9db589425e37821bd6ab7d33c0e7e7845ce0f"
    );
    signed(body, signature)
}

fn interaction_ping() -> Example {
    let body = concat!(
        r#"{"app_permissions":"562949953601536","application_id":"1234560123453231555","#,
        r#""id":"1174124365654159370","token":"aW50ZXJhY3Rpb246","type":1,"version":1}"#
    )
    .as_bytes();
    let signature = concat!(
        "8f5260b80e4370d7f5eb1fbcf6a7112183ca78ac87c4123c7c13fb1beb708118",
        "f1b65722923a09ff564da2eb003cd1d22dff86b0263e425e0e819d8345c77d0b"
    );
    Example { event_id: Some("1174124365654159370"), ..signed(body, signature) }
}

fn interaction() -> Example {
    let body = concat!(
        r#"{"application_id":"1234560123453231555","data":{"id":"771825006014889984","#,
        r#""name":"cardsearch"},"id":"786008729715212338","token":"A_UNIQUE_TOKEN","type":2,"#,
        r#""version":1}"#
    )
    .as_bytes();
    let signature = concat!(
        "9a05dae11cd3b61766122bcc59fe516af9a235647162c9e6e6b4470e97bc324b",
        "4c5ec547023842f6800c53e56df05b0506bdb76ea1a6a6ca3acde31009c0c30a"
    );
    Example {
        event_type: Some("APPLICATION_COMMAND"),
        event_id: Some("786008729715212338"),
        ..signed(body, signature)
    }
}

fn signed(body: &[u8], signature: &str) -> Example {
    Example {
        other_secret: "1c5e44beb6af5241ca5128660f310d39d585579b93f6542089e72d86c0c4c74a",
        headers: vec![(SIGNATURE, signature.to_owned()), (TIMESTAMP, "1700000000".to_owned())],
        needs: &[SIGNATURE, TIMESTAMP],
        signs: &[SIGNATURE, TIMESTAMP],
        grows_stale: true,
        ..Example::of(Provider::Discord, PUBLIC_KEY, body)
    }
}

#[test]
fn each_ping_has_its_own_answer_and_events_have_none() {
    let check = |example: Example, expected: Option<Handshake>| {
        assert!(example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])).is_none());
        let answer = example.ask(|verifier, request| verifier.signed_handshake(request, &[PUBLIC_KEY]));
        assert_eq!(answer, expected, "{example:?}");
    };
    check(webhook_ping(), Some(Handshake::empty(204)));
    check(interaction_ping(), Some(Handshake::json(&json!({ "type": 1 }))));
    check(webhook_event(), None);
    check(interaction(), None);
}

#[test]
fn a_signature_is_128_lower_case_hex_digits() {
    for change in [str::to_uppercase, |signature: &str| signature[2..].to_owned(), |_: &str| String::new()] {
        let mut example = interaction();
        let header = example.header_mut(SIGNATURE);
        *header = change(header);
        let reason = example.verify().unwrap_err().reason;
        assert_eq!(reason, Reason::malformed(SIGNATURE, "must be 128 lower-case hex digits"));
    }
}

#[test]
fn a_public_key_is_64_hex_digits() {
    let verifier = interaction().verifier();
    assert_eq!(verifier.check_secret(&PUBLIC_KEY.to_uppercase()), Ok(()));
    for key in [&PUBLIC_KEY[2..], "1234560123453231555", &format!("{PUBLIC_KEY}00"), &"z".repeat(64)] {
        assert!(verifier.check_secret(key).is_err(), "{key}");
    }
}
