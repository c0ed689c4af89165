//! Which headers of a provider's request are kept, to go on to endpoints with its body.
//!
//! What says something about the event goes on: signatures, types, ids. What is a credential, or speaks of
//! one connection or of the proxies on the way, does not.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The most headers that are kept of a request.
const HEADERS_MAX: usize = 64;

/// The most bytes of names and values that are kept together.
const BYTES_MAX: usize = 16 * 1024;

/// What a body is of which nobody says what it is.
const UNKNOWN: &str = "application/octet-stream";

/// Names that are kept, beside those that begin with one of [`PREFIXES`].
const NAMES: [&str; 14] = [
    "content-digest",
    "content-encoding",
    "content-language",
    "date",
    "digest",
    "from",
    "i-twilio-idempotency-token",
    "idempotency-key",
    "request-id",
    "signature",
    "signature-input",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// Beginnings of names that are kept: `x-`, and what providers put in its place.
const PREFIXES: [&str; 10] =
    ["ce-", "linear-", "paddle-", "paypal-", "sentry-", "stripe-", "svix-", "typeform-", "webhook-", "x-"];

/// Parts of names that speak of credentials.
const CREDENTIALS: [&str; 8] =
    ["api-key", "apikey", "auth", "cookie", "credential", "password", "secret", "token"];

/// Beginnings of names that proxies on the way set, or that servers behind them act on: the sender of a webhook
/// has no say in those.
const OF_PROXIES: [&str; 14] = [
    "x-amz-cf-",
    "x-amzn-",
    "x-client-",
    "x-cloud-trace-",
    "x-envoy-",
    "x-forwarded",
    "x-http-method",
    "x-method-override",
    "x-original-",
    "x-real-ip",
    "x-remote-",
    "x-rewrite-",
    "x-scheme",
    "x-sendfile",
];

/// The media type of a body, as it came.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.filter(|value| !value.is_empty()).unwrap_or(UNKNOWN).to_owned()
}

/// The headers that are kept, by lower-case names, in their order. `is_credential` says of a name whether the
/// source's scheme takes its value for a credential.
pub(super) fn kept(headers: &HeaderMap, is_credential: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for (name, value) in headers {
        let name = name.as_str();
        // What is not visible ASCII could not be sent on as it is.
        let Ok(value) = value.to_str() else { continue };
        if !is_safe(name) || is_credential(name) {
            continue;
        }
        bytes += name.len() + value.len();
        if kept.len() == HEADERS_MAX || bytes > BYTES_MAX {
            break;
        }
        kept.push((name.to_owned(), value.to_owned()));
    }
    kept
}

fn is_safe(name: &str) -> bool {
    if NAMES.contains(&name) {
        return true;
    }
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !CREDENTIALS.iter().any(|part| name.contains(part))
        && !OF_PROXIES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_tells_of_the_event_is_kept_and_nothing_that_opens_a_door() {
        let check = |name: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("v"))]);
            let found = kept(&headers, |name| name == "x-gitlab-secure");
            assert_eq!(!found.is_empty(), expected, "{name}");
        };
        for name in [
            "stripe-signature",
            "x-hub-signature-256",
            "x-github-event",
            "webhook-id",
            "linear-delivery",
            "sentry-hook-resource",
            "user-agent",
            "content-encoding",
            "idempotency-key",
            "x-custom",
        ] {
            check(name, true);
        }
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-gitlab-token",
            "x-gitlab-secure",
            "x-api-key",
            "x-auth-key",
            "x-forwarded-for",
            "x-real-ip",
            "host",
            "connection",
            "transfer-encoding",
            "content-length",
            "content-type",
            "accept-encoding",
            "x-original-signature",
            "x-http-method-override",
        ] {
            check(name, false);
        }
    }

    #[test]
    fn a_header_that_repeats_is_kept_in_its_order() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let pair = |value: &str| ("x-a".to_owned(), value.to_owned());
        assert_eq!(kept(&headers, |_| false), [pair("1"), pair("2")]);
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let many = (0..100).map(|n| (format!("x-{n}").parse().unwrap(), HeaderValue::from_static("v")));
        assert_eq!(kept(&HeaderMap::from_iter(many), |_| false).len(), HEADERS_MAX);
        let long = HeaderValue::from_str(&"v".repeat(7_000)).unwrap();
        let wide = (0..5).map(|n| (format!("x-{n}").parse().unwrap(), long.clone()));
        assert_eq!(kept(&HeaderMap::from_iter(wide), |_| false).len(), 2);
    }

    #[test]
    fn a_body_without_a_type_is_bytes() {
        assert_eq!(content_type(&HeaderMap::new()), UNKNOWN);
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"))]);
        assert_eq!(content_type(&headers), "text/xml; charset=utf-8");
    }
}
