use super::*;

#[test]
fn a_secret_without_the_prefix_is_the_key_of_both_schemes() {
    let key = SigningKey::parse("a plain secret of our own").unwrap();
    assert_eq!(hmac::sign(&key.standard, b"x").as_ref(), hmac::sign(&key.harborhook, b"x").as_ref());
}

#[test]
fn a_secret_with_the_prefix_gives_each_scheme_its_own_key() {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    assert_ne!(hmac::sign(&key.standard, b"x").as_ref(), hmac::sign(&key.harborhook, b"x").as_ref());
}

#[test]
fn an_unusable_secret_is_refused() {
    let check = |secret, expected| assert_eq!(SigningKey::parse(secret).err(), Some(expected), "{secret:?}");
    check("", SecretError::Empty);
    check("whsec_", SecretError::Empty);
    check("whsec_!", SecretError::NotBase64);
}

#[test]
fn debug_and_errors_print_no_secret() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(format!("{:?}", SigningKey::parse(secret).unwrap()), "SigningKey(..)");

    let error = SigningKey::parse("whsec_hunter2!").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
