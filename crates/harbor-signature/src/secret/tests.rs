use super::*;

#[test]
fn a_chosen_secret_is_long_printable_and_decodable() {
    let check = |secret: &str, expected| assert_eq!(validate_secret(secret), expected, "{secret:?}");

    check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Ok(()));
    check("exactly-24-characters-ok", Ok(()));
    check("spaces and ümläute are fine", Ok(()));
    check(&"x".repeat(SECRET_CHARS_MAX), Ok(()));

    check("", Err(SecretError::TooShort { chars: 0 }));
    check("only-23-characters-long", Err(SecretError::TooShort { chars: 23 }));
    check(&"x".repeat(SECRET_CHARS_MAX + 1), Err(SecretError::TooLong { chars: SECRET_CHARS_MAX + 1 }));
    // Counted in characters: these 23 take 46 bytes.
    check(&"ü".repeat(23), Err(SecretError::TooShort { chars: 23 }));
    check("whsec_this is not base64 at all", Err(SecretError::NotBase64));
    check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", Err(SecretError::NotBase64));
    check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa__", Err(SecretError::NotBase64));
    check("a secret with a line end\n at 24", Err(SecretError::NotPrintable));
    check("a secret with a NUL \0 inside it", Err(SecretError::NotPrintable));
}

#[test]
fn a_generated_secret_holds_its_bytes_and_passes_the_rule() {
    let random = std::array::from_fn(|i| i as u8);
    let secret = generate_secret(&random);

    assert_eq!(secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_eq!(validate_secret(&secret), Ok(()));
    assert_eq!(standard_key(&secret).unwrap().as_slice(), random);
}
