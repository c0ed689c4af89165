use super::*;

const SECRET: &str = "a secret of the receiver's own";
const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = b"{}";
const WRONG: Verdict = Verdict::Invalid(VerifyError::NoMatch);

fn keys() -> Vec<SigningKey> {
    vec![SigningKey::parse(SECRET).unwrap()]
}

/// The headers of both schemes, signed with `secret`.
fn signed(secret: &str) -> HeaderMap {
    let keys = [SigningKey::parse(secret).unwrap()];
    let mut headers = HeaderMap::new();
    headers.insert(standard::ID_HEADER, "evt_1".parse().unwrap());
    headers.insert(standard::TIMESTAMP_HEADER, NOW.into());
    headers.insert(standard::SIGNATURE_HEADER, standard::sign(&keys, "evt_1", NOW, BODY).parse().unwrap());
    headers.insert(harborhook::TIMESTAMP_HEADER, NOW.into());
    headers.insert(harborhook::SIGNATURE_HEADER, harborhook::sign(&keys, NOW, BODY).parse().unwrap());
    headers
}

#[test]
fn judges_each_scheme_by_its_own_headers() {
    let check = |absent: &[&str], secret, standard, harborhook| {
        let mut headers = signed(secret);
        for name in absent {
            headers.remove(*name);
        }
        let verdicts = Verdicts::of(&keys(), &headers, BODY, NOW);
        assert_eq!(verdicts, Verdicts { standard, harborhook }, "without {absent:?}");
    };
    check(&[], SECRET, Verdict::Valid, Verdict::Valid);
    check(&[standard::ID_HEADER], SECRET, Verdict::Missing, Verdict::Valid);
    check(&[standard::TIMESTAMP_HEADER], SECRET, Verdict::Missing, Verdict::Valid);
    check(&[standard::SIGNATURE_HEADER], SECRET, Verdict::Missing, Verdict::Valid);
    check(&[harborhook::TIMESTAMP_HEADER], SECRET, Verdict::Valid, Verdict::Missing);
    check(&[harborhook::SIGNATURE_HEADER], SECRET, Verdict::Valid, Verdict::Missing);
    check(&[], "another secret altogether", WRONG, WRONG);
}

#[test]
fn without_a_secret_nothing_is_checked() {
    let verdicts = Verdicts::of(&[], &HeaderMap::new(), BODY, NOW);
    assert_eq!(verdicts, Verdicts { standard: Verdict::Unchecked, harborhook: Verdict::Unchecked });
    assert!(verdicts.accept());
}

#[test]
fn one_valid_signature_is_enough_and_a_wrong_one_is_too_much() {
    let check = |standard, harborhook, expected| {
        assert_eq!(Verdicts { standard, harborhook }.accept(), expected, "{standard} and {harborhook}");
        assert_eq!(
            Verdicts { standard: harborhook, harborhook: standard }.accept(),
            expected,
            "{harborhook} and {standard}"
        );
    };
    check(Verdict::Valid, Verdict::Valid, true);
    check(Verdict::Valid, Verdict::Missing, true);
    check(Verdict::Valid, WRONG, false);
    check(Verdict::Missing, Verdict::Missing, false);
    check(Verdict::Missing, WRONG, false);
    check(WRONG, WRONG, false);
}
