//! Intercom signs the body with HMAC-SHA1 in hex, keyed with the client secret of the app:
//! `X-Hub-Signature: sha1=…`.
//!
//! The body names the event, as `id`, and its `topic`. When an address is set, Intercom sends it a `HEAD`
//! request, unsigned, to see whether somebody answers.
//! Source: <https://developers.intercom.com/docs/webhooks/setting-up-webhooks>

use http::Method;

use harbor_model::source::{Algorithm, Encoding};

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::json_text;
use crate::source::fresh::Moment;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "x-hub-signature";
const SHA1_HEX: Hmac = Hmac { algorithm: Algorithm::Sha1, encoding: Encoding::Hex };

pub(crate) struct Intercom;

impl Preset for Intercom {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        _secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        (request.method == Method::HEAD).then(|| Ok(Handshake::empty(200)))
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let Some(signature) = request.header(HEADER)?.strip_prefix("sha1=") else {
            return Err(Reason::malformed(HEADER, "must begin with `sha1=`").into());
        };
        SHA1_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["topic"]).map(Into::into)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        json_text(request.body, &["id"]).map(Into::into)
    }
}

#[cfg(test)]
pub(crate) mod tests;
