//! Dropbox signs the body with HMAC-SHA256 in hex, keyed with the app's secret: `X-Dropbox-Signature: …`.
//!
//! A notification only names the accounts in which something changed. It has no type, no id and no time, so
//! two of them may be the same to the byte: nothing can be deduplicated, and a recorded request stays valid.
//!
//! When the address is set, Dropbox sends `GET ?challenge=…` without a signature and wants the text back.
//! Source: <https://www.dropbox.com/developers/reference/webhooks>

use http::Method;

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::Moment;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-dropbox-signature";

pub(crate) struct Dropbox;

impl Preset for Dropbox {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromProvider
    }

    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        _secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        if request.method != Method::GET {
            return None;
        }
        let challenge = request.parameter("challenge")?;
        Some(Ok(Handshake::text(challenge.into_owned())))
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        Hmac::SHA256_HEX.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn body_names_event(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(crate) mod tests;
