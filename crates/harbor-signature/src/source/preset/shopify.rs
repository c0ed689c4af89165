//! Shopify signs the body with HMAC-SHA256 in base64: `X-Shopify-Hmac-Sha256`.
//!
//! The key is the client secret of the app, or for webhooks of a shop's own settings the key that is shown
//! there. `X-Shopify-Webhook-Id` names the delivery and stays the same over its retries; `X-Shopify-Event-Id`
//! does not serve, since webhooks of several topics can share it. Neither is signed, and there is no
//! timestamp that is.
//! Source: <https://shopify.dev/docs/apps/build/webhooks/verify-deliveries>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-shopify-hmac-sha256";

pub(crate) struct Shopify;

impl Preset for Shopify {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        Hmac::SHA256_BASE64.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-shopify-topic")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-shopify-webhook-id")
    }
}

#[cfg(test)]
pub(crate) mod tests;
