use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const TOKEN: &str = "f5a1b0c6d2e94a7f8b3c1d0e9f8a7b6c";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
const STATUS: &[u8] =
    b"SmsSid=SM5ef8732a3c49700934481addd5ce1659&SmsStatus=delivered&MessageStatus=delivered\
    &To=%2B15558675310&MessageSid=SM5ef8732a3c49700934481addd5ce1659\
    &AccountSid=AC00000000000000000000000000000001&From=%2B15017122661&ApiVersion=2010-04-01\
    &Body=Z%C3%BCrich+%26+back";

/// Made by `RequestValidator` of PyPI `twilio` 9.13.0, which accepts both; npm `twilio` 6.2.0 accepts
/// the second.
pub(crate) fn examples() -> Vec<Example> {
    vec![status("0QGROzQ8+8+9itbJzvCLvBxAmMw="), json()]
}

/// The example of Twilio's documentation, accepted by both libraries. It stands apart since its secret,
/// `12345`, is part of the text that is signed.
fn documented() -> Example {
    let body = b"CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030\
        &To=%2B18005551212";
    Example {
        url: "https://mycompany.com/myapp.php?foo=1&bar=2".to_owned(),
        ..form("12345", body, "0/KCTR6DLpKmkAf8muzZqo1nDgQ=")
    }
}

fn status(signature: &str) -> Example {
    let mut example = form(TOKEN, STATUS, signature);
    example.headers.push(("i-twilio-idempotency-token", "b6a5f7a2-4c53-4f0e-9a53-2f5f3c1d7e10".to_owned()));
    Example {
        event_type: Some("message.delivered"),
        event_id: Some("b6a5f7a2-4c53-4f0e-9a53-2f5f3c1d7e10"),
        ..example
    }
}

fn json() -> Example {
    let body = concat!(
        r#"[{"specversion":"1.0","type":"com.twilio.messaging.message.delivered","#,
        r#""source":"SM5ef8732a3c49700934481addd5ce1659","#,
        r#""id":"EZ24cbe7f3b5bb4d0d0a0dc1f1f2f8a6c7","time":"2023-11-14T22:13:20.000Z","data":{"#,
        r#""messageStatus":"DELIVERED"}}]"#
    )
    .as_bytes();
    let mut example = Example {
        headers: vec![
            (HEADER, "OiS/2/LbfvJ9Ecf98YKAmwpx+QU=".to_owned()),
            ("content-type", "application/json".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        signs_url: true,
        event_type: Some("com.twilio.messaging.message.delivered"),
        ..Example::of(Provider::Twilio, TOKEN, body)
    };
    example.url.push_str("?bodySHA256=f79a03f4a7116aef5108872a658fb36c4dd9f5ef64b88d9f1902920346065990");
    example
}

/// What a form says is signed, but not how it is written: `%2b` or `%2B`, in which order, or how often.
fn form(secret: &'static str, body: &[u8], signature: &str) -> Example {
    Example {
        headers: vec![(HEADER, signature.to_owned()), (FORM.0, FORM.1.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        signs_body: false,
        signs_url: true,
        ..Example::of(Provider::Twilio, secret, body)
    }
}

#[test]
fn the_example_of_the_documentation_passes() {
    assert_eq!(documented().verify(), Ok(()));
}

#[test]
fn what_a_form_says_cannot_be_changed() {
    let check = |from: &str, to: &str, passes: bool| {
        let mut example = status("0QGROzQ8+8+9itbJzvCLvBxAmMw=");
        let body = String::from_utf8(example.body).unwrap();
        assert!(body.contains(from), "{from}");
        example.body = body.replacen(from, to, 1).into_bytes();
        assert_eq!(example.verify().is_ok(), passes, "{from} to {to}");
    };
    check("=delivered", "=failed", false);
    check("&ApiVersion=2010-04-01", "", false);
    check("&ApiVersion=", "&More=1&ApiVersion=", false);
    check("Z%C3%BCrich+", "z%C3%BCrich+", false);
    check("%C3%BC", "%c3%bc", true);
    check("+%26+", "%20%26%20", true);
}

/// The signatures are those that `RequestValidator.compute_signature` makes of the URL with `:443`.
#[test]
fn the_port_may_be_signed_or_not() {
    let with_port = status("SLucNgEmXZ/QUGUduUlmVXUIqZ8=");
    let without = status("0QGROzQ8+8+9itbJzvCLvBxAmMw=");
    for mut example in [with_port, without] {
        assert_eq!(example.verify(), Ok(()), "{example:?}");
        example.url = example.url.replace(".com/", ".com:443/");
        assert_eq!(example.verify(), Ok(()), "{example:?}");
        example.url = example.url.replace(":443/", ".evil:443/");
        assert!(example.verify().is_err(), "{example:?}");
    }
}

#[test]
fn the_port_is_found_where_it_is() {
    let check = |url: &str, expected: Option<&str>| {
        assert_eq!(with_other_port(url).as_deref(), expected, "{url}");
    };
    check("https://a.example/p:1?q=:2", Some("https://a.example:443/p:1?q=:2"));
    check("http://a.example", Some("http://a.example:80"));
    check("http://a.example:8080/p", Some("http://a.example/p"));
    check("https://[::1]/p", Some("https://[::1]:443/p"));
    check("https://[::1]:8443?q", Some("https://[::1]?q"));
    check("wss://a.example/p", None);
    check("a.example/p", None);
}

/// Made by `RequestValidator.compute_signature` of several values, two of them the same.
#[test]
fn values_of_one_name_are_sorted_and_signed_once() {
    let body = b"MediaUrl=https%3A%2F%2Fb.example&MediaUrl=https%3A%2F%2Fa.example&CallStatus=ringing\
        &MediaUrl=https%3A%2F%2Fa.example";
    assert_eq!(form(TOKEN, body, "ARPP7Y9t7aZtwrUaijrrKonCG30=").verify(), Ok(()));
}

/// Made by `RequestValidator.compute_signature` with its `algorithm`.
#[test]
fn a_shared_key_may_sign_by_sha256() {
    let check = |settings: &str, expected: Result<(), &str>| {
        let mut example = status("4dTQGZ7tJucNM/KSfWA1ufW+WtwJkm7TmWE241Wb7UM=");
        example.headers.push((SETTINGS_HEADER, settings.to_owned()));
        let verified = example.verify().map_err(|rejection| rejection.reason.code().to_owned());
        assert_eq!(verified, expected.map_err(str::to_owned), "{settings}");
    };
    check("key=webhooks_sharedkey_01jd8x,algorithm=HMAC_SHA256", Ok(()));
    check("algorithm=HMAC_SHA256", Ok(()));
    check("key=webhooks_sharedkey_01jd8x,algorithm=HMAC_SHA1", Err("signature_mismatch"));
    check("key=webhooks_sharedkey_01jd8x", Err("signature_mismatch"));
    check("key=webhooks_sharedkey_01jd8x,algorithm=NONE", Err("malformed_header"));
}

#[test]
fn a_body_that_nothing_signs_is_refused() {
    let check = |mut example: Example, content_type: &str, body: &[u8]| {
        *example.header_mut("content-type") = content_type.to_owned();
        example.body = body.to_vec();
        let rejection = example.verify().unwrap_err();
        assert_eq!(rejection.reason.code(), "malformed_request", "{example:?}");
    };
    // Neither may the hash be passed over by saying that the body is a form, which says nothing.
    check(json(), FORM.1, b"");
    check(json(), FORM.1, b"=");
    check(json(), "application/json", b"[]");
    check(documented(), "application/json", b"{}");
    check(documented(), "text/plain", STATUS);
}

/// Made by `RequestValidator.compute_signature` of the URL alone.
#[test]
fn a_webhook_by_get_has_its_parameters_in_the_url() {
    let mut example = form(TOKEN, b"", "LrItdQGIjclmaaxbB4ML3bUqNog=").without("content-type");
    example.method = "GET";
    example.url.push_str("?CallSid=CA1234567890ABCDE&CallStatus=ringing&From=%2B14158675310");
    assert_eq!(example.verify(), Ok(()));
    let event_type = example.ask(|verifier, request| verifier.event_type(request));
    assert_eq!(event_type.as_deref(), Some("call.ringing"));
}

#[test]
fn events_are_named_by_what_they_tell() {
    let check = |body: &str, expected: Option<&str>| {
        let example = form(TOKEN, body.as_bytes(), "");
        let event_type = example.ask(|verifier, request| verifier.event_type(request));
        assert_eq!(event_type.as_deref(), expected, "{body}");
    };
    check("MessageSid=SM1&SmsStatus=received&Body=hi", Some("message.received"));
    check("CallSid=CA1&CallStatus=no-answer", Some("call.no-answer"));
    check("CallSid=CA1&RecordingStatus=completed", Some("recording.completed"));
    check("EventType=task.created&TaskSid=WT1", Some("task.created"));
    check("StatusCallbackEvent=participant-join&CallSid=CA1", Some("participant-join"));
    check(r#"{"specversion":"1.0","type":"com.twilio.voice.insights"}"#, Some("com.twilio.voice.insights"));
    check("CallSid=CA1", None);
}
