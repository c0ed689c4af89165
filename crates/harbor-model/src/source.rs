//! Sources: inbound doors, each for the requests of one provider.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::unwrap_v4;
use crate::delivery::names;
use crate::event_type::{EVENT_TYPE_CHARS_MAX, EventType};
use crate::id::{EndpointId, RejectionId, SourceId, TenantId};
use crate::policy::RateLimit;
use crate::secret::{Secret, TimedSecret};
use crate::time::Timestamp;

/// An inbound door: a provider whose requests are verified and turned into events.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Names it.
    pub id: SourceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What the types of its events begin with.
    pub name: SourceName,
    /// Whose requests it takes.
    pub provider: Provider,
    /// What it sets for its provider's scheme.
    pub options: SourceOptions,
    /// What requests are verified with, newest first; at least one has no end, unless the scheme uses none.
    pub secrets: Vec<TimedSecret>,
    /// The endpoint that all its events go to; none where subscriptions choose.
    pub endpoint_id: Option<EndpointId>,
    /// The most verified requests per second.
    pub rate_limit: Option<RateLimit>,
    /// The addresses that requests may come from; all where there are none.
    pub allowed_ips: Arc<[IpNet]>,
    /// What is answered to a request that was taken, instead of the event's id.
    pub response: Option<SourceResponse>,
    /// How many requests were refused, as far as it was counted; for stores to set.
    pub rejected_count: u64,
    /// Raised by every change; guards changes against each other.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Source {
    /// The secrets that verify at `now`, newest first.
    pub fn secrets_at(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(move |secret| secret.is_valid_at(now)).map(|secret| &secret.secret)
    }

    /// Whether requests may come from this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = unwrap_v4(address);
        self.allowed_ips.is_empty() || self.allowed_ips.iter().any(|subnet| subnet.contains(&address))
    }
}

/// The most characters in the name of a source.
pub const SOURCE_NAME_CHARS_MAX: usize = 64;

/// What follows the name where the provider names no type.
const RECEIVED: &str = "received";

/// Says why a text is no name of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceNameError {
    /// It has a wrong length.
    #[error("must be 1 to {SOURCE_NAME_CHARS_MAX} characters")]
    Length,
    /// It holds a control character.
    #[error("must not hold control characters")]
    Control,
    /// Its events would pass for our own.
    #[error("must not be `harborhook`, nor begin with `harborhook.`: these types are reserved")]
    Reserved,
}

/// The name of a source. The types of its events begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, SourceNameError> {
        if !(1..=SOURCE_NAME_CHARS_MAX).contains(&text.chars().count()) {
            return Err(SourceNameError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(SourceNameError::Control);
        }
        let name = Self(text.into());
        if name.event_type(None).is_operational() {
            return Err(SourceNameError::Reserved);
        }
        Ok(name)
    }

    /// The name as it was chosen.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type of an event that the provider calls `of_provider`: the two with a full stop between them. What
    /// stands in no event type becomes a full stop, and what is too long is cut.
    pub fn event_type(&self, of_provider: Option<&str>) -> EventType {
        let chars = self.0.chars().chain(['.']).chain(of_provider.unwrap_or(RECEIVED).chars());
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let text: String = chars.map(|c| if fits(c) { c } else { '.' }).take(EVENT_TYPE_CHARS_MAX).collect();
        text.parse().expect("1 to 128 characters of an event type")
    }
}

/// What is answered to a request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceResponse {
    /// The status: 200 to 299.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The media type of the body.
    pub content_type: Option<String>,
}

/// The most bytes in the body of a source's own response.
pub const RESPONSE_BODY_BYTES_MAX: usize = 4096;

/// A provider of webhooks, or a scheme of no provider in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Stripe.
    Stripe,
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Shopify.
    Shopify,
    /// Slack.
    Slack,
    /// Twilio.
    Twilio,
    /// Whoever signs as Standard Webhooks says.
    StandardWebhooks,
    /// Whoever sends by way of Svix.
    Svix,
    /// Paddle Billing.
    Paddle,
    /// Square.
    Square,
    /// Zoom.
    Zoom,
    /// Discord.
    Discord,
    /// Linear.
    Linear,
    /// Sentry.
    Sentry,
    /// Intercom.
    Intercom,
    /// HubSpot.
    Hubspot,
    /// DocuSign Connect.
    Docusign,
    /// WooCommerce.
    Woocommerce,
    /// Typeform.
    Typeform,
    /// Mailgun.
    Mailgun,
    /// SendGrid.
    Sendgrid,
    /// PagerDuty.
    Pagerduty,
    /// Bitbucket, Cloud and Data Center.
    Bitbucket,
    /// Dropbox.
    Dropbox,
    /// Meta: Facebook, Instagram, WhatsApp.
    Meta,
    /// HMAC of a text that the source describes.
    GenericHmac,
    /// HTTP basic authentication.
    Basic,
    /// A key in a header.
    ApiKey,
    /// Nothing: whoever knows the address may send.
    None,
}

names!(Provider {
    Stripe = "stripe",
    Github = "github",
    Gitlab = "gitlab",
    Shopify = "shopify",
    Slack = "slack",
    Twilio = "twilio",
    StandardWebhooks = "standard-webhooks",
    Svix = "svix",
    Paddle = "paddle",
    Square = "square",
    Zoom = "zoom",
    Discord = "discord",
    Linear = "linear",
    Sentry = "sentry",
    Intercom = "intercom",
    Hubspot = "hubspot",
    Docusign = "docusign",
    Woocommerce = "woocommerce",
    Typeform = "typeform",
    Mailgun = "mailgun",
    Sendgrid = "sendgrid",
    Pagerduty = "pagerduty",
    Bitbucket = "bitbucket",
    Dropbox = "dropbox",
    Meta = "meta",
    GenericHmac = "generic-hmac",
    Basic = "basic",
    ApiKey = "api-key",
    None = "none",
});

impl Provider {
    /// Whether it is a scheme of no provider in particular, whose headers the source names.
    pub fn is_generic(self) -> bool {
        matches!(self, Self::GenericHmac | Self::Basic | Self::ApiKey | Self::None)
    }
}

/// What a source sets for its provider's scheme. Most providers leave nothing open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// `generic-hmac`: the hash; SHA-256 unless set.
    pub algorithm: Option<Algorithm>,
    /// `generic-hmac`: the header with the signature, `x-signature` unless set. `api-key`: the header with the
    /// key, `x-api-key` unless set.
    pub header: Option<String>,
    /// `generic-hmac`: how the signature is written; hex unless set.
    pub encoding: Option<Encoding>,
    /// `generic-hmac`: the text that is signed; `{body}` unless set.
    pub template: Option<String>,
    /// `generic-hmac`: what stands before the signature. Unless set, the hash's name and `=` may stand there.
    pub prefix: Option<String>,
    /// `generic-hmac`: the header with the time at which the request was signed.
    pub timestamp_header: Option<String>,
    /// `basic`: the user's name.
    pub username: Option<String>,
    /// `meta`: the token that the subscription's handshake must name.
    pub verify_token: Option<Secret>,
    /// Generic schemes: the header with the event's type.
    pub event_type_header: Option<String>,
    /// Generic schemes: the header that names the event, the same over its retries.
    pub event_id_header: Option<String>,
    /// Schemes with a timestamp: how far from now it may be, in either direction; five minutes unless set.
    pub timestamp_tolerance: Option<Duration>,
}

/// A hash that HMAC is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA1, which some providers still use; as a MAC it is not broken.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA384.
    Sha384,
    /// HMAC-SHA512.
    Sha512,
}

names!(Algorithm { Sha1 = "sha1", Sha256 = "sha256", Sha384 = "sha384", Sha512 = "sha512", });

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hex.
    Hex,
    /// Standard base64 with padding.
    Base64,
}

names!(Encoding { Hex = "hex", Base64 = "base64", });

/// A request that a source refused, for its owner to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Names it, and says when it came.
    pub id: RejectionId,
    /// Whose source refused it.
    pub tenant_id: TenantId,
    /// Which source refused it.
    pub source_id: SourceId,
    /// The stable name of the kind of reason, like `missing_header`.
    pub code: String,
    /// Why, with the values that made it so; never a secret.
    pub message: String,
    /// The header that it is about, if it is about one.
    pub header: Option<String>,
    /// The text over which a signature was expected, cut; none where the request did not come so far.
    pub signed_text: Option<Vec<u8>>,
    /// How old the request's timestamp was in seconds, below zero for one in the future.
    pub timestamp_age_s: Option<i64>,
    /// The method of the request.
    pub method: String,
    /// Where the request came from.
    pub remote_address: IpAddr,
    /// The bytes of its body, as far as they were read.
    pub body_bytes: u64,
}

/// So many refused requests of a source are kept, the newest.
pub const REJECTIONS_KEPT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_an_event_begins_with_the_name_of_its_source() {
        let check = |name: &str, of_provider: Option<&str>, expected: &str| {
            assert_eq!(SourceName::new(name).unwrap().event_type(of_provider).as_str(), expected);
        };
        check("stripe", Some("invoice.paid"), "stripe.invoice.paid");
        check("stripe", None, "stripe.received");
        check("My shop", Some("orders/create"), "My.shop.orders.create");
        check("gitlab", Some("Push Hook"), "gitlab.Push.Hook");
        check("s", Some("é\n"), "s...");
        check("s", Some(&"x".repeat(200)), &format!("s.{}", "x".repeat(126)));
    }

    #[test]
    fn a_name_stays_out_of_our_own_types() {
        let check = |name: &str, expected| assert_eq!(SourceName::new(name).err(), expected, "{name:?}");
        check("stripe", None);
        check("harborhooks", None);
        check(&"é".repeat(64), None);
        check("", Some(SourceNameError::Length));
        check(&"x".repeat(65), Some(SourceNameError::Length));
        check("a\nb", Some(SourceNameError::Control));
        check("harborhook", Some(SourceNameError::Reserved));
        check("harborhook.x", Some(SourceNameError::Reserved));
        check("harborhook x", Some(SourceNameError::Reserved));
    }

    #[test]
    fn every_provider_is_known_by_its_name() {
        for provider in Provider::ALL {
            assert_eq!(Provider::from_name(provider.as_str()), Some(*provider));
        }
        assert_eq!(Provider::from_name("paypal"), None);
    }
}
