use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `stripe.WebhookSignature.generate_signature_header` of PyPI `stripe` 16.1.0.
pub(crate) fn examples() -> Vec<Example> {
    let body = br#"{"id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","object":"event","type":"payment_intent.succeeded"}"#;
    vec![Example {
        headers: vec![(
            HEADER,
            "t=1492774577,v1=ff4d1ffc51257db9c58dc45a2ed61cc67417ab19f7694355a01159409730bcf5".to_owned(),
        )],
        now_secs: 1_492_774_577,
        needs: &[HEADER],
        signs: &[HEADER],
        grows_stale: true,
        event_type: Some("payment_intent.succeeded"),
        event_id: Some("evt_1NG8Du2eZvKYlo2CUI79vXWy"),
        ..Example::of(Provider::Stripe, "whsec_test_secret_of_stripe", body)
    }]
}

#[test]
fn takes_any_v1_and_nothing_else() {
    let check = |change: fn(&str) -> String, passes: bool| {
        let mut example = examples().remove(0);
        let header = example.header_mut(HEADER);
        *header = change(header);
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    check(|header| format!("{header},v1={}", "0".repeat(64)), true);
    check(|header| header.replace("v1=", &format!("v1={},v1=", "0".repeat(64))), true);
    check(|header| format!("{header},v0=anything"), true);
    check(|header| header.replace("v1=", "v0="), false);
    check(|header| format!("{header},t=1492774577"), false);
    check(|header| header.replace("t=", "t=0"), false);
    check(|_| String::new(), false);
}

#[test]
fn tells_what_was_to_be_signed_and_how_old_it_is() {
    let mut example = examples().remove(0);
    example.body.push(b' ');
    let rejection = example.verify_with(&[example.secret], example.now_secs + 7).unwrap_err();
    assert_eq!(rejection.reason, Reason::SignatureMismatch);
    assert_eq!(rejection.timestamp_age_s, Some(7));
    let signed = rejection.signed_text.unwrap();
    assert!(signed.starts_with(b"1492774577.{\"id\":") && signed.ends_with(b"} "));
}
