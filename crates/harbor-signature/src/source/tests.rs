//! What holds for every preset: its examples pass, and nothing that differs in what it signs does.

use std::collections::BTreeSet;

use harbor_model::source::Provider;
use proptest::prelude::*;

use crate::source::example::{Example, examples};
use crate::source::preset::SecretUse;
use crate::source::rejection::Reason;

#[test]
fn every_provider_that_signs_has_an_example() {
    let shown: BTreeSet<_> = examples().iter().map(|example| example.provider).collect();
    let missing: Vec<_> = Provider::ALL.iter().filter(|known| !shown.contains(known)).collect();
    assert_eq!(missing, [&Provider::None]);
}

#[test]
fn every_name_is_known_by_itself() {
    for provider in Provider::ALL {
        assert_eq!(Provider::from_name(provider.as_str()), Some(*provider));
    }
    assert_eq!(Provider::from_name("Stripe"), None);
}

#[test]
fn every_example_passes_and_names_its_event() {
    for example in examples() {
        assert_eq!(example.verify(), Ok(()), "{example:?}");
        let (event_type, event_id) =
            example.ask(|verifier, request| (verifier.event_type(request), verifier.event_id(request)));
        assert_eq!(event_type.as_deref(), example.event_type, "{example:?}");
        assert_eq!(event_id.as_deref(), example.event_id, "{example:?}");
        assert!(example.verifier().preset.has_timestamp() || !example.grows_stale, "{example:?}");
        assert_eq!(example.verifier().check_secret(example.secret), Ok(()), "{example:?}");
        assert_eq!(example.verifier().check_secret(example.other_secret), Ok(()), "{example:?}");
    }
}

#[test]
fn any_of_several_secrets_passes_and_another_does_not() {
    for example in examples() {
        if example.verifier().secret_use() == SecretUse::None {
            continue;
        }
        let Example { secret, other_secret, now_secs, .. } = example;
        assert_eq!(example.verify_with(&[other_secret, secret], now_secs), Ok(()), "{example:?}");
        assert_eq!(example.verify_with(&[secret, other_secret], now_secs), Ok(()), "{example:?}");
        let rejection = example.verify_with(&[other_secret], now_secs).unwrap_err();
        assert!(
            matches!(rejection.reason, Reason::SignatureMismatch | Reason::CredentialMismatch),
            "{example:?}: {rejection}"
        );
        assert!(example.verify_with(&[], now_secs).is_err(), "no secret, no entry: {example:?}");
    }
}

#[test]
fn what_is_needed_must_be_there_once() {
    for example in examples() {
        for name in example.needs {
            let rejection = example.without(name).verify().unwrap_err();
            assert_eq!(rejection.reason, Reason::MissingHeader { name: (*name).to_owned() }, "{example:?}");

            let mut doubled = example.clone();
            let value = doubled.header_mut(name).clone();
            doubled.headers.push((name, value));
            let rejection = doubled.verify().unwrap_err();
            assert_eq!(rejection.reason, Reason::DuplicateHeader { name: (*name).to_owned() }, "{example:?}");
        }
    }
}

#[test]
fn what_has_a_time_grows_stale() {
    for example in examples().into_iter().filter(|example| example.grows_stale) {
        let now_secs = example.now_secs;
        for shift in [-360, 360] {
            let rejection = example.verify_with(&[example.secret], now_secs + shift).unwrap_err();
            let age_s = rejection.timestamp_age_s.expect("the age is told");
            assert!((age_s - shift).abs() <= 1, "{age_s} for {shift}: {example:?}");
            assert!(matches!(rejection.reason, Reason::StaleTimestamp { .. }), "{example:?}: {rejection}");
        }
        for shift in [-290, 290] {
            assert_eq!(example.verify_with(&[example.secret], now_secs + shift), Ok(()), "{example:?}");
        }
    }
}

/// Any example of those that are `wanted`, and what chooses a change of it.
fn chosen(wanted: fn(&Example) -> bool) -> impl Strategy<Value = (Example, prop::sample::Index, u8)> {
    let examples: Vec<_> = examples().into_iter().filter(wanted).collect();
    (prop::sample::select(examples), any::<prop::sample::Index>(), 1..=255_u8)
}

fn signs_a_body(example: &Example) -> bool {
    example.signs_body && !example.body.is_empty()
}

/// Refused, and the refusal does not help to make one that passes.
fn check_refused(changed: &Example) -> Result<(), TestCaseError> {
    let Err(rejection) = changed.verify() else {
        return Err(TestCaseError::fail(format!("passes: {changed:?}")));
    };
    let signed = rejection.signed_text.clone().unwrap_or_default();
    let told = format!("{rejection} {}", String::from_utf8_lossy(&signed));
    prop_assert!(!told.contains(changed.secret), "tells the secret: {told}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_changed_byte_of_a_signed_body_is_refused((mut example, at, mask) in chosen(signs_a_body)) {
        let at = at.index(example.body.len());
        example.body[at] ^= mask;
        check_refused(&example)?;
    }

    #[test]
    fn a_byte_more_or_less_of_a_signed_body_is_refused((mut example, at, byte) in chosen(signs_a_body)) {
        let mut longer = example.clone();
        longer.body.push(byte);
        check_refused(&longer)?;
        example.body.remove(at.index(example.body.len()));
        check_refused(&example)?;
    }

    #[test]
    fn a_changed_byte_of_a_signed_header_is_refused(
        (mut example, at, mask) in chosen(|example| !example.signs.is_empty()),
    ) {
        let name = example.signs[at.index(example.signs.len())];
        let value = example.header_mut(name);
        let at = at.index(value.len());
        let changed = b' ' + (value.as_bytes()[at] - b' ' + mask % 94 + 1) % 95;
        prop_assume!(changed != value.as_bytes()[at]);
        value.replace_range(at..=at, str::from_utf8(&[changed]).unwrap());
        // Blanks around a header's value are no part of it.
        let trimmed = value.trim().to_owned();
        *value = trimmed;
        check_refused(&example)?;
    }

    #[test]
    fn a_changed_byte_of_a_signed_url_is_refused(
        (mut example, at, mask) in chosen(|example| example.signs_url),
    ) {
        let at = at.index(example.url.len());
        let changed = b'!' + (example.url.as_bytes()[at] - b'!' + mask % 93 + 1) % 94;
        prop_assume!(changed != example.url.as_bytes()[at]);
        example.url.replace_range(at..=at, str::from_utf8(&[changed]).unwrap());
        check_refused(&example)?;
    }

    #[test]
    fn nothing_that_is_sent_makes_a_preset_panic(
        (mut example, at, _) in chosen(|_| true),
        value in "[ -~]{0,80}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        query in "[!-~]{0,60}",
    ) {
        if let Some(name) = (!example.needs.is_empty()).then(|| example.needs[at.index(example.needs.len())]) {
            *example.header_mut(name) = value.trim().to_owned();
        }
        example.body = body;
        example.url = format!("{}?{query}", example.url);
        let secrets = example.secrets();
        example.ask(|verifier, request| {
            let _ = verifier.unsigned_handshake(request, &secrets);
            let _ = verifier.verify(request, &secrets, example.now_secs);
            let _ = verifier.event_type(request);
            let _ = verifier.event_id(request);
            let _ = verifier.signed_handshake(request, &secrets);
        });
    }
}
