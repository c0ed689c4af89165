//! Linear signs the body with HMAC-SHA256 in hex: `Linear-Signature`.
//!
//! `webhookTimestamp` in the body, in milliseconds, says when it was sent, so it is signed too and must be
//! near. The header `Linear-Timestamp` says the same unsigned and is not looked at.
//! `Linear-Delivery` names the event and is not signed; `webhookId` in the body names the webhook, not the
//! event.
//! Source: <https://linear.app/developers/webhooks>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "linear-signature";

pub(crate) struct Linear;

impl Preset for Linear {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        // Nothing in the body is worth reading before its signature is known to be right.
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))?;

        let Some(sent_ms) = sent_ms(request.body) else {
            let rule = "must hold `webhookTimestamp` in unix milliseconds";
            return Err(Reason::MalformedRequest { rule }.into());
        };
        at.check_secs(sent_ms.div_euclid(1000)).map(drop)
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("linear-delivery")
    }
}

fn sent_ms(body: &[u8]) -> Option<i64> {
    json_text(body, &["webhookTimestamp"])?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests;
