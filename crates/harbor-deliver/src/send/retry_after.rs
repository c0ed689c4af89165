//! Reads `Retry-After`.

use std::time::{Duration, UNIX_EPOCH};

use harbor_model::time::Timestamp;
use http::{HeaderMap, header};

/// The longest wait that is understood; policies bound it further.
const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The wait that the answer asks for at `now`: seconds or a date. What is neither asks for none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match parse_seconds(text) {
        Some(wait) => wait,
        None => parse_date(text)?.since(now),
    };
    Some(wait.min(WAIT_MAX))
}

fn parse_seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Digits that are no number are too many of them.
    Some(text.parse().map_or(WAIT_MAX, Duration::from_secs))
}

fn parse_date(text: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(0) + since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_dates_and_nothing_else() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_unix_ms(784_111_777_000);
        let check = |text: &str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        };
        check("0", Some(0));
        check("120", Some(120));
        check(" 7 ", Some(7));
        check("31622401", Some(31_622_400));
        check("99999999999999999999999999", Some(31_622_400));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sunday, 06-Nov-94 08:50:37 GMT", Some(60));
        check("Sun Nov  6 08:49:38 1994", Some(1));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(31_622_400));
        check("Sun, 06 Nov 1994 08:49:27 GMT", Some(0));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        for nothing in ["", "-1", "+5", "1.5", "5s", "soon", "1994-11-06T08:49:37Z", "0x10"] {
            check(nothing, None);
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
