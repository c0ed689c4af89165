//! Zoom signs `v0:timestamp:body` with HMAC-SHA256 in hex, keyed with the app's secret token:
//! `x-zm-signature: v0=…` beside `x-zm-request-timestamp`.
//!
//! In the handshake `endpoint.url_validation`, which is signed too and comes again every 72 hours, Zoom sends
//! a `plainToken` and wants its HMAC under the same secret.
//! Source: <https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events>

use serde_json::json;

use crate::source::compare::Hmac;
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::v0::V0;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const SCHEME: V0 = V0 { signature: "x-zm-signature", timestamp: "x-zm-request-timestamp" };

pub(crate) struct Zoom;

impl Preset for Zoom {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        SCHEME.verify(request, secrets, at)
    }

    fn signed_handshake(&self, request: &Request<'_>, secrets: &[&str]) -> Option<Handshake> {
        if json_text(request.body, &["event"])? != "endpoint.url_validation" {
            return None;
        }
        let token = json_text(request.body, &["payload", "plainToken"])?;
        // During a rotation, Zoom expects the secret that it signed with. And whoever has not signed gets
        // nothing: a token of their choice could be the text of a request that they want to forge.
        let secret = SCHEME.find_signer(request, secrets)?;
        let encrypted = Hmac::SHA256_HEX.sign(secret.as_bytes(), &[token.as_bytes()]);
        Some(Handshake::json(&json!({ "plainToken": token, "encryptedToken": encrypted })))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
