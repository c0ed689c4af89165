//! Bitbucket, Cloud and Data Center, signs the body with HMAC-SHA256 in hex: `X-Hub-Signature: sha256=…`.
//!
//! There is no timestamp, so a recorded request stays valid. The headers that name the event are not signed:
//! `X-Request-UUID` of Cloud, which by the reports of receivers stays over its retries, and `X-Request-Id` of
//! Data Center.
//! Source: <https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-hub-signature";

pub(crate) struct Bitbucket;

impl Preset for Bitbucket {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.sha256_header(HEADER)?;
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-event-key")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-request-uuid").or_else(|| request.word("x-request-id"))
    }
}

#[cfg(test)]
pub(crate) mod tests;
