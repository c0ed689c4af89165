//! Our own scheme, made for a receiver that is a one-liner.
//!
//! A signature is `sha256=` and the hex of HMAC-SHA256 over the body followed by the timestamp, keyed with the
//! bytes of the secret as it is written, prefix and all; several are separated by commas.

use aws_lc_rs::hmac;

use crate::SigningKey;
use crate::text::{DECIMAL_BYTES_MAX, decimal};
use crate::verify::{VerifyError, check_fresh, is_same};

/// Names the header with the time of the attempt in unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-harborhook-timestamp";
/// Names the header with the signatures.
pub const SIGNATURE_HEADER: &str = "x-harborhook-signature";

const PREFIX: &str = "sha256=";
/// The hex of 32 bytes.
const ENCODED_BYTES: usize = 64;

/// Holds the two headers of a request as they came.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// The value of [`TIMESTAMP_HEADER`].
    pub timestamp: &'a str,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: &'a str,
}

/// Makes the value of [`SIGNATURE_HEADER`]: one signature for each key, in their order.
pub fn sign(keys: &[SigningKey], timestamp_secs: i64, body: &[u8]) -> String {
    let mut buffer = [0; DECIMAL_BYTES_MAX];
    let timestamp = decimal(timestamp_secs, &mut buffer);
    let mut signatures = String::with_capacity(keys.len() * (PREFIX.len() + ENCODED_BYTES + ",".len()));
    for key in keys {
        if !signatures.is_empty() {
            signatures.push(',');
        }
        signatures.push_str(PREFIX);
        let encoded = encoded_tag(key, timestamp, body);
        signatures.push_str(str::from_utf8(&encoded).expect("hex is ASCII"));
    }
    signatures
}

/// Checks that one of the signatures was made by one of `keys` over this request, at about `now_secs`.
///
/// # Errors
/// Says what is wrong with the timestamp or the signatures.
pub fn verify(
    keys: &[SigningKey],
    headers: Headers<'_>,
    body: &[u8],
    now_secs: i64,
) -> Result<(), VerifyError> {
    let Headers { timestamp, signature } = headers;
    check_fresh(timestamp, now_secs)?;

    for key in keys {
        let expected = encoded_tag(key, timestamp.as_bytes(), body);
        let mut presented = signature.split(',').filter_map(|one| one.trim().strip_prefix(PREFIX));
        if presented.any(|encoded| is_same(encoded, &expected)) {
            return Ok(());
        }
    }
    Err(VerifyError::NoMatch)
}

fn encoded_tag(key: &SigningKey, timestamp: &[u8], body: &[u8]) -> [u8; ENCODED_BYTES] {
    let mut context = hmac::Context::with_key(&key.harborhook);
    context.update(body);
    context.update(timestamp);
    let mut encoded = [0; ENCODED_BYTES];
    hex::encode_to_slice(context.sign(), &mut encoded).expect("64 bytes hold the hex of 32");
    encoded
}

#[cfg(test)]
mod tests;
