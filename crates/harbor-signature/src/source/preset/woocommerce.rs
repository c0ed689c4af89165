//! WooCommerce signs the body with HMAC-SHA256 in base64: `X-WC-Webhook-Signature`.
//!
//! Neither the topic nor the delivery's id is signed, and there is no timestamp. The id is a hash of the
//! webhook and the second of the delivery, so two orders of one second share it; only together with the body
//! it names an event. A delivery that fails is not tried again.
//! When a webhook is saved, the form `webhook_id=123` comes unsigned, to see whether somebody answers 200.
//! Source: <https://woocommerce.com/document/webhooks/> and, for the headers and the ping,
//! <https://developer.woocommerce.com/docs/apis/rest-api/v3/webhooks/>

use crate::source::compare::{Hmac, as_keys};
use crate::source::fields::sha256_hex;
use crate::source::fresh::Moment;
use crate::source::preset::{Handshake, Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-wc-webhook-signature";

pub(crate) struct Woocommerce;

impl Preset for Woocommerce {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        _secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        let is_ping = !request.headers.contains_key(HEADER) && is_ping(request.body);
        is_ping.then(|| Ok(Handshake::empty(200)))
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let signature = request.header(HEADER)?;
        Hmac::SHA256_BASE64.verify(as_keys(secrets), &[request.body], std::iter::once(signature))
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word("x-wc-webhook-topic")
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        let delivery = request.word("x-wc-webhook-delivery-id")?;
        Some(format!("{delivery}-{}", sha256_hex(request.body)))
    }
}

/// Whether this is `webhook_id=` and a number, which no event is: events are JSON.
fn is_ping(body: &[u8]) -> bool {
    let number = body.strip_prefix(b"webhook_id=").unwrap_or_default();
    (1..=20).contains(&number.len()) && number.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
pub(crate) mod tests;
