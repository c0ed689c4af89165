//! Mailgun signs a timestamp and a random token, one right after the other, with HMAC-SHA256 in hex. All
//! three stand in the body, which is JSON:
//! `{"signature":{"timestamp":…,"token":…,"signature":…},"event-data":{…}}`.
//!
//! The rest of the body is not signed: whoever has seen one request can make others about anything. What is
//! left is to let each token pass once, so the token names the event. Of an account that belongs to another,
//! `parent-signature` is made with the key of that other account, and is as good.
//!
//! Mailgun retries for eight hours. It does not say whether a retry is signed anew; those who receive them
//! report the timestamp and the token of the first try. A source that wants those retries sets its
//! `timestamp_tolerance` to `8h`; the token closes what this opens.
//! Source: <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>

use std::borrow::Cow;

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::{Moment, canonical};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

pub(crate) struct Mailgun;

impl Preset for Mailgun {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let timestamp = needed(request, "timestamp", "must hold signature.timestamp")?;
        let token = needed(request, "token", "must hold signature.token")?;
        let signature = needed(request, "signature", "must hold signature.signature")?;
        let parent_signature = find(request, "parent-signature");

        // A digit that is moved from the token to the timestamp, or back, leaves the signed text as it is,
        // but makes the timestamp ten times as large or as small.
        let Some(sent_secs) = canonical(&timestamp) else {
            let rule = "must hold a decimal number of unix seconds in signature.timestamp";
            return Err(Reason::MalformedRequest { rule }.into());
        };
        let age_s = at.check_secs(sent_secs)?;

        let presented = std::iter::once(&*signature).chain(parent_signature.as_deref());
        let signed = [timestamp.as_bytes(), token.as_bytes()];
        let verified = Hmac::SHA256_HEX.verify(as_keys(secrets), &signed, presented);
        verified.map_err(|rejection| rejection.aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event-data", "event"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        find(request, "token").map(Into::into)
    }
}

fn find<'a>(request: &Request<'a>, name: &str) -> Option<Cow<'a, str>> {
    json_text(request.body, &["signature", name])
}

fn needed<'a>(request: &Request<'a>, name: &str, rule: &'static str) -> Result<Cow<'a, str>, Rejection> {
    find(request, name).ok_or_else(|| Reason::MalformedRequest { rule }.into())
}

#[cfg(test)]
pub(crate) mod tests;
