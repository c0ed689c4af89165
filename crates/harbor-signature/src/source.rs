//! Verifies what providers send to us: one preset for the scheme of each provider.
//!
//! Start with [`Verifier`], then read one file of `preset`, such as that of Stripe.
//! What every preset needs stands beside them: [`Request`], which is strict about headers, the comparisons in
//! `compare`, the age of timestamps in `fresh`, and [`Rejection`], which tells the owner of a source why
//! a request was refused without telling how to make one that is not.

mod compare;
mod fields;
mod fresh;
mod options;
mod preset;
mod provider;
mod rejection;
mod request;

#[cfg(test)]
mod example;
#[cfg(test)]
mod tests;

pub use options::{OptionError, TEMPLATE_BYTES_MAX};
pub use preset::{Handshake, SecretUse};
pub use rejection::{Reason, Rejection, SIGNED_TEXT_KEPT_MAX};
pub use request::Request;

use harbor_model::source::{Provider, SourceOptions};
use http::Method;

use fresh::Moment;
use preset::Preset;

/// Verifies the requests of one provider, as one source is set up for it.
pub struct Verifier {
    preset: Box<dyn Preset>,
    tolerance_secs: i64,
}

impl Verifier {
    /// Makes the verifier of a provider.
    ///
    /// # Errors
    /// Names the option that is missing, malformed, or of no use to this provider.
    pub fn new(provider: Provider, options: &SourceOptions) -> Result<Self, OptionError> {
        options::check(options, provider)?;
        let preset = provider::preset_of(provider, options)?;
        let tolerance_secs = options::tolerance_secs(options, &*preset)?;
        Ok(Self { preset, tolerance_secs })
    }

    /// What this scheme wants a secret for.
    pub fn secret_use(&self) -> SecretUse {
        self.preset.secret_use()
    }

    /// Checks the form of a secret that somebody wants to set.
    ///
    /// # Errors
    /// Says the rule that it breaks, as `must …`.
    pub fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        if secret.is_empty() || secret.len() > SOURCE_SECRET_BYTES_MAX {
            return Err("must be 1 to 4096 bytes");
        }
        if secret.chars().any(|c| c.is_control() && c != '\n') {
            return Err("must not hold control characters");
        }
        self.preset.check_secret(secret)
    }

    /// Writes 32 random bytes as a secret for an owner who gave none.
    pub fn generate_secret(&self, random: &[u8; 32]) -> String {
        self.preset.generate_secret(random)
    }

    /// Tells what a request is that reached the source at about `now_secs`, under any of `secrets`.
    ///
    /// This order is what keeps it safe: the answer to a signed handshake may prove that we know the secret, so
    /// nobody gets one whose request was not verified.
    ///
    /// # Errors
    /// Says why it is not to be trusted.
    pub fn judge(&self, request: &Request<'_>, secrets: &[&str], now_secs: i64) -> Result<Judged, Rejection> {
        if let Some(answer) = self.unsigned_handshake(request, secrets) {
            return answer.map(Judged::UnsignedHandshake);
        }
        if request.method != Method::POST {
            return Ok(Judged::OtherMethod);
        }
        self.verify(request, secrets, now_secs)?;
        Ok(match self.signed_handshake(request, secrets) {
            Some(answer) => Judged::SignedHandshake(answer),
            None => Judged::Event,
        })
    }

    /// Answers a handshake that providers send without a signature, to see whether the address is ours.
    ///
    /// None where the request is no such handshake.
    fn unsigned_handshake(
        &self,
        request: &Request<'_>,
        secrets: &[&str],
    ) -> Option<Result<Handshake, Rejection>> {
        self.preset.unsigned_handshake(request, secrets)
    }

    /// Checks that the provider sent this request, at about `now_secs`, under one of `secrets`.
    ///
    /// # Errors
    /// Says why it is not to be trusted.
    pub fn verify(&self, request: &Request<'_>, secrets: &[&str], now_secs: i64) -> Result<(), Rejection> {
        let at = Moment { now_secs, tolerance_secs: self.tolerance_secs };
        self.preset.verify(request, secrets, at)
    }

    /// Answers a handshake that came signed. To be asked only after [`verify`](Self::verify) has passed, since
    /// some answers prove that we know the secret.
    ///
    /// None where the request is an ordinary one.
    fn signed_handshake(&self, request: &Request<'_>, secrets: &[&str]) -> Option<Handshake> {
        self.preset.signed_handshake(request, secrets)
    }

    /// What the provider calls the type of this event, if it says.
    pub fn event_type(&self, request: &Request<'_>) -> Option<String> {
        self.preset.event_type(request).filter(|event_type| !event_type.is_empty())
    }

    /// The provider's own name for this event, the same over its retries, if it has one.
    pub fn event_id(&self, request: &Request<'_>) -> Option<String> {
        self.preset.event_id(request).filter(|id| !id.is_empty())
    }

    /// Whether two requests with the same body are the same event, so that a hash of the body may name an
    /// event that has no [`event_id`](Self::event_id). Where they are not, such events must not be deduplicated.
    pub fn body_names_event(&self) -> bool {
        self.preset.body_names_event()
    }

    /// Whether the value of this header (its name in lower case) is a credential in itself: it is then neither
    /// stored nor relayed.
    pub fn is_credential(&self, header: &str) -> bool {
        self.preset.credential_header() == Some(header)
    }
}

/// What a request is that a source may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// An event, which the provider sent.
    Event,
    /// A handshake that needs no signature, with its answer. Nothing is to be stored.
    UnsignedHandshake(Handshake),
    /// A handshake that the provider signed, with its answer. Nothing is to be stored.
    SignedHandshake(Handshake),
    /// Nothing of the provider's: events come by POST.
    OtherMethod,
}

/// This many bytes is the longest secret that a source may be given; public keys are the long ones.
pub const SOURCE_SECRET_BYTES_MAX: usize = 4096;
