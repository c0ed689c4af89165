//! Comparisons in a time that does not tell how much of a signature is right.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harbor_model::source::{Algorithm, Encoding};

use crate::source::rejection::{Reason, Rejection, SIGNED_TEXT_KEPT_MAX};

/// What AWS-LC calls HMAC with this hash.
fn hmac_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha384 => hmac::HMAC_SHA384,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => BASE64_STANDARD.encode(bytes),
    }
}

/// An HMAC as one provider makes and writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hmac {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: Encoding,
}

impl Hmac {
    /// HMAC-SHA256 in hex, the most common.
    pub(crate) const SHA256_HEX: Self = Self { algorithm: Algorithm::Sha256, encoding: Encoding::Hex };
    /// HMAC-SHA256 in base64.
    pub(crate) const SHA256_BASE64: Self = Self { algorithm: Algorithm::Sha256, encoding: Encoding::Base64 };

    /// Makes the encoded signature of `parts`, one after the other, under `key`.
    pub(crate) fn sign(self, key: &[u8], parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac_of(self.algorithm), key));
        for part in parts {
            context.update(part);
        }
        encode(self.encoding, context.sign().as_ref())
    }

    /// Checks that one of the `presented` signatures was made over `parts` under one of `keys`.
    /// The text must be the same to the letter: there is one way to write each signature.
    ///
    /// # Errors
    /// `signature_mismatch`, with the text that was to be signed.
    pub(crate) fn verify<'k, 'p>(
        self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        parts: &[&[u8]],
        presented: impl Iterator<Item = &'p str> + Clone,
    ) -> Result<(), Rejection> {
        for key in keys {
            let expected = self.sign(key, parts);
            if presented.clone().any(|presented| is_same(presented, &expected)) {
                return Ok(());
            }
        }
        Err(mismatch(parts))
    }
}

/// `signature_mismatch`, with the text that was to be signed.
pub(crate) fn mismatch(parts: &[&[u8]]) -> Rejection {
    Rejection { signed_text: Some(beginning(parts)), ..Reason::SignatureMismatch.into() }
}

/// The first [`SIGNED_TEXT_KEPT_MAX`] bytes of `parts`, one after the other; a character that would be cut is left out,
/// so that a text stays one.
fn beginning(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in parts {
        let room = SIGNED_TEXT_KEPT_MAX - text.len();
        text.extend_from_slice(&part[..part.len().min(room)]);
    }
    let is_cut = parts.iter().map(|part| part.len()).sum::<usize>() > text.len();
    if let Err(error) = str::from_utf8(&text)
        && is_cut
        && error.error_len().is_none()
    {
        text.truncate(error.valid_up_to());
    }
    text
}

/// Whether two texts are the same, in a time that does not tell how much of them is.
pub(crate) fn is_same(presented: &str, expected: &str) -> bool {
    verify_slices_are_equal(presented.as_bytes(), expected.as_bytes()).is_ok()
}

/// The bytes of each secret, as most schemes use them for keys.
pub(crate) fn as_keys<'a>(secrets: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> + Clone {
    secrets.iter().map(|secret| secret.as_bytes())
}

/// Checks a credential that is sent in the clear against each secret.
///
/// # Errors
/// `credential_mismatch`.
pub(crate) fn check_credential(presented: &str, secrets: &[&str]) -> Result<(), Rejection> {
    // Every secret is looked at, so that the time does not tell which one it was.
    let matched = secrets.iter().fold(false, |matched, secret| matched | is_same(presented, secret));
    if matched { Ok(()) } else { Err(Reason::CredentialMismatch.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let check = |parts: &[&[u8]], kept: usize| assert_eq!(beginning(parts).len(), kept);
        let long = vec![b'x'; SIGNED_TEXT_KEPT_MAX - 1];
        check(&[b"a.", b"b"], 3);
        check(&[&long, b"yz"], SIGNED_TEXT_KEPT_MAX);
        check(&[&long, "é".as_bytes()], SIGNED_TEXT_KEPT_MAX - 1);
        check(&[&long, b"\xff\xff"], SIGNED_TEXT_KEPT_MAX);
        check(&[b"whole, though it is no text \xc3"], 29);
    }
}
