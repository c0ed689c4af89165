//! GitLab sends the webhook's secret token in the clear, as `X-Gitlab-Token`, and since version 19.0 signs
//! with the webhook's signing token, if it has one, by Standard Webhooks.
//!
//! Which of the two a secret is, its form says: signing tokens are `whsec_` and the base64 of 32 bytes.
//! A request that is signed is judged by its signature alone, where the source has a signing token.
//! `webhook-id` and `Idempotency-Key` name the event and stay the same when it is sent again.
//! `X-Gitlab-Webhook-UUID` is new each time, and `X-Gitlab-Event-UUID` is shared by all webhooks that one
//! request to GitLab has set off, so neither names an event.
//! Source: <https://docs.gitlab.com/user/project/integrations/webhooks/>

use crate::secret::{PREFIX, standard_key};
use crate::source::compare::{Hmac, check_credential};
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;
use crate::standard::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

const TOKEN_HEADER: &str = "x-gitlab-token";

pub(crate) struct Gitlab;

impl Preset for Gitlab {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn has_timestamp(&self) -> bool {
        true
    }

    fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        if is_signing_token(secret) {
            return standard_key(secret).map(drop).map_err(|_| "must go on in base64 after `whsec_`");
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err("must be visible ASCII, since it is sent in a header");
        }
        Ok(())
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        // GitLab signs nothing until the webhook has a signing token, so while a source changes over from
        // the one to the other, unsigned requests come with the token.
        let signing: Vec<&str> = secrets.iter().copied().filter(|secret| is_signing_token(secret)).collect();
        let is_signed =
            [SIGNATURE_HEADER, TIMESTAMP_HEADER].iter().any(|name| request.headers.contains_key(*name));
        if is_signed && !signing.is_empty() {
            return verify_signature(request, &signing, at);
        }
        // Who knows a signing token could as well sign, so it passes in the clear like any other.
        check_credential(request.header(TOKEN_HEADER)?, secrets)
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-gitlab-event")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(ID_HEADER).or_else(|| request.word("idempotency-key"))
    }

    fn credential_header(&self) -> Option<&str> {
        Some(TOKEN_HEADER)
    }
}

fn is_signing_token(secret: &str) -> bool {
    secret.starts_with(PREFIX)
}

fn verify_signature(request: &Request<'_>, tokens: &[&str], at: Moment) -> Result<(), Rejection> {
    let signatures = request.header(SIGNATURE_HEADER)?;
    let id = request.header(ID_HEADER)?;
    if id.is_empty() || id.contains('.') {
        return Err(Reason::malformed(ID_HEADER, "must not be empty or hold a full stop").into());
    }
    let timestamp = request.header(TIMESTAMP_HEADER)?;
    let age_s = fresh_secs(TIMESTAMP_HEADER, timestamp, at)?;

    let keys: Vec<_> = tokens.iter().filter_map(|token| standard_key(token).ok()).collect();
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body];
    let presented = signatures.split(' ').filter_map(|versioned| versioned.strip_prefix("v1,"));
    let verified = Hmac::SHA256_BASE64.verify(keys.iter().map(|key| key.as_slice()), &signed, presented);
    verified.map_err(|rejection| rejection.aged(age_s))
}

#[cfg(test)]
pub(crate) mod tests;
