//! How a tenant stands with its quota, in the headers of an answer.
//!
//! `RateLimit-Policy` and `RateLimit` are structured fields as the IETF drafts them; `RateLimit-Limit`,
//! `RateLimit-Remaining` and `RateLimit-Reset` say the same for clients that know the older drafts.

use std::time::Duration;

use harbor_ingest::quota::QuotaStanding;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The headers of an answer to a tenant with a quota, as people read of them: name, type and meaning.
pub(crate) const HEADERS: [(&str, &str, &str); 5] = [
    (
        "RateLimit-Policy",
        "string",
        "The part of the quota of which least is left: `q` events in `w` seconds.",
    ),
    (
        "RateLimit",
        "string",
        "How the tenant stands with it: `r` events are left, and in `t` seconds there are more.",
    ),
    ("RateLimit-Limit", "integer", "The most events, as older clients read it."),
    ("RateLimit-Remaining", "integer", "The events that are left, as older clients read it."),
    ("RateLimit-Reset", "integer", "The seconds until there are more, as older clients read it."),
];

/// Says how a tenant stands.
pub(crate) fn tell(standing: QuotaStanding, headers: &mut HeaderMap) {
    let QuotaStanding { window, limit, remaining, reset } = standing;
    let (name, reset) = (window.as_str(), whole_seconds(reset));
    let window = window.length().as_secs();
    headers.insert(POLICY, value(format!("\"{name}\";q={limit};w={window}")));
    headers.insert(STANDING, value(format!("\"{name}\";r={remaining};t={reset}")));
    headers.insert(LIMIT, limit.into());
    headers.insert(REMAINING, remaining.into());
    headers.insert(RESET, reset.into());
}

/// Says how a tenant stands of which an event was refused, and when the next one will be taken.
pub(crate) fn tell_refused(standing: QuotaStanding, headers: &mut HeaderMap) {
    tell(standing, headers);
    headers.insert(RETRY_AFTER, whole_seconds(standing.reset).max(1).into());
}

/// Rounded up: who comes back then is not too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits, words and quotes fit a header")
}

#[cfg(test)]
mod tests {
    use harbor_ingest::quota::QuotaWindow;

    use super::*;

    #[test]
    fn a_standing_is_told_in_both_forms() {
        let mut headers = HeaderMap::new();
        let reset = Duration::from_millis(12_001);
        tell(QuotaStanding { window: QuotaWindow::Day, limit: 1000, remaining: 7, reset }, &mut headers);
        let told: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        let expected = [
            "ratelimit-policy: \"day\";q=1000;w=86400",
            "ratelimit: \"day\";r=7;t=13",
            "ratelimit-limit: 1000",
            "ratelimit-remaining: 7",
            "ratelimit-reset: 13",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back() {
        let wait = |reset: Duration| {
            let mut headers = HeaderMap::new();
            let standing = QuotaStanding { window: QuotaWindow::Second, limit: 5, remaining: 0, reset };
            tell_refused(standing, &mut headers);
            assert_eq!(headers["ratelimit-policy"], "\"second\";q=5;w=1");
            headers["retry-after"].to_str().unwrap().to_owned()
        };
        assert_eq!(wait(Duration::from_millis(200)), "1");
        assert_eq!(wait(Duration::from_secs(3)), "3");
        assert_eq!(wait(Duration::ZERO), "1");
    }
}
