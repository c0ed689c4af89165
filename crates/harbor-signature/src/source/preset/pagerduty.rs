//! PagerDuty (its webhooks of version 3) signs the body with HMAC-SHA256 in hex:
//! `X-PagerDuty-Signature: v1=…,v1=…`, one `v1` for each secret during a rotation.
//!
//! There is no timestamp, so a recorded request stays valid; but `event.id`, which names the event, is part
//! of the signed body.
//! Source: <https://docs.pagerduty.com/developer/verifying-webhook-signatures>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "x-pagerduty-signature";

pub(crate) struct PagerDuty;

impl Preset for PagerDuty {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let header = request.header(HEADER)?;
        let signatures = header.split(',').filter_map(|signature| signature.trim().strip_prefix("v1="));
        if signatures.clone().next().is_none() {
            return Err(Reason::malformed(HEADER, "must hold a signature `v1=…`").into());
        }
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], signatures)
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event", "event_type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event", "id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
