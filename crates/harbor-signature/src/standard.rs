//! The Standard Webhooks scheme, in its symmetric form `v1`.
//!
//! A signature is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; several are separated by spaces.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::SigningKey;
use crate::text::{DECIMAL_BYTES_MAX, decimal};
use crate::verify::{VerifyError, check_fresh, is_same};

/// Names the header with the id of the webhook, the same over all attempts.
pub const ID_HEADER: &str = "webhook-id";
/// Names the header with the time of the attempt in unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Names the header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const VERSION: &str = "v1";
/// The base64 of 32 bytes.
const ENCODED_BYTES: usize = 44;

/// Holds the three headers of a request as they came.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// The value of [`ID_HEADER`].
    pub webhook_id: &'a str,
    /// The value of [`TIMESTAMP_HEADER`].
    pub timestamp: &'a str,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: &'a str,
}

/// Makes the value of [`SIGNATURE_HEADER`]: one signature for each key, in their order.
///
/// # Panics
/// If `webhook_id` is empty or contains a full stop: the signed text could then be split in two ways.
pub fn sign(keys: &[SigningKey], webhook_id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    assert!(is_well_formed(webhook_id), "webhook id is empty or contains a full stop: {webhook_id}");

    let mut buffer = [0; DECIMAL_BYTES_MAX];
    let timestamp = decimal(timestamp_secs, &mut buffer);
    let mut signatures =
        String::with_capacity(keys.len() * (VERSION.len() + ",".len() + ENCODED_BYTES + " ".len()));
    for key in keys {
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        signatures.push_str(VERSION);
        signatures.push(',');
        BASE64_STANDARD.encode_string(tag(key, webhook_id, timestamp, body), &mut signatures);
    }
    signatures
}

/// Checks that one of the signatures was made by one of `keys` over this request, at about `now_secs`.
///
/// Signatures of other versions are passed over, so a sender may add them.
///
/// # Errors
/// Says what is wrong with the id, the timestamp or the signatures.
pub fn verify(
    keys: &[SigningKey],
    headers: Headers<'_>,
    body: &[u8],
    now_secs: i64,
) -> Result<(), VerifyError> {
    let Headers { webhook_id, timestamp, signature } = headers;
    if !is_well_formed(webhook_id) {
        return Err(VerifyError::MalformedId);
    }
    check_fresh(timestamp, now_secs)?;

    for key in keys {
        let mut expected = [0; ENCODED_BYTES];
        BASE64_STANDARD
            .encode_slice(tag(key, webhook_id, timestamp.as_bytes(), body), &mut expected)
            .expect("44 bytes hold the base64 of 32");
        let mut presented = signature.split(' ').filter_map(|versioned| versioned.split_once(','));
        if presented.any(|(version, encoded)| version == VERSION && is_same(encoded, &expected)) {
            return Ok(());
        }
    }
    Err(VerifyError::NoMatch)
}

fn is_well_formed(webhook_id: &str) -> bool {
    !webhook_id.is_empty() && !webhook_id.contains('.')
}

/// Feeds the parts one after the other, so that nobody has to join them.
fn tag(key: &SigningKey, webhook_id: &str, timestamp: &[u8], body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&key.standard);
    context.update(webhook_id.as_bytes());
    context.update(b".");
    context.update(timestamp);
    context.update(b".");
    context.update(body);
    context.sign()
}

#[cfg(test)]
mod tests;
