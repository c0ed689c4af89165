//! Requests as providers publish them, or as their libraries sign them: the evidence behind each preset.

use harbor_model::source::Provider;
use harbor_model::source::SourceOptions;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::source::preset;
use crate::source::rejection::Rejection;
use crate::source::request::Request;
use crate::source::{SecretUse, Verifier};

/// One request that a provider's documentation or library vouches for, and what its scheme protects.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) provider: Provider,
    pub(crate) options: SourceOptions,
    pub(crate) secret: &'static str,
    /// A well-formed secret that is another's.
    pub(crate) other_secret: &'static str,
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// When the request was sent.
    pub(crate) now_secs: i64,
    /// The headers without which it is refused, and also if they are there twice.
    pub(crate) needs: &'static [&'static str],
    /// The headers of which no byte can be changed.
    pub(crate) signs: &'static [&'static str],
    /// Whether the body is signed.
    pub(crate) signs_body: bool,
    /// Whether the URL is signed.
    pub(crate) signs_url: bool,
    /// Whether it grows stale.
    pub(crate) grows_stale: bool,
    pub(crate) event_type: Option<&'static str>,
    pub(crate) event_id: Option<&'static str>,
}

impl Example {
    /// A `POST` of a provider whose scheme signs the body alone.
    pub(crate) fn of(provider: Provider, secret: &'static str, body: &[u8]) -> Self {
        Self {
            provider,
            options: SourceOptions::default(),
            secret,
            other_secret: "another tenant's secret, as long",
            method: "POST",
            url: "https://hooks.example.com/ingest/src_01jd8x0000000000000000000".to_owned(),
            headers: Vec::new(),
            body: body.to_vec(),
            now_secs: 1_700_000_000,
            needs: &[],
            signs: &[],
            signs_body: true,
            signs_url: false,
            grows_stale: false,
            event_type: None,
            event_id: None,
        }
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(self.provider, &self.options).unwrap()
    }

    pub(crate) fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// Asks something of the verifier and this request.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Verifier, &Request<'_>) -> T) -> T {
        let (method, headers) = (self.method.parse::<Method>().unwrap(), self.header_map());
        let request = Request { method: &method, url: &self.url, headers: &headers, body: &self.body };
        ask(&self.verifier(), &request)
    }

    /// Verifies it at the time when it was sent.
    pub(crate) fn verify(&self) -> Result<(), Rejection> {
        self.verify_with(&self.secrets(), self.now_secs)
    }

    pub(crate) fn verify_with(&self, secrets: &[&str], now_secs: i64) -> Result<(), Rejection> {
        self.ask(|verifier, request| verifier.verify(request, secrets, now_secs))
    }

    pub(crate) fn secrets(&self) -> Vec<&'static str> {
        match self.verifier().secret_use() {
            SecretUse::None => Vec::new(),
            SecretUse::FromOwner | SecretUse::FromProvider => vec![self.secret],
        }
    }

    pub(crate) fn header_mut(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(known, _)| *known == name).expect("the example has it").1
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(known, _)| *known != name);
        changed
    }
}

/// Every example of every preset.
pub(crate) fn examples() -> Vec<Example> {
    [
        preset::stripe::tests::examples(),
        preset::github::tests::examples(),
        preset::gitlab::tests::examples(),
        preset::shopify::tests::examples(),
        preset::linear::tests::examples(),
        preset::sentry::tests::examples(),
        preset::intercom::tests::examples(),
        preset::hubspot::tests::examples(),
        preset::docusign::tests::examples(),
        preset::woocommerce::tests::examples(),
        preset::typeform::tests::examples(),
        preset::mailgun::tests::examples(),
        preset::sendgrid::tests::examples(),
        preset::pagerduty::tests::examples(),
        preset::bitbucket::tests::examples(),
        preset::dropbox::tests::examples(),
        preset::meta::tests::examples(),
        preset::slack::tests::examples(),
        preset::twilio::tests::examples(),
        preset::standard_webhooks::tests::examples(),
        preset::paddle::tests::examples(),
        preset::square::tests::examples(),
        preset::zoom::tests::examples(),
        preset::discord::tests::examples(),
        preset::generic_hmac::tests::examples(),
        preset::basic::tests::examples(),
        preset::api_key::tests::examples(),
    ]
    .concat()
}
