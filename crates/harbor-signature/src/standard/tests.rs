use proptest::prelude::*;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "a secret of the time before";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: i64 = 1_614_265_330;
const TIMESTAMP: &str = "1614265330";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
/// The vector that the libraries of the Standard Webhooks project test themselves with.
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn keys<const N: usize>(secrets: [&str; N]) -> [SigningKey; N] {
    secrets.map(|secret| SigningKey::parse(secret).unwrap())
}

fn check(keys: &[SigningKey], signature: &str, expected: Result<(), VerifyError>) {
    let headers = Headers { webhook_id: ID, timestamp: TIMESTAMP, signature };
    assert_eq!(verify(keys, headers, BODY, SENT), expected, "{signature:?}");
}

#[test]
fn signs_the_vector_of_the_specification() {
    assert_eq!(sign(&keys([SECRET]), ID, SENT, BODY), SIGNATURE);
}

#[test]
fn a_rotated_secret_signs_first_and_the_old_one_after_it() {
    let both = sign(&keys([SECRET, OLD_SECRET]), ID, SENT, BODY);
    let old = sign(&keys([OLD_SECRET]), ID, SENT, BODY);
    assert_eq!(both, format!("{SIGNATURE} {old}"));
}

#[test]
fn without_a_key_nothing_is_signed_and_nothing_matches() {
    assert_eq!(sign(&[], ID, SENT, BODY), "");
    check(&[], SIGNATURE, Err(VerifyError::NoMatch));
}

#[test]
fn any_signature_of_any_key_will_do() {
    let old = sign(&keys([OLD_SECRET]), ID, SENT, BODY);
    let only_new = keys([SECRET]);
    let both = keys([SECRET, OLD_SECRET]);

    check(&only_new, SIGNATURE, Ok(()));
    check(&both, SIGNATURE, Ok(()));
    check(&both, &old, Ok(()));
    check(&only_new, &format!("{old} {SIGNATURE}"), Ok(()));
    check(&only_new, &format!("v1a,c2lnbmF0dXJl v2,x {SIGNATURE}"), Ok(()));
    check(&only_new, &format!("  {SIGNATURE}  "), Ok(()));

    check(&only_new, &old, Err(VerifyError::NoMatch));
}

#[test]
fn what_only_looks_like_a_signature_is_refused() {
    let keys = keys([SECRET]);
    let other_version = SIGNATURE.replace("v1", "v1a");
    for signature in ["", "v1", "v1,", "v1,=", &SIGNATURE[..20], &SIGNATURE[3..], &other_version] {
        check(&keys, signature, Err(VerifyError::NoMatch));
    }
}

#[test]
fn an_id_that_could_hide_a_timestamp_is_refused() {
    let keys = keys([SECRET]);
    // Both read `msg.1614265330.1614265330.x` when joined.
    let signature = sign(&keys, "msg", SENT, b"1614265330.x");
    let shifted = Headers { webhook_id: "msg.1614265330", timestamp: TIMESTAMP, signature: &signature };
    assert_eq!(verify(&keys, shifted, b"x", SENT), Err(VerifyError::MalformedId));

    let empty = Headers { webhook_id: "", ..shifted };
    assert_eq!(verify(&keys, empty, b"x", SENT), Err(VerifyError::MalformedId));
}

#[test]
#[should_panic(expected = "contains a full stop")]
fn an_id_that_could_hide_a_timestamp_is_not_signed() {
    sign(&keys([SECRET]), "msg.1", SENT, BODY);
}

#[test]
fn an_old_request_is_refused_though_its_signature_is_right() {
    let headers = Headers { webhook_id: ID, timestamp: TIMESTAMP, signature: SIGNATURE };
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
    fn what_is_signed_is_verified(secret in "[ -~]{24,64}", id in "[A-Za-z0-9_-]{1,40}", body: Vec<u8>, sent in 0..i64::MAX) {
        prop_assume!(!secret.starts_with("whsec_"));
        let keys = keys([&secret]);
        let signature = sign(&keys, &id, sent, &body);
        let headers = Headers { webhook_id: &id, timestamp: &sent.to_string(), signature: &signature };
        prop_assert_eq!(verify(&keys, headers, &body, sent), Ok(()));
    }

    #[test]
    fn a_flipped_byte_anywhere_is_refused(
        mut body in prop::collection::vec(any::<u8>(), 1..200),
        at: prop::sample::Index,
        by in b'!'..b'~',
        flip in 1..=255_u8,
    ) {
        let keys = keys([SECRET, OLD_SECRET]);
        // One signature only: with two, breaking one leaves the other.
        let signature = sign(&keys[..1], ID, SENT, &body);
        let accepts = |webhook_id: &str, timestamp: &str, signature: &str, body: &[u8]| {
            verify(&keys, Headers { webhook_id, timestamp, signature }, body, SENT).is_ok()
        };

        prop_assert!(accepts(ID, TIMESTAMP, &signature, &body));
        prop_assert!(!accepts(&tampered(ID, at, by), TIMESTAMP, &signature, &body));
        prop_assert!(!accepts(ID, &tampered(TIMESTAMP, at, by), &signature, &body));
        prop_assert!(!accepts(ID, TIMESTAMP, &tampered(&signature, at, by), &body));
        let at = at.index(body.len());
        body[at] ^= flip;
        prop_assert!(!accepts(ID, TIMESTAMP, &signature, &body));
    }
}
