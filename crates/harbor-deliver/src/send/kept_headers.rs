//! Which of an answer's headers are kept for people to look at.

use http::HeaderMap;

/// The most headers that are kept of an answer.
const HEADERS_MAX: usize = 16;

/// The most bytes that are kept of one value.
const VALUE_BYTES_MAX: usize = 256;

/// The headers that are safe to keep: what helps to find a request in the receiver's logs,
/// never a cookie, a challenge or anything that could be a credential.
pub(super) fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len().min(HEADERS_MAX));
    for (name, value) in headers {
        if kept.len() == HEADERS_MAX {
            break;
        }
        if !is_safe(name.as_str()) {
            continue;
        }
        let Ok(value) = value.to_str() else { continue };
        // The query of a redirect may carry a token, and so may what stands before an `@`.
        if name == http::header::LOCATION && value.contains('@') {
            continue;
        }
        let value = if name == http::header::LOCATION { without_query(value) } else { value };
        // `to_str` lets only visible ASCII through, so every byte is a boundary.
        let value = &value[..value.len().min(VALUE_BYTES_MAX)];
        kept.push((name.as_str().to_owned(), value.to_owned()));
    }
    kept
}

fn is_safe(name: &str) -> bool {
    matches!(
        name,
        "cf-ray"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "date"
            | "location"
            | "ratelimit-limit"
            | "ratelimit-remaining"
            | "ratelimit-reset"
            | "request-id"
            | "retry-after"
            | "server"
            | "traceparent"
            | "via"
            | "x-amzn-requestid"
            | "x-amzn-trace-id"
            | "x-correlation-id"
            | "x-request-id"
    )
}

fn without_query(location: &str) -> &str {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    &location[..end]
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn kept(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        kept_headers(&headers.iter().map(pair).collect())
    }

    #[test]
    fn keeps_what_helps_and_no_credential() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let check = |headers: &[(&str, &str)], expected: &[(&str, &str)]| {
            assert_eq!(kept(headers), pairs(expected), "{headers:?}");
        };
        check(
            &[("Content-Type", "text/plain"), ("X-Request-Id", "r1")],
            &[("content-type", "text/plain"), ("x-request-id", "r1")],
        );
        check(&[("set-cookie", "s=1"), ("www-authenticate", "Bearer"), ("x-api-key", "k")], &[]);
        check(&[("server", "caf\u{e9}")], &[]);
        check(&[("location", "https://a/b?token=x")], &[("location", "https://a/b")]);
        check(&[("location", "/b#token")], &[("location", "/b")]);
        check(&[("location", "https://u:p@a/b")], &[]);
    }

    #[test]
    fn count_and_length_are_bounded() {
        let many = vec![("via", "1.1 proxy"); 100];
        assert_eq!(kept(&many).len(), HEADERS_MAX);
        let long = "v".repeat(5000);
        assert_eq!(kept(&[("via", &long)])[0].1.len(), VALUE_BYTES_MAX);
    }
}
