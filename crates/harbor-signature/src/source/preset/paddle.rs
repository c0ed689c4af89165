//! Paddle Billing signs `timestamp:body` with HMAC-SHA256 in hex, keyed with the secret key of the
//! notification destination: `Paddle-Signature: ts=1671552777;h1=…`.
//!
//! There are several `h1` while a secret is being replaced.
//! Source: <https://developer.paddle.com/webhooks/signature-verification>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "paddle-signature";

pub(crate) struct Paddle;

impl Preset for Paddle {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let fields = request.header(HEADER)?.split(';').filter_map(|field| field.split_once('='));
        let values = |wanted| fields.clone().filter(move |(name, _)| *name == wanted).map(|(_, value)| value);
        let mut timestamps = values("ts");
        let (Some(timestamp), None) = (timestamps.next(), timestamps.next()) else {
            return Err(Reason::malformed(HEADER, "must hold exactly one `ts=`").into());
        };
        let age_s = fresh_secs(HEADER, timestamp, at)?;

        let signed: [&[u8]; 3] = [timestamp.as_bytes(), b":", request.body];
        let verified = Hmac::SHA256_HEX.verify(as_keys(secrets), &signed, values("h1"));
        verified.map_err(|rejection| rejection.aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_type"]).map(Into::into)
    }

    /// Not `notification_id`: a replay from Paddle's dashboard is a new notification of the same event.
    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
