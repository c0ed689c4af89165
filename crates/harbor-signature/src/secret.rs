//! Secrets as text: what a person may choose, and how we make one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// Begins a secret whose key is written in base64, as Standard Webhooks has it.
pub(crate) const PREFIX: &str = "whsec_";

/// This many characters is the shortest secret that an endpoint may be given.
pub const SECRET_CHARS_MIN: usize = 24;

/// This many characters is the longest secret that an endpoint may be given.
pub const SECRET_CHARS_MAX: usize = 1024;

/// Says why a secret cannot be used; never holds any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The secret, or the part after `whsec_`, is empty.
    #[error("secret is empty")]
    Empty,
    /// The secret is easy to guess.
    #[error("secret has {chars} characters, it needs at least {SECRET_CHARS_MIN}")]
    TooShort {
        /// How many characters it has.
        chars: usize,
    },
    /// The secret is longer than anything that makes it safer.
    #[error("secret has {chars} characters, the limit is {SECRET_CHARS_MAX}")]
    TooLong {
        /// How many characters it has.
        chars: usize,
    },
    /// The secret begins with `whsec_` and does not go on in padded standard base64.
    #[error("secret begins with whsec_ and does not go on in valid base64")]
    NotBase64,
    /// The secret has a character that cannot be seen or pasted.
    #[error("secret has a control character")]
    NotPrintable,
}

/// Checks a secret that somebody chose for a new endpoint or a rotation.
///
/// # Errors
/// Says what is wrong with it: its length, its base64, or a control character.
pub fn validate_secret(secret: &str) -> Result<(), SecretError> {
    let chars = secret.chars().count();
    if chars < SECRET_CHARS_MIN {
        return Err(SecretError::TooShort { chars });
    }
    if chars > SECRET_CHARS_MAX {
        return Err(SecretError::TooLong { chars });
    }
    if secret.chars().any(char::is_control) {
        return Err(SecretError::NotPrintable);
    }
    standard_key(secret).map(drop)
}

/// Writes 32 random bytes as a secret: `whsec_` and their base64.
pub fn generate_secret(random: &[u8; 32]) -> String {
    let mut secret = String::with_capacity(PREFIX.len() + 44);
    secret.push_str(PREFIX);
    BASE64_STANDARD.encode_string(random, &mut secret);
    secret
}

/// The key that Standard Webhooks derives from a secret.
pub(crate) fn standard_key(secret: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?,
        None => secret.as_bytes().to_vec(),
    };
    let key = Zeroizing::new(key);
    if key.is_empty() {
        return Err(SecretError::Empty);
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
