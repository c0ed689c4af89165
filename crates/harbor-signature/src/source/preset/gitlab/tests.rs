use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SIGNING_TOKEN: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const EVENT_ID: &str = "c4b1ef4b-1ad1-4a6a-9d4a-5f0d1f8a2b10";

/// The secret token itself, which is the whole of the older scheme, and a signature that was made by
/// `Webhook.sign` of PyPI `standardwebhooks` 1.1.0, the scheme that GitLab says it follows.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"object_kind":"push","event_name":"push","ref":"refs/heads/main","project_id":15,"#,
        r#""total_commits_count":1}"#,
    )
    .as_bytes();
    let token = Example {
        headers: vec![
            (TOKEN_HEADER, "the webhook's secret token".to_owned()),
            ("x-gitlab-event", "Push Hook".to_owned()),
            ("idempotency-key", EVENT_ID.to_owned()),
            ("x-gitlab-webhook-uuid", "0b9dd3b8-6f7a-4bb1-9f44-0c5a4d1a1a11".to_owned()),
        ],
        needs: &[TOKEN_HEADER],
        signs: &[TOKEN_HEADER],
        signs_body: false,
        event_type: Some("Push Hook"),
        event_id: Some(EVENT_ID),
        ..Example::of(Provider::Gitlab, "the webhook's secret token", body)
    };
    let signed = Example {
        headers: vec![
            (ID_HEADER, EVENT_ID.to_owned()),
            (TIMESTAMP_HEADER, "1782000000".to_owned()),
            (SIGNATURE_HEADER, "v1,WXTZHa5C3TVEFJScZKUX3Z7rLsXe61camrf1TBGHkcw=".to_owned()),
            ("x-gitlab-event", "Push Hook".to_owned()),
        ],
        other_secret: "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
        now_secs: 1_782_000_000,
        needs: &[ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER],
        signs: &[ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER],
        signs_body: true,
        grows_stale: true,
        event_type: Some("Push Hook"),
        event_id: Some(EVENT_ID),
        ..Example::of(Provider::Gitlab, SIGNING_TOKEN, body)
    };
    vec![token, signed]
}

#[test]
fn while_both_are_valid_each_request_passes_by_what_it_brings() {
    for example in examples() {
        let [token, signed] = examples().try_into().unwrap();
        assert_eq!(example.verify_with(&[token.secret, signed.secret], 1_782_000_000), Ok(()), "{example:?}");
    }
}

#[test]
fn a_signature_that_is_wrong_is_not_made_up_for_by_a_token() {
    let [token, mut signed] = examples().try_into().unwrap();
    signed.headers.push((TOKEN_HEADER, token.secret.to_owned()));
    signed.body.push(b' ');
    let rejection = signed.verify_with(&[token.secret, signed.secret], signed.now_secs).unwrap_err();
    assert_eq!(rejection.reason, Reason::SignatureMismatch);
}

#[test]
fn a_signing_token_in_the_clear_is_a_token() {
    let mut example = examples().remove(0);
    *example.header_mut(TOKEN_HEADER) = SIGNING_TOKEN.to_owned();
    assert_eq!(example.verify_with(&[SIGNING_TOKEN], example.now_secs), Ok(()));
}

#[test]
fn any_v1_passes_and_nothing_else() {
    let check = |change: fn(&str) -> String, passes: bool| {
        let mut example = examples().remove(1);
        let header = example.header_mut(SIGNATURE_HEADER);
        *header = change(header);
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    check(|header| format!("v1,AAAA {header}"), true);
    check(|header| format!("v1a,AAAA {header}"), true);
    check(|header| header.replace("v1,", "v2,"), false);
    check(|header| header.replace("v1,", ""), false);
    check(|_| String::new(), false);
}

#[test]
fn a_secret_is_a_signing_token_or_can_stand_in_a_header() {
    let check = |secret: &str, passes: bool| {
        assert_eq!(Gitlab.check_secret(secret).is_ok(), passes, "{secret}");
    };
    check(SIGNING_TOKEN, true);
    check("any token, with blanks", true);
    check("whsec_not base64", false);
    check("whsec_", false);
    check("tök", false);
}
