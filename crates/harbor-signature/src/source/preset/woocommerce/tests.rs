use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `hmac` of Python's standard library as `WC_Webhook::generate_signature` does: no published
/// example with its secret was found, and there is no library for it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"id":727,"number":"727","status":"processing","currency":"USD","#,
        r#""date_created":"2026-03-22T16:28:02","total":"29.35"}"#,
    )
    .as_bytes();
    vec![Example {
        headers: vec![
            (HEADER, "32EaetibGaNmlLFSKYG3pqd98aeUHAfjXvwcO/Cr0KI=".to_owned()),
            ("x-wc-webhook-topic", "order.created".to_owned()),
            ("x-wc-webhook-delivery-id", "36e520ebabc2fa725092ff4a47acedf2".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("order.created"),
        event_id: Some(concat!(
            "36e520ebabc2fa725092ff4a47acedf2-",
            "acaffdcc23a4f6e369a6f7142c7b449a1a1f767a7b53de34e1b84b2c2ec9e7fd",
        )),
        ..Example::of(Provider::Woocommerce, "shop's own webhook secret", body)
    }]
}

#[test]
fn the_ping_is_answered_and_nothing_else_unsigned() {
    let check = |body: &[u8], is_answered: bool| {
        let example = Example { body: body.to_vec(), ..examples().remove(0).without(HEADER) };
        let answer = example.ask(|verifier, request| verifier.unsigned_handshake(request, &[]));
        assert_eq!(answer, is_answered.then(|| Ok(Handshake::empty(200))), "{}", body.escape_ascii());
        assert!(example.verify().is_err(), "no ping is an event");
    };
    check(b"webhook_id=123", true);
    check(b"webhook_id=", false);
    check(b"webhook_id=1&x=2", false);
    check(b"webhook_id=12a", false);
    check(b"webhook_id=123456789012345678901", false);
    check(b" webhook_id=1", false);
    check(b"{}", false);
    check(b"", false);
}

#[test]
fn what_is_signed_is_no_ping() {
    let example = Example { body: b"webhook_id=123".to_vec(), ..examples().remove(0) };
    assert_eq!(example.ask(|verifier, request| verifier.unsigned_handshake(request, &[])), None);
}
