use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The first is the example of Slack's documentation. The others were made by
/// `SignatureVerifier.generate_signature` of PyPI `slack_sdk` 3.47.0, which accepts all of them.
pub(crate) fn examples() -> Vec<Example> {
    let command = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let mut command = signed(command, "1531420618", signature);
    command.now_secs = 1_531_420_618;
    command.event_type = Some("slash_commands");

    let event = concat!(
        r#"{"token":"XXYYZZ","team_id":"T0001","api_app_id":"A0001","event":{"#,
        r#""type":"reaction_added","user":"U0001","reaction":"tada"},"type":"event_callback","#,
        r#""event_id":"Ev08MFMKH6","event_time":1700000000}"#
    )
    .as_bytes();
    let signature = "v0=d152f3e5a961f3b8037a775ce9bd90bdf03fed2f798b69bbade1afddf42e17f0";
    let mut event = signed(event, "1700000000", signature);
    event.event_type = Some("reaction_added");
    event.event_id = Some("Ev08MFMKH6");

    let interaction = b"payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%22\
        12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3%22%7D";
    let signature = "v0=d066db6efec49ab4515509ba5db5902975b045ce4d4383ee3f80ecb82b45d653";
    let mut interaction = signed(interaction, "1700000000", signature);
    interaction.event_type = Some("block_actions");

    vec![command, event, interaction, url_verification()]
}

fn url_verification() -> Example {
    let body = concat!(
        r#"{"token":"XXYYZZ","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P""#,
        r#","type":"url_verification"}"#
    )
    .as_bytes();
    let signature = "v0=63d6efcd5577e6ff7a8ff2b3e59b11f56195fd3a428bd235790bc2f87e46605d";
    Example { event_type: Some("url_verification"), ..signed(body, "1700000000", signature) }
}

fn signed(body: &[u8], timestamp: &str, signature: &str) -> Example {
    Example {
        headers: vec![(SCHEME.signature, signature.to_owned()), (SCHEME.timestamp, timestamp.to_owned())],
        needs: &["x-slack-signature", "x-slack-request-timestamp"],
        signs: &["x-slack-signature", "x-slack-request-timestamp"],
        grows_stale: true,
        ..Example::of(Provider::Slack, SECRET, body)
    }
}

#[test]
fn the_challenge_is_answered_and_nothing_else() {
    for example in examples() {
        let answer = example.ask(|verifier, request| verifier.signed_handshake(request, &example.secrets()));
        let challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
        let expected = (example.event_type == Some("url_verification")).then(|| Handshake::text(challenge));
        assert_eq!(answer, expected, "{example:?}");
    }
}

#[test]
fn the_challenge_must_be_signed() {
    let example = url_verification().without(SCHEME.signature);
    assert!(example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])).is_none());
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::MissingHeader { name: SCHEME.signature.to_owned() });
}

#[test]
fn a_look_at_the_certificate_needs_no_signature_but_to_be_a_form() {
    let check = |body: &str, (name, value): (&'static str, &str), expected: Option<Handshake>| {
        let mut example = Example::of(Provider::Slack, SECRET, body.as_bytes());
        example.headers.push((name, value.to_owned()));
        let answer = example.ask(|verifier, request| verifier.unsigned_handshake(request, &[]));
        assert_eq!(answer.transpose(), Ok(expected), "{body}");
    };
    check("ssl_check=1&token=XXYYZZ", FORM, Some(Handshake::empty(200)));
    check("ssl_check=0&token=XXYYZZ", FORM, None);
    check("token=XXYYZZ", FORM, None);
    check(r#"{"text":"a&ssl_check=1&b"}"#, ("content-type", "application/json"), None);
}

#[test]
fn the_signature_has_a_version() {
    let mut example = examples().remove(0);
    let header = example.header_mut(SCHEME.signature);
    *header = header.replace("v0=", "v1=");
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::malformed(SCHEME.signature, "must begin with `v0=`"));
}

#[test]
fn tells_the_whole_text_that_was_to_be_signed() {
    let mut example = url_verification();
    example.body = b"{}".to_vec();
    let rejection = example.verify_with(&[SECRET], example.now_secs + 9).unwrap_err();
    assert_eq!(rejection.signed_text.as_deref(), Some(&b"v0:1700000000:{}"[..]));
    assert_eq!(rejection.timestamp_age_s, Some(9));
}

#[test]
fn an_event_without_an_inner_type_has_the_outer_one() {
    let body = br#"{"type":"app_rate_limited","team_id":"T0001"}"#;
    let example = Example::of(Provider::Slack, SECRET, body);
    let event_type = example.ask(|verifier, request| verifier.event_type(request));
    assert_eq!(event_type.as_deref(), Some("app_rate_limited"));
}
