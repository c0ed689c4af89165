//! Stripe signs `timestamp.body` with HMAC-SHA256 in hex, keyed with the endpoint's secret as it is written,
//! `whsec_` and all.
//!
//! The header is `Stripe-Signature: t=1492774577,v1=…,v1=…,v0=…`: one `v1` for each secret during a rotation;
//! `v0` is a scheme for tests and passes for nothing.
//! Source: <https://docs.stripe.com/webhooks#verify-manually>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "stripe-signature";

pub(crate) struct Stripe;

impl Preset for Stripe {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let header = request.header(HEADER)?;
        let fields = header.split(',').filter_map(|field| field.trim().split_once('='));
        let timestamp = only(fields.clone().filter(|(name, _)| *name == "t").map(|(_, value)| value))?;
        let age_s = fresh_secs(HEADER, timestamp, at)?;

        let signatures = fields.filter(|(name, _)| *name == "v1").map(|(_, value)| value);
        let signed: [&[u8]; 3] = [timestamp.as_bytes(), b".", request.body];
        let verified = Hmac::SHA256_HEX.verify(as_keys(secrets), &signed, signatures);
        verified.map_err(|rejection| rejection.aged(age_s))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["type"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["id"]).map(Into::into)
    }
}

fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<&'a str, Rejection> {
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Reason::malformed(HEADER, "must hold exactly one `t=`").into()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
