//! A request as it came, and strict access to its headers.

use std::borrow::Cow;

use http::{HeaderMap, Method};

use crate::source::fields::form_value;
use crate::source::rejection::{Reason, Rejection};

/// A request as it came to a source.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The URL that the provider called, as the provider writes it: scheme, host, path and query.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, byte for byte.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The only value of a header.
    ///
    /// # Errors
    /// `missing_header`, or as [`find_header`](Self::find_header).
    pub(crate) fn header(&self, name: &str) -> Result<&'a str, Rejection> {
        self.find_header(name)?.ok_or_else(|| Reason::MissingHeader { name: name.to_owned() }.into())
    }

    /// The only value of a header, if it is there.
    ///
    /// # Errors
    /// `duplicate_header`: with two values, what is signed and what others read could be two things.
    /// `malformed_header` where it is not visible ASCII.
    pub(crate) fn find_header(&self, name: &str) -> Result<Option<&'a str>, Rejection> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Reason::DuplicateHeader { name: name.to_owned() }.into());
        }
        match value.to_str() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Reason::malformed(name, "must be visible ASCII").into()),
        }
    }

    /// What follows `sha256=` in the only value of a header.
    ///
    /// # Errors
    /// As [`header`](Self::header), and `malformed_header` where it begins otherwise.
    pub(crate) fn sha256_header(&self, name: &str) -> Result<&'a str, Rejection> {
        let digest = self.header(name)?.strip_prefix("sha256=");
        digest.ok_or_else(|| Reason::malformed(name, "must begin with `sha256=`").into())
    }

    /// The value of a header for what nobody signs, such as the type of an event: none unless it is there
    /// exactly once.
    pub(crate) fn word(&self, name: &str) -> Option<String> {
        self.find_header(name).ok().flatten().map(str::to_owned)
    }

    /// The media type of the body in lower case, without its parameters.
    pub(crate) fn media_type(&self) -> Option<String> {
        let value = self.word("content-type")?;
        let media_type = value.split_once(';').map_or(value.as_str(), |(media_type, _)| media_type);
        Some(media_type.trim().to_ascii_lowercase())
    }

    /// Whether the body says that it is a form, as browsers send them.
    pub(crate) fn is_form(&self) -> bool {
        self.media_type().as_deref() == Some("application/x-www-form-urlencoded")
    }

    /// What stands after the `?` of the URL; empty without one.
    pub(crate) fn query(&self) -> &'a str {
        let url = self.url.split_once('#').map_or(self.url, |(url, _)| url);
        url.split_once('?').map_or("", |(_, query)| query)
    }

    /// The first parameter of the query with this name, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        form_value(self.query().as_bytes(), name)
    }
}
