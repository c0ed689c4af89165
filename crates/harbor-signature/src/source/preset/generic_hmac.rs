//! HMAC of a text that the source describes, for senders that no preset knows.
//!
//! The text is a template: `{body}`, `{timestamp}`, `{method}`, `{url}` and `{header:NAME}` stand for parts of
//! the request, everything else for itself. With a timestamp in the template, requests stay valid for five
//! minutes; without one, for ever.

use harbor_model::source::{Algorithm, Encoding, SourceOptions};

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::{Moment, fresh_ms, fresh_secs};
use crate::source::options::{OptionError, TEMPLATE_BYTES_MAX};
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

const HEADER: &str = "x-signature";
/// Unix time in milliseconds has 13 digits from 2001 to 2286, in seconds 10.
const MILLISECOND_DIGITS: usize = 13;

pub(crate) struct GenericHmac {
    hmac: Hmac,
    header: String,
    prefix: Option<String>,
    timestamp_header: Option<String>,
    template: Vec<Piece>,
    event_type_header: Option<String>,
    event_id_header: Option<String>,
}

/// One piece of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Method,
    Url,
    Header(String),
}

impl GenericHmac {
    pub(crate) fn new(options: &SourceOptions) -> Result<Self, OptionError> {
        let template = parse_template(options.template.as_deref().unwrap_or("{body}"))
            .map_err(|rule| OptionError::new("template", rule))?;
        let names_timestamp = template.contains(&Piece::Timestamp);
        if names_timestamp && options.timestamp_header.is_none() {
            return Err(OptionError::new(
                "timestamp_header",
                "must be set where the template has {timestamp}",
            ));
        }
        if !names_timestamp && options.timestamp_header.is_some() {
            let rule = "must have {timestamp} where timestamp_header is set: nothing else protects it";
            return Err(OptionError::new("template", rule));
        }
        if let Some(prefix) = &options.prefix
            && (prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(OptionError::new("prefix", "must be 1 to 64 visible ASCII characters"));
        }
        Ok(Self {
            hmac: Hmac {
                algorithm: options.algorithm.unwrap_or(Algorithm::Sha256),
                encoding: options.encoding.unwrap_or(Encoding::Hex),
            },
            header: options.header.as_deref().unwrap_or(HEADER).to_ascii_lowercase(),
            prefix: options.prefix.clone(),
            timestamp_header: options.timestamp_header.as_deref().map(str::to_ascii_lowercase),
            template,
            event_type_header: options.event_type_header.clone(),
            event_id_header: options.event_id_header.clone(),
        })
    }

    fn signature<'a>(&self, request: &Request<'a>) -> Result<&'a str, Rejection> {
        let value = request.header(&self.header)?;
        let Some(prefix) = &self.prefix else {
            let named = value.strip_prefix(self.hmac.algorithm.as_str());
            return Ok(named.and_then(|rest| rest.strip_prefix('=')).unwrap_or(value));
        };
        let signature = value.strip_prefix(prefix.as_str());
        signature.ok_or_else(|| Reason::malformed(&self.header, "must begin with the source's prefix").into())
    }

    fn timestamp<'a>(&self, request: &Request<'a>, at: Moment) -> Result<Option<(&'a str, i64)>, Rejection> {
        let Some(name) = &self.timestamp_header else { return Ok(None) };
        let timestamp = request.header(name)?;
        let is_ms = timestamp.len() == MILLISECOND_DIGITS;
        let age = if is_ms { fresh_ms } else { fresh_secs };
        Ok(Some((timestamp, age(name, timestamp, at)?)))
    }
}

impl Preset for GenericHmac {
    fn secret_use(&self) -> SecretUse {
        SecretUse::FromOwner
    }

    fn has_timestamp(&self) -> bool {
        self.timestamp_header.is_some()
    }

    fn verify(&self, request: &Request<'_>, secrets: &[&str], at: Moment) -> Result<(), Rejection> {
        let signature = self.signature(request)?;
        let timestamp = self.timestamp(request, at)?;
        let mut signed: Vec<&[u8]> = Vec::with_capacity(self.template.len());
        for piece in &self.template {
            signed.push(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Body => request.body,
                Piece::Timestamp => timestamp.map_or("", |(timestamp, _)| timestamp).as_bytes(),
                Piece::Method => request.method.as_str().as_bytes(),
                Piece::Url => request.url.as_bytes(),
                Piece::Header(name) => request.header(name)?.as_bytes(),
            });
        }
        let verified = self.hmac.verify(as_keys(secrets), &signed, std::iter::once(signature));
        verified.map_err(|rejection| match timestamp {
            Some((_, age_s)) => rejection.aged(age_s),
            None => rejection,
        })
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_type_header.as_ref()?)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_id_header.as_ref()?)
    }
}

/// Takes a template apart. The rule that it breaks otherwise, as `must …`.
fn parse_template(template: &str) -> Result<Vec<Piece>, String> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("must be at most {TEMPLATE_BYTES_MAX} bytes"));
    }
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err("must close every `{`".to_owned());
        };
        pieces.push(piece(name)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    if !pieces.contains(&Piece::Body) {
        return Err("must have {body}: anybody could change a body that is not signed".to_owned());
    }
    Ok(pieces)
}

fn piece(name: &str) -> Result<Piece, String> {
    Ok(match name {
        "body" => Piece::Body,
        "timestamp" => Piece::Timestamp,
        "method" => Piece::Method,
        "url" => Piece::Url,
        _ => match name.strip_prefix("header:") {
            Some(header) if header.parse::<http::HeaderName>().is_ok() => {
                Piece::Header(header.to_ascii_lowercase())
            }
            Some(_) | None => {
                return Err(format!(
                    "must name {{body}}, {{timestamp}}, {{method}}, {{url}} or {{header:NAME}}, not {{{name}}}"
                ));
            }
        },
    })
}

#[cfg(test)]
pub(crate) mod tests;
