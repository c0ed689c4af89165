//! Discord signs `timestamp` followed by the body with ed25519: `X-Signature-Ed25519` in hex beside
//! `X-Signature-Timestamp`. The secret of the source is the application's public key, which is not secret.
//!
//! Webhook events and interactions are signed alike, and both begin with a handshake that is called PING,
//! each with its own answer. Discord also sends requests with wrong signatures, to see them refused with 401.
//! Sources: <https://docs.discord.com/developers/events/webhook-events> and
//! <https://docs.discord.com/developers/interactions/overview>

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;

use crate::source::compare::mismatch;
use crate::source::fields::json_text;
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const SIGNATURE: &str = "x-signature-ed25519";
const TIMESTAMP: &str = "x-signature-timestamp";

const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

pub(crate) struct Discord;

impl Preset for Discord {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        match hex::decode(secret) {
            Ok(key) if key.len() == PUBLIC_KEY_BYTES => Ok(()),
            Ok(_) | Err(_) => Err("must be the application's public key, 64 hex digits"),
        }
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let signature = signature(request.header(SIGNATURE)?)?;
        let timestamp = request.header(TIMESTAMP)?;
        let age_s = fresh_secs(TIMESTAMP, timestamp, at)?;

        let signed: [&[u8]; 2] = [timestamp.as_bytes(), request.body];
        let text = signed.concat();
        let mut keys = secrets.iter().filter_map(|secret| hex::decode(secret).ok());
        // All that is compared is public, so the time of it may tell anything.
        if keys.any(|key| UnparsedPublicKey::new(&ED25519, key).verify(&text, &signature).is_ok()) {
            return Ok(());
        }
        Err(mismatch(&signed).aged(age_s))
    }

    fn signed_handshake(&self, request: &Request<'_>, _secrets: &[&str]) -> Option<Handshake> {
        let kind = json_text(request.body, &["type"])?;
        match kind.as_ref() {
            "0" => Some(Handshake::empty(204)),
            // Webhook events have the type 1 as well.
            "1" if !is_webhook_event(request) => Some(Handshake::json(&json!({ "type": 1 }))),
            _ => None,
        }
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        if let Some(event_type) = json_text(request.body, &["event", "type"]) {
            return Some(event_type.into_owned());
        }
        // Interactions have numbers, for which Discord's documentation has these names.
        let name = match json_text(request.body, &["type"])?.as_ref() {
            "2" => "APPLICATION_COMMAND",
            "3" => "MESSAGE_COMPONENT",
            "4" => "APPLICATION_COMMAND_AUTOCOMPLETE",
            "5" => "MODAL_SUBMIT",
            _ => return None,
        };
        Some(name.to_owned())
    }

    /// Interactions have an id, webhook events have none.
    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["id"]).map(Into::into)
    }
}

fn is_webhook_event(request: &Request<'_>) -> bool {
    json_text(request.body, &["event", "type"]).is_some()
}

/// Reads a signature. Upper case is refused: there is one way to write each signature.
fn signature(written: &str) -> Result<[u8; SIGNATURE_BYTES], Rejection> {
    let mut signature = [0; SIGNATURE_BYTES];
    let decoded = hex::decode_to_slice(written, &mut signature);
    if decoded.is_err() || written.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Reason::malformed(SIGNATURE, "must be 128 lower-case hex digits").into());
    }
    Ok(signature)
}

#[cfg(test)]
pub(crate) mod tests;
