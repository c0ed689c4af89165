//! DocuSign Connect signs the body with HMAC-SHA256 in base64, once with each HMAC key of the account:
//! `X-DocuSign-Signature-1`, `X-DocuSign-Signature-2` and so on, up to 100.
//!
//! One that is made with a key of ours is enough. There is no timestamp that counts, so a recorded request
//! stays valid. Nothing names the event, so the whole message but for `retryCount` does.
//! Source: <https://developers.docusign.com/platform/webhooks/connect/validate/>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::{json_digest_without, json_text};
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER_PREFIX: &str = "x-docusign-signature-";
const FIRST_HEADER: &str = "x-docusign-signature-1";

pub(crate) struct Docusign;

impl Preset for Docusign {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let mut signatures = Vec::new();
        for name in request.headers.keys().map(http::HeaderName::as_str) {
            if name.strip_prefix(HEADER_PREFIX).is_some_and(is_number) {
                signatures.push(request.header(name)?);
            }
        }
        if signatures.is_empty() {
            signatures.push(request.header(FIRST_HEADER)?);
        }
        Hmac::SHA256_BASE64.verify(as_keys(secrets), &[request.body], signatures.iter().copied())
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["event"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_digest_without(request.body, "retryCount")
    }
}

fn is_number(suffix: &str) -> bool {
    !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
pub(crate) mod tests;
