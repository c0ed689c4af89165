//! Headers that an endpoint adds to its requests, and the names it may not use.

use crate::secret::Secret;

/// The most headers that one endpoint adds.
pub const HEADERS_MAX: usize = 50;

/// The most bytes in the value of one.
pub const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// A header that an endpoint wants on its requests. Its value may be a credential, so it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomHeader {
    /// Lower-case name.
    pub name: String,
    /// The value, never shown again.
    pub value: Secret,
}

/// Says why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is no HTTP token.
    #[error("the name must be 1 to 128 characters of an HTTP token")]
    Name,
    /// The name is one that we or HTTP set.
    #[error("this name is reserved")]
    Reserved,
    /// The value cannot stand in a header.
    #[error("the value must be at most 4096 visible ASCII characters, blanks and tabs")]
    Value,
}

impl CustomHeader {
    /// Checks the header and takes its name in lower case.
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderError> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
            return Err(HeaderError::Name);
        }
        let name = name.to_ascii_lowercase();
        if is_reserved(&name) {
            return Err(HeaderError::Reserved);
        }
        let is_visible = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
        if value.len() > HEADER_VALUE_BYTES_MAX || !value.bytes().all(is_visible) {
            return Err(HeaderError::Value);
        }
        Ok(Self { name, value: Secret::new(value.to_owned()) })
    }
}

/// Whether `name` (in lower case) belongs to us, to HTTP's framing or to a proxy on the way.
pub fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-trace-id",
    ];
    const PREFIXES: [&str; 4] = ["proxy-", "webhook-", "x-harborhook-", "x-original-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_cannot_harm_and_refuses_the_rest() {
        let check = |name: &str, value: &str, expected| {
            assert_eq!(CustomHeader::new(name, value).err(), expected, "{name}: {value}");
        };
        check("Authorization", "Bearer abc", None);
        check("x-api-key", "", None);
        check("", "v", Some(HeaderError::Name));
        check("a b", "v", Some(HeaderError::Name));
        check("a\r\nb", "v", Some(HeaderError::Name));
        check("Webhook-Id", "v", Some(HeaderError::Reserved));
        check("X-Harborhook-Signature", "v", Some(HeaderError::Reserved));
        check("Content-Length", "0", Some(HeaderError::Reserved));
        check("Host", "inside", Some(HeaderError::Reserved));
        check("x-a", "v\r\nx-b: 1", Some(HeaderError::Value));
        check("x-a", "é", Some(HeaderError::Value));
        check("x-a", &"v".repeat(4097), Some(HeaderError::Value));
    }
}
