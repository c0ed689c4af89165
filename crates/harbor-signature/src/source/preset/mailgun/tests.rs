use std::time::Duration;

use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SECRET: &str = "3f9a1c7be27d4b0f8e1a5c6d7b8e9f00";
const PARENT_SECRET: &str = "9b8e7d6c5b4a39281706f5e4d3c2b1a0";
const SENT_SECS: i64 = 1_529_006_854;
const TOKEN: &str = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0";
const SIGNATURE: &str = "007db1917c65cdb6ba7381332618e2141becb2df8c663be0f2e8ed826c606e03";
const PARENT_SIGNATURE: &str = "0ec2bb7e6ab191d5c346e6c4a7d70515f663b73b205b7da1399831cca5473b87";

/// Made by `hmac` of Python's standard library, and passed by `VerifyWebhookSignature` of Go's
/// `github.com/mailgun/mailgun-go/v4` 4.23.0. The second comes from an account that belongs to another; its
/// signature for that other was made in the same way.
pub(crate) fn examples() -> Vec<Example> {
    let signature = format!(r#""timestamp":"{SENT_SECS}","token":"{TOKEN}","signature":"{SIGNATURE}""#);
    let event = r#""event":"delivered","id":"CPgfbmQMTCKtHW6uIWtuVe""#;
    let body = format!(r#"{{"signature":{{{signature}}},"event-data":{{{event}}}}}"#);
    let own = Example {
        now_secs: SENT_SECS,
        signs_body: false,
        grows_stale: true,
        event_type: Some("delivered"),
        event_id: Some(TOKEN),
        ..Example::of(Provider::Mailgun, SECRET, body.as_bytes())
    };
    let with_parent = format!(r#"{SIGNATURE}","parent-signature":"{PARENT_SIGNATURE}""#);
    let body = body.replace(&format!(r#"{SIGNATURE}""#), &with_parent);
    let parent = Example { secret: PARENT_SECRET, body: body.into_bytes(), ..own.clone() };
    vec![own, parent]
}

/// The first example with another text in its body.
fn changed(from: &str, to: &str) -> Example {
    let mut example = examples().remove(0);
    let body = String::from_utf8(example.body).unwrap();
    assert!(body.contains(from), "{from}");
    example.body = body.replacen(from, to, 1).into_bytes();
    example
}

#[test]
fn nothing_that_is_signed_can_change() {
    let check = |from: &str, to: &str| {
        let reason = changed(from, to).verify().unwrap_err().reason;
        assert_eq!(reason, Reason::SignatureMismatch, "{from} to {to}");
    };
    check("1529006854", "1529006855");
    check(TOKEN, &TOKEN.replace('a', "b"));
    check(SIGNATURE, &SIGNATURE.to_uppercase());
    check(SIGNATURE, PARENT_SIGNATURE);
    check(SIGNATURE, "");
}

#[test]
fn a_digit_cannot_move_between_timestamp_and_token() {
    let check = |from: &str, to: &str| {
        let reason = changed(from, to).verify().unwrap_err().reason;
        assert!(matches!(reason, Reason::StaleTimestamp { .. }), "{reason}");
    };
    check(r#"54","token":""#, r#"5","token":"4"#);
    check(r#"54","token":""#, r#"540","token":""#);
}

#[test]
fn what_is_needed_must_stand_in_the_body() {
    let check = |from: &str, to: &str| {
        let reason = changed(from, to).verify().unwrap_err().reason;
        assert!(matches!(reason, Reason::MalformedRequest { .. }), "{from} to {to}: {reason}");
    };
    check("timestamp", "time");
    check("token", "nonce");
    check(r#""signature":"0"#, r#""other":"0"#);
    check("{", "[");
    check("1529006854", "01529006854");
    check("1529006854", "-1529006854");
}

#[test]
fn the_rest_of_the_body_is_not_signed() {
    let forged = changed("delivered", "complained");
    assert_eq!(forged.verify(), Ok(()));
    let event_id = |example: &Example| example.ask(|verifier, request| verifier.event_id(request));
    assert_eq!(event_id(&forged), event_id(&examples()[0]), "so it passes for a repetition");
}

#[test]
fn a_source_can_take_what_mailgun_retries_for_eight_hours() {
    let check = |age_s: i64, is_fresh: bool| {
        let mut example = examples().remove(0);
        example.options.timestamp_tolerance = Some(Duration::from_secs(8 * 60 * 60));
        let verified = example.verify_with(&[example.secret], SENT_SECS + age_s);
        match verified {
            Ok(()) => assert!(is_fresh, "{age_s}"),
            Err(rejection) => {
                assert!(!is_fresh, "{age_s}");
                assert_eq!(rejection.reason, Reason::StaleTimestamp { age_s });
            }
        }
    };
    check(300, true);
    check(8 * 60 * 60, true);
    check(8 * 60 * 60 + 1, false);
    check(-8 * 60 * 60 - 1, false);
}
