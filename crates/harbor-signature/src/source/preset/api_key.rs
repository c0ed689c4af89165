//! A key in a header, in the clear, under TLS: `X-API-Key` unless the source names another header.
//!
//! Nothing of the request is signed: whoever has seen one request can make others.
//! In `Authorization` the key may follow `Bearer `.

use harbor_model::source::SourceOptions;

use crate::source::compare::check_credential;
use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

const HEADER: &str = "x-api-key";

pub(crate) struct ApiKey {
    header: String,
    event_type_header: Option<String>,
    event_id_header: Option<String>,
}

impl ApiKey {
    pub(crate) fn new(options: &SourceOptions) -> Self {
        Self {
            header: options.header.as_deref().unwrap_or(HEADER).to_ascii_lowercase(),
            event_type_header: options.event_type_header.clone(),
            event_id_header: options.event_id_header.clone(),
        }
    }
}

impl Preset for ApiKey {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let value = request.header(&self.header)?;
        let bearer = value.strip_prefix("Bearer ").filter(|_| self.header == "authorization");
        check_credential(bearer.unwrap_or(value), secrets)
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_type_header.as_ref()?)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_id_header.as_ref()?)
    }

    fn credential_header(&self) -> Option<&str> {
        Some(&self.header)
    }
}

#[cfg(test)]
pub(crate) mod tests;
