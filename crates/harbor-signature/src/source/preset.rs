//! What a provider's scheme has to say; one file for each provider.

pub(crate) mod api_key;
pub(crate) mod basic;
pub(crate) mod bitbucket;
pub(crate) mod discord;
pub(crate) mod docusign;
pub(crate) mod dropbox;
pub(crate) mod generic_hmac;
pub(crate) mod github;
pub(crate) mod gitlab;
pub(crate) mod hubspot;
pub(crate) mod intercom;
pub(crate) mod linear;
pub(crate) mod mailgun;
pub(crate) mod meta;
pub(crate) mod none;
pub(crate) mod paddle;
pub(crate) mod pagerduty;
pub(crate) mod sendgrid;
pub(crate) mod sentry;
pub(crate) mod shopify;
pub(crate) mod slack;
pub(crate) mod square;
pub(crate) mod standard_webhooks;
pub(crate) mod stripe;
pub(crate) mod twilio;
pub(crate) mod typeform;
pub(crate) mod woocommerce;
pub(crate) mod zoom;

mod v0;

use crate::source::fresh::Moment;
use crate::source::rejection::Rejection;
use crate::source::request::Request;

/// One provider's way of signing, and of naming its events.
pub(crate) trait Preset: Send + Sync {
    /// What this scheme wants a secret for.
    fn secret_use(&self) -> SecretUse;

    /// Writes random bytes as a secret.
    fn generate_secret(&self, random: &[u8; 32]) -> String {
        hex::encode(random)
    }

    /// Whether requests hold the time at which they were signed, and grow stale.
    fn has_timestamp(&self) -> bool {
        false
    }

    /// Checks the form of a secret, where the scheme knows one.
    ///
    /// # Errors
    /// Says the rule that it breaks, as `must …`.
    fn check_secret(&self, _secret: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// See [`Verifier::unsigned_handshake`](crate::source::Verifier::unsigned_handshake).
    fn unsigned_handshake(
        &self,
        _request: &Request<'_>,
        _secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        None
    }

    /// See [`Verifier::verify`](crate::source::Verifier::verify).
    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection>;

    /// See [`Verifier::signed_handshake`](crate::source::Verifier::signed_handshake).
    fn signed_handshake(&self, _request: &Request<'_>, _secrets: &[&str]) -> Option<Handshake> {
        None
    }

    /// What the provider calls the type of this event.
    fn event_type(&self, _request: &Request<'_>) -> Option<String> {
        None
    }

    /// The provider's own name for this event, the same over its retries.
    fn event_id(&self, _request: &Request<'_>) -> Option<String> {
        None
    }

    /// See [`Verifier::body_names_event`](crate::source::Verifier::body_names_event).
    fn body_names_event(&self) -> bool {
        true
    }

    /// The header that holds a credential rather than a signature, if there is one.
    fn credential_header(&self) -> Option<&str> {
        None
    }
}

/// What a scheme wants a secret for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretUse {
    /// For nothing: there must be none.
    None,
    /// The provider makes it and shows it in its settings.
    FromProvider,
    /// The owner of the source chooses it and tells the provider, so one can be made for them.
    FromOwner,
}

/// An answer that ends a handshake. Nothing is stored.
///
/// To be sent with all of [`headers`](Self::headers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The status; most are 200.
    pub status: u16,
    /// The media type of the body; none where there is no body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl Handshake {
    /// Answers 200 with a plain text.
    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type: Some("text/plain; charset=utf-8"), body: body.into() }
    }

    /// Answers 200 with JSON.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self { status: 200, content_type: Some("application/json"), body: body.to_string().into_bytes() }
    }

    /// Answers with a status alone.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, content_type: None, body: Vec::new() }
    }

    /// Its headers. No browser may guess another type than we say: the body may repeat what anybody sent us,
    /// so it could be made to run as a page of ours.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let content_type = self.content_type.map(|content_type| ("content-type", content_type));
        content_type.into_iter().chain([("x-content-type-options", "nosniff")])
    }
}
