//! Standard Webhooks: HMAC-SHA256 in base64 over `id.timestamp.body`. `webhook-signature` holds one `v1,…`
//! for each secret during a rotation, separated by blanks, beside `webhook-id` and `webhook-timestamp`.
//!
//! Svix, from which the specification comes, calls the same headers `svix-…`; they count where none of the
//! others is there. A secret that begins with `whsec_` goes on with its key in base64, any other is the key
//! as it stands. Signatures of other versions, such as `v1a` with a public key, pass for nothing.
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::secret::PREFIX;
use crate::source::compare::Hmac;
use crate::source::fields::json_text;
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const STANDARD: Headers =
    Headers { id: "webhook-id", timestamp: "webhook-timestamp", signature: "webhook-signature" };
const SVIX: Headers = Headers { id: "svix-id", timestamp: "svix-timestamp", signature: "svix-signature" };

pub(crate) struct StandardWebhooks;

/// The names of the headers.
struct Headers {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

impl Headers {
    /// The names that a request uses: all of one kind, so that nothing is mixed of two.
    fn of(request: &Request<'_>) -> Self {
        if STANDARD.has_any(request) || !SVIX.has_any(request) { STANDARD } else { SVIX }
    }

    fn has_any(&self, request: &Request<'_>) -> bool {
        [self.id, self.timestamp, self.signature].iter().any(|name| request.headers.contains_key(*name))
    }
}

impl Preset for StandardWebhooks {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        match key(secret) {
            Some(key) if !key.is_empty() => Ok(()),
            Some(_) | None => Err("must go on in base64 after `whsec_`"),
        }
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let names = Headers::of(request);
        let id = request.header(names.id)?;
        if id.is_empty() || id.contains('.') {
            // The signed text could be split in two ways.
            return Err(Reason::malformed(names.id, "must be an id without a full stop").into());
        }
        let timestamp = request.header(names.timestamp)?;
        let signatures = request.header(names.signature)?;
        let age_s = fresh_secs(names.timestamp, timestamp, at)?;

        let keys: Vec<_> = secrets.iter().filter_map(|secret| key(secret)).collect();
        let signed: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body];
        let v1 = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let verified = Hmac::SHA256_BASE64.verify(keys.iter().map(|key| key.as_slice()), &signed, v1);
        verified.map_err(|rejection| rejection.aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(Headers::of(request).id)
    }
}

/// The key of a secret; none where `whsec_` is not followed by base64. Some providers leave out its padding.
fn key(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(encoded) => BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?,
        None => secret.as_bytes().to_vec(),
    };
    Some(Zeroizing::new(key))
}

#[cfg(test)]
pub(crate) mod tests;
