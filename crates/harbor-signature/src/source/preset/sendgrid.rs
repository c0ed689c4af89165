//! SendGrid signs the timestamp and the body, one right after the other, with ECDSA over P-256 and SHA-256.
//!
//! `X-Twilio-Email-Event-Webhook-Signature` holds the signature in base64,
//! `X-Twilio-Email-Event-Webhook-Timestamp` unix seconds. The secret of the source is the public key as
//! SendGrid shows it, base64 of DER: it only verifies, so it is no secret in truth.
//!
//! The body is a list of events. It goes by their type where all have the same, else by `mixed`. The list has
//! no name of its own.
//! Source: <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>

use std::borrow::Cow;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::source::compare::mismatch;
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";
const MIXED: &str = "mixed";

pub(crate) struct SendGrid;

impl Preset for SendGrid {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        let rule = "must be the verification key as SendGrid shows it: base64 of a public P-256 key in DER";
        public_key(secret).map(|_| ()).ok_or(rule)
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let signature = request.header(SIGNATURE)?;
        let Ok(signature) = BASE64_STANDARD.decode(signature) else {
            return Err(Reason::malformed(SIGNATURE, "must be base64").into());
        };
        let timestamp = request.header(TIMESTAMP)?;
        let age_s = fresh_secs(TIMESTAMP, timestamp, at)?;

        let signed = [timestamp.as_bytes(), request.body].concat();
        let mut keys = secrets.iter().filter_map(|secret| public_key(secret));
        if keys.any(|key| key.verify_sig(&signed, &signature).is_ok()) {
            return Ok(());
        }
        Err(mismatch(&[&signed]).aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        let events: Vec<Event<'_>> = serde_json::from_slice(request.body).ok()?;
        let (first, rest) = events.split_first()?;
        let is_same = rest.iter().all(|other| other.event == first.event);
        Some(if is_same { first.event.clone().into_owned() } else { MIXED.to_owned() })
    }
}

/// What we read of one event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

fn public_key(secret: &str) -> Option<ParsedPublicKey> {
    let der = BASE64_STANDARD.decode(secret.trim()).ok()?;
    if !der.starts_with(P256_DER_HEAD) {
        return None;
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der[P256_DER_HEAD.len()..]).ok()
}

/// What every DER of a public P-256 key begins with; the point follows.
const P256_DER_HEAD: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

#[cfg(test)]
pub(crate) mod tests;
