//! HubSpot signs `method`, URI, body and timestamp, one after the other, with HMAC-SHA256 in base64, keyed
//! with the client secret of the app: `X-HubSpot-Signature-v3`; `X-HubSpot-Request-Timestamp` is in
//! milliseconds.
//!
//! In the URI, twelve characters stand as themselves where the request has them escaped.
//! The older `X-HubSpot-Signature` is a bare SHA-256 over secret and body, without a time; it is not looked
//! at. Several events come in one JSON list, which is one event to us: its type is that of the first.
//! `eventId` is not unique, says HubSpot, so the whole list but for `attemptNumber`, which counts retries,
//! names it.
//! Source:
//! <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>

use std::borrow::Cow;

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::{json_digest_without, json_text};
use crate::source::fresh::{Moment, fresh_ms};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const SIGNATURE_HEADER: &str = "x-hubspot-signature-v3";
const TIMESTAMP_HEADER: &str = "x-hubspot-request-timestamp";

/// What HubSpot unescapes in a URI before it signs it; the rest stays escaped.
const UNESCAPED: [(&str, char); 12] = [
    ("3A", ':'),
    ("2F", '/'),
    ("3F", '?'),
    ("40", '@'),
    ("21", '!'),
    ("24", '$'),
    ("27", '\''),
    ("28", '('),
    ("29", ')'),
    ("2A", '*'),
    ("2C", ','),
    ("3B", ';'),
];

pub(crate) struct Hubspot;

impl Preset for Hubspot {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let signature = request.header(SIGNATURE_HEADER)?;
        let timestamp = request.header(TIMESTAMP_HEADER)?;
        let age_s = fresh_ms(TIMESTAMP_HEADER, timestamp, at)?;

        let (method, uri) = (request.method.as_str(), unescaped(request.url));
        let signed: [&[u8]; 4] = [method.as_bytes(), uri.as_bytes(), request.body, timestamp.as_bytes()];
        let verified = Hmac::SHA256_BASE64.verify(as_keys(secrets), &signed, std::iter::once(signature));
        verified.map_err(|rejection| rejection.aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["0", "subscriptionType"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_digest_without(request.body, "attemptNumber")
    }
}

/// The URI as HubSpot signs it. One pass, so that what comes out of it is not unescaped again.
fn unescaped(uri: &str) -> Cow<'_, str> {
    let mut pieces = uri.split('%');
    let first = pieces.next().unwrap_or_default();
    if first.len() == uri.len() {
        return Cow::Borrowed(uri);
    }
    let mut text = first.to_owned();
    for piece in pieces {
        let known = UNESCAPED.iter().find_map(|(escape, plain)| Some((plain, piece.strip_prefix(escape)?)));
        match known {
            Some((plain, rest)) => {
                text.push(*plain);
                text.push_str(rest);
            }
            None => {
                text.push('%');
                text.push_str(piece);
            }
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
pub(crate) mod tests;
