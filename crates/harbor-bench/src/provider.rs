//! The webhooks of providers: their headers, and their signatures over the body.

use std::hash::{DefaultHasher, Hasher};

use aws_lc_rs::hmac;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::payload::Stamp;
use crate::settings::Provider;

const GITHUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const GITHUB_DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
const GITHUB_EVENT: HeaderName = HeaderName::from_static("x-github-event");
const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// Who signs webhooks, and with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signing {
    /// Who.
    pub provider: Provider,
    /// The secret of the source.
    pub secret: String,
}

/// Signs webhooks as their provider does.
pub(crate) struct Signer {
    provider: Provider,
    key: hmac::Key,
}

impl Signer {
    pub(crate) fn new(signing: &Signing) -> Self {
        // All of these providers take the secret as it is written, whatever it begins with.
        let key = hmac::Key::new(hmac::HMAC_SHA256, signing.secret.as_bytes());
        Self { provider: signing.provider, key }
    }

    /// Returns the headers of a webhook that is signed at a time.
    pub(crate) fn headers(&self, body: &[u8], stamp: Stamp, unix_s: u64) -> HeaderMap {
        let signature = self.signature(body, unix_s);
        match self.provider {
            Provider::Github => HeaderMap::from_iter([
                (USER_AGENT, HeaderValue::from_static("GitHub-Hookshot/bench")),
                (GITHUB_EVENT, HeaderValue::from_static("push")),
                (GITHUB_DELIVERY, delivery_id(stamp)),
                (GITHUB_SIGNATURE, signature),
            ]),
            Provider::Stripe => HeaderMap::from_iter([
                (USER_AGENT, HeaderValue::from_static("Stripe/1.0 (bench)")),
                (STRIPE_SIGNATURE, signature),
            ]),
        }
    }

    /// Returns whether a webhook, as it was relayed, bears the signature of the provider, however old.
    pub(crate) fn has_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let (name, unix_s) = match self.provider {
            Provider::Github => (GITHUB_SIGNATURE, Some(0)),
            Provider::Stripe => (STRIPE_SIGNATURE, headers.get(STRIPE_SIGNATURE).and_then(signed_at)),
        };
        unix_s.is_some_and(|unix_s| headers.get(name) == Some(&self.signature(body, unix_s)))
    }

    fn signature(&self, body: &[u8], unix_s: u64) -> HeaderValue {
        let mut context = hmac::Context::with_key(&self.key);
        if self.provider == Provider::Stripe {
            context.update(format!("{unix_s}.").as_bytes());
        }
        context.update(body);
        let mac = hex::encode(context.sign());
        let text = match self.provider {
            Provider::Github => format!("sha256={mac}"),
            Provider::Stripe => format!("t={unix_s},v1={mac}"),
        };
        HeaderValue::try_from(text).expect("a signature is ASCII")
    }
}

/// Reads when a webhook of Stripe was signed.
fn signed_at(signature: &HeaderValue) -> Option<u64> {
    let (timestamp, _) = signature.to_str().ok()?.strip_prefix("t=")?.split_once(',')?;
    timestamp.parse().ok()
}

/// Makes GitHub's name for an event, another for each.
///
/// It begins with a hash, since real ones come in no order either, which an index feels; the time and the key
/// make sure that no two are equal.
fn delivery_id(stamp: Stamp) -> HeaderValue {
    let Stamp { due_us, lane } = stamp;
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(due_us);
    hasher.write_u64(lane);
    let (start, end) = (hasher.finish(), (due_us << 20) | lane);
    let digits = format!("{start:016x}{end:016x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    HeaderValue::try_from(parts.join("-")).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const STAMP: Stamp = Stamp { due_us: 1_234_567, lane: 42 };

    fn signer(provider: Provider, secret: &str) -> Signer {
        Signer::new(&Signing { provider, secret: secret.to_owned() })
    }

    #[test]
    fn signs_as_github_documents() {
        // The example of https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let signer = signer(Provider::Github, "It's a Secret to Everybody");
        let headers = signer.headers(b"Hello, World!", STAMP, 1_700_000_000);
        assert_eq!(
            headers[GITHUB_SIGNATURE],
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
        assert_eq!(headers[GITHUB_EVENT], "push");
    }

    #[test]
    fn signs_as_stripe_documents() {
        // printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let headers =
            signer(Provider::Stripe, "whsec_test").headers(br#"{"id":"evt_1"}"#, STAMP, 1_492_774_577);
        assert_eq!(
            headers[STRIPE_SIGNATURE],
            "t=1492774577,v1=7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2"
        );
    }

    #[test]
    fn knows_its_own_signature_and_no_other() {
        for provider in [Provider::Github, Provider::Stripe] {
            let signer = signer(provider, "secret");
            let headers = signer.headers(b"body", STAMP, 1_700_000_000);
            assert!(signer.has_signed(&headers, b"body"), "{provider:?}");
            assert!(!signer.has_signed(&headers, b"another body"), "{provider:?}");
            assert!(!signer.has_signed(&HeaderMap::new(), b"body"), "{provider:?}");
            let other = super::tests::signer(provider, "another secret");
            assert!(!other.has_signed(&headers, b"body"), "{provider:?}");
        }
    }

    #[test]
    fn each_event_has_a_name_of_its_own() {
        let stamps = (0..1_000).flat_map(|due_us| [0, 1, 999_999].map(|lane| Stamp { due_us, lane }));
        let ids: HashSet<_> = stamps.map(delivery_id).collect();
        assert_eq!(ids.len(), 3_000);
        assert!(ids.iter().all(|id| id.len() == 36), "{ids:?}");
    }
}
