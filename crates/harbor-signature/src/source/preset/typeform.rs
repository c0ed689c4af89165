//! Typeform signs the body with HMAC-SHA256 in base64: `Typeform-Signature: sha256=…`.
//!
//! There is no timestamp, so a recorded request stays valid; but `event_id`, which names the event, is part
//! of the signed body.
//! Source: <https://www.typeform.com/developers/webhooks/secure-your-webhooks/>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "typeform-signature";

pub(crate) struct Typeform;

impl Preset for Typeform {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.sha256_header(HEADER)?;
        Hmac::SHA256_BASE64.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
