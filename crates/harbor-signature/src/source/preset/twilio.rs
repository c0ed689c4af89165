//! Twilio signs the URL, followed by the name and the value of each parameter of the form, sorted, with
//! nothing between them: HMAC-SHA1 in base64, keyed with the account's auth token, in `X-Twilio-Signature`.
//!
//! Other bodies, such as JSON, are not signed themselves; the URL then holds their SHA-256 as `bodySHA256`.
//! Webhooks signed with a shared key of their own say so in `X-Twilio-Webhooks-Signature-Settings`, with the
//! algorithm. There is no timestamp, so a recorded request stays valid.
//! Sources: <https://www.twilio.com/docs/usage/webhooks/webhooks-security> and
//! <https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys>

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use harbor_model::source::{Algorithm, Encoding};

use crate::source::compare::{Hmac, as_keys, is_same};
use crate::source::fields::{form_value, json_text};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "x-twilio-signature";
const SETTINGS_HEADER: &str = "x-twilio-webhooks-signature-settings";
const BODY_HASH: &str = "bodySHA256";

/// The parameters that tell how something goes on, and what it is. Messages have both of theirs at times.
const STATUSES: [(&str, &str); 4] = [
    ("RecordingStatus", "recording"),
    ("MessageStatus", "message"),
    ("SmsStatus", "message"),
    ("CallStatus", "call"),
];

pub(crate) struct Twilio;

impl Preset for Twilio {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        let hmac = Hmac { algorithm: algorithm(request)?, encoding: Encoding::Base64 };
        let parameters = signed_parameters(request)?;

        let verify = |url: &str| {
            let signed = [url.as_bytes(), parameters.as_bytes()];
            hmac.verify(as_keys(secrets), &signed, std::iter::once(signature))
        };
        // Twilio's own libraries try both, since not all of its systems write the port alike.
        verify(request.url).or_else(|rejection| {
            let other = with_other_port(request.url).ok_or_else(|| rejection.clone())?;
            verify(&other).map_err(|_| rejection)
        })
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        for path in [&["type"][..], &["0", "type"]] {
            if let Some(event_type) = json_text(request.body, path) {
                return Some(event_type.into_owned());
            }
        }
        if let Some(event_type) =
            parameter(request, "EventType").or_else(|| parameter(request, "StatusCallbackEvent"))
        {
            return Some(event_type);
        }
        let mut statuses = STATUSES.into_iter();
        statuses.find_map(|(name, what)| Some(format!("{what}.{}", parameter(request, name)?)))
    }

    /// The only name that retries share. Nothing that is signed tells two events of one call apart.
    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word("i-twilio-idempotency-token")
    }
}

fn algorithm(request: &Request<'_>) -> Result<Algorithm, Rejection> {
    let settings = request.find_header(SETTINGS_HEADER)?.unwrap_or_default();
    let mut settings = settings.split(',').filter_map(|setting| setting.trim().split_once('='));
    match settings.find(|(name, _)| *name == "algorithm") {
        None | Some((_, "HMAC_SHA1")) => Ok(Algorithm::Sha1),
        Some((_, "HMAC_SHA256")) => Ok(Algorithm::Sha256),
        Some(_) => Err(Reason::malformed(SETTINGS_HEADER, "must name HMAC_SHA1 or HMAC_SHA256").into()),
    }
}

/// What is signed after the URL.
///
/// The URL decides, which is signed, and not the `Content-Type`, which is not.
fn signed_parameters(request: &Request<'_>) -> Result<String, Rejection> {
    if let Some(expected) = request.parameter(BODY_HASH) {
        let hash = hex::encode(digest(&SHA256, request.body));
        if !is_same(&hash, &expected) {
            let rule = "must have the body whose SHA-256 stands in its query as `bodySHA256`";
            return Err(Reason::MalformedRequest { rule }.into());
        }
        return Ok(String::new());
    }
    if !request.body.is_empty() && !request.is_form() {
        let rule = "must hold a form, or the body's SHA-256 in its query as `bodySHA256`";
        return Err(Reason::MalformedRequest { rule }.into());
    }
    // What is there twice is signed once.
    let parameters: BTreeSet<_> = form_urlencoded::parse(request.body).collect();
    Ok(parameters.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect())
}

/// The same URL without its port or, where there is none, with the one that its scheme implies.
fn with_other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    Some(match (port, scheme) {
        (Some((host, _)), _) => format!("{scheme}://{host}{path}"),
        (None, "https") => format!("{scheme}://{authority}:443{path}"),
        (None, "http") => format!("{scheme}://{authority}:80{path}"),
        (None, _) => return None,
    })
}

/// A parameter of the form or, for webhooks by GET, of the query.
fn parameter(request: &Request<'_>, name: &str) -> Option<String> {
    form_value(request.body, name).or_else(|| request.parameter(name)).map(Into::into)
}

#[cfg(test)]
pub(crate) mod tests;
