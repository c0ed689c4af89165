//! Sentry signs the body with HMAC-SHA256 in hex, keyed with the client secret of the integration:
//! `Sentry-Hook-Signature`.
//!
//! `Sentry-Hook-Timestamp` is not signed, so it is not looked at: whoever repeats a request can renew it.
//! `Request-ID` is new each time that Sentry tries again, so a repetition is not known for one. A hash of the body
//! would know it, and would take an issue that is resolved twice for resolved once: rather twice than never.
//! Source: <https://docs.sentry.io/integrations/integration-platform/webhooks/>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "sentry-hook-signature";

pub(crate) struct Sentry;

impl Preset for Sentry {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("sentry-hook-resource")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("request-id")
    }
}

#[cfg(test)]
pub(crate) mod tests;
