//! GitHub signs the body with HMAC-SHA256 in hex: `X-Hub-Signature-256: sha256=…`.
//!
//! There is no timestamp, so a recorded request stays valid; `X-GitHub-Delivery`, which names the event, is not
//! signed. The older `X-Hub-Signature` (SHA-1) is not looked at.
//! Source: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-hub-signature-256";

pub(crate) struct Github;

impl Preset for Github {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.sha256_header(HEADER)?;
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-github-event")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-github-delivery")
    }
}

#[cfg(test)]
pub(crate) mod tests;
