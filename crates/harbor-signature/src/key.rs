//! A secret, parsed once, ready to sign many times.

use std::fmt;

use aws_lc_rs::hmac;

use crate::secret::{SecretError, standard_key};

/// Holds the keys that one secret gives to the two schemes.
///
/// The inner state of each HMAC is computed here once, so a signature costs one pass over the body.
/// AWS-LC wipes that state when the key is dropped.
#[derive(Clone)]
pub struct SigningKey {
    pub(crate) standard: hmac::Key,
    pub(crate) harborhook: hmac::Key,
}

impl SigningKey {
    /// Reads a secret: what begins with `whsec_` must go on in base64, anything else is its own bytes.
    ///
    /// Takes secrets of any length, so that one accepted under an older rule goes on signing;
    /// [`validate_secret`](crate::validate_secret) holds the rule for new ones.
    ///
    /// # Errors
    /// `NotBase64` or `Empty`.
    pub fn parse(secret: &str) -> Result<SigningKey, SecretError> {
        let standard = standard_key(secret)?;
        Ok(SigningKey {
            standard: hmac::Key::new(hmac::HMAC_SHA256, &standard),
            harborhook: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

#[cfg(test)]
mod tests;
