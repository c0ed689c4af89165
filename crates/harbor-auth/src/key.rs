//! API keys: what they look like, and the only form in which they are kept.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harbor_model::api_key::{API_KEY_PREFIX, ApiKeyHash};
use harbor_model::chance::Rng;
use harbor_model::secret::Secret;

/// The fewest characters after `hhk_` in an operator key that somebody chose.
pub const OPERATOR_KEY_CHARS_MIN: usize = 32;

/// The most characters of any key; a longer text is none, and is not hashed.
pub const KEY_CHARS_MAX: usize = 256;

/// Says why a text cannot be an operator key; never holds any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operator key must be `hhk_` followed by {OPERATOR_KEY_CHARS_MIN} to {} visible ASCII characters",
    KEY_CHARS_MAX - API_KEY_PREFIX.len()
)]
pub struct OperatorKeyError;

/// Makes a key: `hhk_` and 32 random bytes in base64url.
pub fn generate_key(rng: &dyn Rng) -> Secret {
    let mut random = [0; 32];
    rng.fill_secret(&mut random);
    let mut text = String::with_capacity(API_KEY_PREFIX.len() + 43);
    text.push_str(API_KEY_PREFIX);
    BASE64_URL_SAFE_NO_PAD.encode_string(random, &mut text);
    Secret::new(text)
}

/// Checks an operator key that somebody chose.
///
/// # Errors
/// It does not begin with `hhk_`, or is too short, too long or not visible ASCII.
pub fn validate_operator_key(key: &Secret) -> Result<(), OperatorKeyError> {
    let rest = key.expose().strip_prefix(API_KEY_PREFIX).ok_or(OperatorKeyError)?;
    let fits = rest.len() >= OPERATOR_KEY_CHARS_MIN && key.expose().len() <= KEY_CHARS_MAX;
    if fits && rest.bytes().all(|b| b.is_ascii_graphic()) { Ok(()) } else { Err(OperatorKeyError) }
}

/// Hashes keys: HMAC-SHA-256 under a pepper that is not kept beside them.
///
/// A slow hash would add nothing: keys are 256 random bits, not passwords.
#[derive(Clone)]
pub struct KeyHasher(hmac::Key);

impl KeyHasher {
    /// A hasher with this pepper.
    pub fn new(pepper: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, pepper))
    }

    /// The hash of a key.
    pub fn hash(&self, key: &str) -> ApiKeyHash {
        let tag = hmac::sign(&self.0, key.as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// Compares hashes in a time that does not tell where they differ.
pub(crate) fn is_same(a: &ApiKeyHash, b: &ApiKeyHash) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use harbor_model::chance::SeededRng;

    use super::*;

    #[test]
    fn a_made_key_has_its_shape_and_could_be_an_operators() {
        let rng = SeededRng::new(1);
        let (a, b) = (generate_key(&rng), generate_key(&rng));
        assert_ne!(a, b);
        assert_eq!(a.expose().len(), 47);
        assert_eq!(validate_operator_key(&a), Ok(()));
    }

    #[test]
    fn an_operator_key_is_long_enough_and_visible() {
        let check = |text: &str, fits| {
            assert_eq!(validate_operator_key(&Secret::new(text.to_owned())).is_ok(), fits, "{text}");
        };
        check(&format!("hhk_{}", "x".repeat(32)), true);
        check(&format!("hhk_{}", "x".repeat(31)), false);
        check(&format!("hhk_{}", "x".repeat(252)), true);
        check(&format!("hhk_{}", "x".repeat(253)), false);
        check(&format!("key_{}", "x".repeat(32)), false);
        check(&format!("hhk_{} ", "x".repeat(32)), false);
        check("", false);
    }

    #[test]
    fn the_hash_depends_on_key_and_pepper() {
        let hasher = KeyHasher::new(&[1; 32]);
        assert_eq!(hasher.hash("hhk_a"), hasher.hash("hhk_a"));
        assert_ne!(hasher.hash("hhk_a"), hasher.hash("hhk_b"));
        assert_ne!(hasher.hash("hhk_a"), KeyHasher::new(&[2; 32]).hash("hhk_a"));
        assert!(is_same(&hasher.hash("hhk_a"), &hasher.hash("hhk_a")));
        assert!(!is_same(&hasher.hash("hhk_a"), &hasher.hash("hhk_b")));
    }
}
