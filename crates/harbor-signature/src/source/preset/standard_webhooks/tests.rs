use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const BODY: &[u8] = concat!(
    r#"{"type":"contact.created","timestamp":"2023-11-14T22:13:20Z","data":{"#,
    r#""id":"1f81eb52-5198-4599-803e-771906343485"}}"#
)
.as_bytes();

/// The first is the example that the documentation of Svix gives; PyPI `standardwebhooks` 1.1.0 accepts it.
/// The second was made by `Webhook.sign` of PyPI `svix` 2.9.1, which accepts it.
pub(crate) fn examples() -> Vec<Example> {
    let standard = Example {
        headers: vec![
            (STANDARD.id, "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
            (STANDARD.timestamp, "1614265330".to_owned()),
            (STANDARD.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
        ],
        now_secs: 1_614_265_330,
        needs: &["webhook-id", "webhook-timestamp", "webhook-signature"],
        signs: &["webhook-id", "webhook-timestamp", "webhook-signature"],
        grows_stale: true,
        event_id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ..Example::of(Provider::StandardWebhooks, SECRET, br#"{"test": 2432232314}"#)
    };
    vec![standard, svix(SECRET, "v1,Pck9+Jn7tedhL6RuMXYup/d2tjqUJQl9XT1GcSSRk5E=")]
}

fn svix(secret: &'static str, signature: &str) -> Example {
    Example {
        headers: vec![
            (SVIX.id, ID.to_owned()),
            (SVIX.timestamp, "1700000000".to_owned()),
            (SVIX.signature, signature.to_owned()),
        ],
        needs: &["svix-id", "svix-timestamp", "svix-signature"],
        signs: &["svix-id", "svix-timestamp", "svix-signature"],
        grows_stale: true,
        event_type: Some("contact.created"),
        event_id: Some(ID),
        ..Example::of(Provider::Svix, secret, BODY)
    }
}

#[test]
fn either_provider_takes_either_kind_of_headers() {
    for mut example in examples() {
        for provider in [Provider::StandardWebhooks, Provider::Svix] {
            example.provider = provider;
            assert_eq!(example.verify(), Ok(()), "{example:?}");
        }
    }
}

#[test]
fn headers_of_the_two_kinds_are_not_mixed() {
    let mut example = examples().remove(1);
    example.headers.push((STANDARD.id, ID.to_owned()));
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::MissingHeader { name: STANDARD.timestamp.to_owned() });
}

#[test]
fn takes_any_v1_and_nothing_else() {
    let check = |change: fn(&str) -> String, passes: bool| {
        let mut example = examples().remove(0);
        let header = example.header_mut(STANDARD.signature);
        *header = change(header);
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    check(|header| format!("v1,AAAA {header}"), true);
    check(|header| format!("{header} v1a,anything"), true);
    check(|header| header.replace("v1,", "v1a,"), false);
    check(|header| header.replace("v1,", "v0,"), false);
    check(|header| header.replace("v1,", ""), false);
    check(|header| header.replace(' ', ","), true);
    check(|_| String::new(), false);
}

#[test]
fn an_id_with_a_full_stop_is_refused() {
    let mut example = examples().remove(0);
    *example.header_mut(STANDARD.id) = "msg_a.1614265330".to_owned();
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::malformed(STANDARD.id, "must be an id without a full stop"));
}

/// Made by `Webhook.sign` of PyPI `standardwebhooks` 1.1.0, of a raw key and of a secret without its padding.
#[test]
fn takes_raw_secrets_and_base64_without_padding() {
    let check = |secret, signature: &str| {
        let example = svix(secret, signature);
        assert_eq!(example.verify(), Ok(()), "{secret}");
        assert_eq!(example.verifier().check_secret(secret), Ok(()), "{secret}");
    };
    check("a raw secret of 24 bytes!", "v1,V3KGRCHS2a7Y4BwX1P2du8E1QE9gV7Kb2qIuGjBN8sk=");
    check("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD8g", "v1,fCRSfaT5bdgTZGJS+lqd5SwwswDemLQKOq5yXonVtf4=");
    check("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD8g==", "v1,fCRSfaT5bdgTZGJS+lqd5SwwswDemLQKOq5yXonVtf4=");
}

#[test]
fn a_secret_that_is_no_base64_or_empty_is_refused() {
    let verifier = examples().remove(0).verifier();
    for secret in ["whsec_", "whsec_==", "whsec_not base64", "whsec_MfKQ9"] {
        assert_eq!(verifier.check_secret(secret), Err("must go on in base64 after `whsec_`"), "{secret}");
    }
}
