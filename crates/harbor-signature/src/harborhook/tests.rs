use proptest::prelude::*;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PLAIN_SECRET: &str = "a plain secret of our own";
const SENT: i64 = 1_614_265_330;
const TIMESTAMP: &str = "1614265330";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
// Made by Python, with the secret in place of …:
// hmac.new(b"…", b'{"test": 2432232314}' + b"1614265330", "sha256").hexdigest()
const SIGNATURE: &str = "sha256=e4e93c9bc84fd4e11ad05daff08ad8183eecbd7033f4090e43f8c8c1dcd74060";
const PLAIN_SIGNATURE: &str = "sha256=37a369928dd4606a75310d8ca82f7d3b71ffe91070a704fb7d04610b94ef9d67";

fn keys<const N: usize>(secrets: [&str; N]) -> [SigningKey; N] {
    secrets.map(|secret| SigningKey::parse(secret).unwrap())
}

fn check(keys: &[SigningKey], signature: &str, expected: Result<(), VerifyError>) {
    let headers = Headers { timestamp: TIMESTAMP, signature };
    assert_eq!(verify(keys, headers, BODY, SENT), expected, "{signature:?}");
}

#[test]
fn signs_as_python_does() {
    assert_eq!(sign(&keys([SECRET]), SENT, BODY), SIGNATURE);
    assert_eq!(sign(&keys([PLAIN_SECRET]), SENT, BODY), PLAIN_SIGNATURE);
}

#[test]
fn a_rotated_secret_signs_first_and_the_old_one_after_it() {
    assert_eq!(sign(&keys([SECRET, PLAIN_SECRET]), SENT, BODY), format!("{SIGNATURE},{PLAIN_SIGNATURE}"));
}

#[test]
fn without_a_key_nothing_is_signed_and_nothing_matches() {
    assert_eq!(sign(&[], SENT, BODY), "");
    check(&[], SIGNATURE, Err(VerifyError::NoMatch));
}

#[test]
fn any_signature_of_any_key_will_do() {
    let only_new = keys([SECRET]);
    let both = keys([SECRET, PLAIN_SECRET]);

    check(&only_new, SIGNATURE, Ok(()));
    check(&both, PLAIN_SIGNATURE, Ok(()));
    check(&only_new, &format!("{PLAIN_SIGNATURE},{SIGNATURE}"), Ok(()));
    check(&only_new, &format!("{PLAIN_SIGNATURE}, {SIGNATURE}"), Ok(()));

    check(&only_new, PLAIN_SIGNATURE, Err(VerifyError::NoMatch));
}

#[test]
fn what_only_looks_like_a_signature_is_refused() {
    let keys = keys([SECRET]);
    let upper = SIGNATURE.to_uppercase();
    for signature in ["", ",", "sha256=", &SIGNATURE[..40], &SIGNATURE[7..], &upper] {
        check(&keys, signature, Err(VerifyError::NoMatch));
    }
}

#[test]
fn a_digit_cannot_move_from_the_body_to_the_timestamp() {
    let keys = keys([SECRET]);
    let signature = sign(&keys, SENT, b"100");
    let moved = Headers { timestamp: "01614265330", signature: &signature };
    assert_eq!(verify(&keys, moved, b"10", SENT), Err(VerifyError::MalformedTimestamp));

    let signature = sign(&keys, SENT, b"101");
    let moved = Headers { timestamp: "11614265330", signature: &signature };
    assert_eq!(
        verify(&keys, moved, b"10", SENT),
        Err(VerifyError::StaleTimestamp { age_s: -10_000_000_000 })
    );
}

#[test]
fn an_old_request_is_refused_though_its_signature_is_right() {
    let headers = Headers { timestamp: TIMESTAMP, signature: SIGNATURE };
    assert_eq!(
        verify(&keys([SECRET]), headers, BODY, SENT + 301),
        Err(VerifyError::StaleTimestamp { age_s: 301 })
    );
}

/// One byte of `text` replaced by another printable one.
fn tampered(text: &str, at: prop::sample::Index, by: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    bytes[at] = if bytes[at] == by { by ^ 1 } else { by };
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn what_is_signed_is_verified(secret in "[ -~]{24,64}", body: Vec<u8>, sent in 0..i64::MAX) {
        prop_assume!(!secret.starts_with("whsec_"));
        let keys = keys([&secret]);
        let signature = sign(&keys, sent, &body);
        let headers = Headers { timestamp: &sent.to_string(), signature: &signature };
        prop_assert_eq!(verify(&keys, headers, &body, sent), Ok(()));
    }

    #[test]
    fn a_flipped_byte_anywhere_is_refused(
        mut body in prop::collection::vec(any::<u8>(), 1..200),
        at: prop::sample::Index,
        by in b'!'..b'~',
        flip in 1..=255_u8,
    ) {
        let keys = keys([SECRET, PLAIN_SECRET]);
        // One signature only: with two, breaking one leaves the other.
        let signature = sign(&keys[..1], SENT, &body);
        let accepts = |timestamp: &str, signature: &str, body: &[u8]| {
            verify(&keys, Headers { timestamp, signature }, body, SENT).is_ok()
        };

        prop_assert!(accepts(TIMESTAMP, &signature, &body));
        prop_assert!(!accepts(&tampered(TIMESTAMP, at, by), &signature, &body));
        prop_assert!(!accepts(TIMESTAMP, &tampered(&signature, at, by), &body));
        let at = at.index(body.len());
        body[at] ^= flip;
        prop_assert!(!accepts(TIMESTAMP, &signature, &body));
    }
}
