//! Slack signs `v0:timestamp:body` with HMAC-SHA256 in hex, keyed with the app's signing secret:
//! `X-Slack-Signature: v0=…` beside `X-Slack-Request-Timestamp`.
//!
//! Events come as JSON; slash commands come as forms, and what people do with buttons and dialogs as forms
//! with JSON in their field `payload`. The handshake `url_verification` is signed like everything else.
//! Source: <https://docs.slack.dev/authentication/verifying-requests-from-slack>

use crate::source::fields::{form_value, json_text};
use crate::source::fresh::Moment;
use crate::source::preset::v0::V0;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const SCHEME: V0 = V0 { signature: "x-slack-signature", timestamp: "x-slack-request-timestamp" };

pub(crate) struct Slack;

impl Preset for Slack {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    /// Slack looks at the certificate of an address with a form of its own, which it does not sign.
    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        _secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        // Nothing but a form counts: in JSON, the same text could be part of what a person wrote.
        let is_form = request.is_form() && form_value(request.body, "ssl_check").as_deref() == Some("1");
        is_form.then(|| Ok(Handshake::empty(200)))
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        SCHEME.verify(request, secrets, at)
    }

    fn signed_handshake(&self, request: &Request<'_>, _secrets: &[&str]) -> Option<Handshake> {
        if json_text(request.body, &["type"])? != "url_verification" {
            return None;
        }
        let challenge = json_text(request.body, &["challenge"])?;
        Some(Handshake::text(challenge.as_bytes()))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        if let Some(outer) = json_text(request.body, &["type"]) {
            let inner = json_text(request.body, &["event", "type"]).filter(|_| outer == "event_callback");
            return Some(inner.unwrap_or(outer).into_owned());
        }
        if let Some(payload) = form_value(request.body, "payload") {
            return json_text(payload.as_bytes(), &["type"]).map(Into::into);
        }
        // Slash commands have no type; this is what Slack's Socket Mode calls them.
        form_value(request.body, "command").map(|_| "slash_commands".to_owned())
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event_id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
