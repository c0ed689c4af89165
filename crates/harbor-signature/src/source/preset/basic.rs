//! HTTP basic authentication: a name and a password in the clear, under TLS.
//!
//! Nothing of the request is signed: whoever has seen one request can make others.
//! Source: <https://www.rfc-editor.org/rfc/rfc7617>

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harbor_model::source::SourceOptions;

use crate::source::compare::check_credential;
use crate::source::fresh::Moment;
use crate::source::options::OptionError;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "authorization";

pub(crate) struct Basic {
    username: String,
    event_type_header: Option<String>,
    event_id_header: Option<String>,
}

impl Basic {
    pub(crate) fn new(options: &SourceOptions) -> Result<Self, OptionError> {
        let username = options.username.clone().unwrap_or_default();
        if username.is_empty() || username.len() > 255 || username.chars().any(|c| c.is_control() || c == ':')
        {
            let rule = "must be set to 1 to 255 bytes without a colon or control characters";
            return Err(OptionError::new("username", rule));
        }
        Ok(Self {
            username,
            event_type_header: options.event_type_header.clone(),
            event_id_header: options.event_id_header.clone(),
        })
    }
}

impl Preset for Basic {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        let value = request.header(HEADER)?;
        let malformed = || Rejection::from(Reason::malformed(HEADER, "must be `Basic ` and base64"));
        let (scheme, encoded) = value.split_once(' ').ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(malformed());
        }
        let decoded = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
        let presented = str::from_utf8(&decoded).map_err(|_| malformed())?;
        let expected: Vec<_> = secrets.iter().map(|secret| format!("{}:{secret}", self.username)).collect();
        check_credential(presented, &expected.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_type_header.as_ref()?)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_id_header.as_ref()?)
    }

    fn credential_header(&self) -> Option<&str> {
        Some(HEADER)
    }
}

#[cfg(test)]
pub(crate) mod tests;
