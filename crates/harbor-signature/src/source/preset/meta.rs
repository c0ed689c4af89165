//! Meta (Facebook, Instagram, Messenger, WhatsApp) signs the body with HMAC-SHA256 in hex, keyed with the
//! app's secret: `X-Hub-Signature-256: sha256=…`. The older `X-Hub-Signature` (SHA-1) is not looked at.
//!
//! Meta signs a body in which all that is not ASCII, and some of ASCII, is escaped (`ä` as `\u00e4`). It also
//! sends it so: the bytes as they came are what is signed, and nothing must be escaped here.
//!
//! There is no timestamp that is checked, so a recorded request stays valid. `object` says what the changes
//! are about; a body may hold several, of several kinds, and has no name of its own.
//!
//! When the address is set, Meta sends `GET ?hub.mode=subscribe&hub.challenge=…&hub.verify_token=…` without
//! a signature, and wants the challenge back if the token is the one that its app was given.
//! Source: <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>

use harbor_model::secret::Secret;
use harbor_model::source::SourceOptions;
use http::Method;

use crate::source::compare::{Hmac, as_keys, check_credential};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::options::OptionError;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "x-hub-signature-256";
const VERIFY_TOKEN_BYTES_MAX: usize = 255;

pub(crate) struct Meta {
    /// None where the app's secret serves for it.
    verify_token: Option<Secret>,
}

impl Meta {
    pub(crate) fn new(options: &SourceOptions) -> Result<Self, OptionError> {
        let verify_token = options.verify_token.clone();
        if let Some(token) = verify_token.as_ref().map(Secret::expose)
            && (token.is_empty()
                || token.len() > VERIFY_TOKEN_BYTES_MAX
                || token.chars().any(char::is_control))
        {
            let rule = "must be 1 to 255 bytes without control characters";
            return Err(OptionError::new("verify_token", rule));
        }
        Ok(Self { verify_token })
    }
}

impl Preset for Meta {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        if request.method != Method::GET || request.parameter("hub.mode")? != "subscribe" {
            return None;
        }
        let token = request.parameter("hub.verify_token").unwrap_or_default();
        let checked = match &self.verify_token {
            Some(verify_token) => check_credential(&token, &[verify_token.expose()]),
            None => check_credential(&token, secrets),
        };
        if let Err(rejection) = checked {
            return Some(Err(rejection));
        }
        let Some(challenge) = request.parameter("hub.challenge") else {
            return Some(Err(Reason::MalformedRequest { rule: "must hold hub.challenge" }.into()));
        };
        Some(Ok(Handshake::text(challenge.into_owned())))
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.sha256_header(HEADER)?;
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["object"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
