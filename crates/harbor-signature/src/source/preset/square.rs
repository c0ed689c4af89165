//! Square signs the notification URL followed by the body with HMAC-SHA256 in base64, keyed with the
//! signature key of the webhook subscription: `x-square-hmacsha256-signature`.
//!
//! The URL is the one that stands in the subscription, to the letter. There is no timestamp, so a recorded
//! request stays valid. The older `x-square-signature` (SHA-1) is not looked at.
//! Source: <https://developer.squareup.com/docs/webhooks/step3validate>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-square-hmacsha256-signature";

pub(crate) struct Square;

impl Preset for Square {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        let signed: [&[u8]; 2] = [request.url.as_bytes(), request.body];
        Hmac::SHA256_BASE64.verify(as_keys(secrets), &signed, std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
