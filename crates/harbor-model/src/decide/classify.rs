//! Judges what an endpoint answered, or why it did not.

use std::time::Duration;

use crate::attempt::ErrorClass;

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint's headers arrived in time. Whatever becomes of the body, the status decides.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The wait that `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    Unreachable(ErrorClass),
}

/// What an [`Outcome`] means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint took it.
    Accepted,
    /// A failure that time may mend.
    Failed {
        /// The wait that the endpoint asked for.
        wait_asked: Option<Duration>,
    },
    /// The endpoint refused this request, and will again.
    ClientError,
    /// The endpoint pointed elsewhere. We do not follow.
    Redirected,
    /// The endpoint said that it is no more.
    Gone,
    /// The address is one that we do not connect to.
    Blocked,
}

/// Judges an outcome; the class is for the attempt's record and is none for a success.
pub fn classify(outcome: Outcome) -> (Verdict, Option<ErrorClass>) {
    match outcome {
        Outcome::Unreachable(ErrorClass::BlockedAddress) => {
            (Verdict::Blocked, Some(ErrorClass::BlockedAddress))
        }
        Outcome::Unreachable(class) => (Verdict::Failed { wait_asked: None }, Some(class)),
        Outcome::Answered { status, retry_after } => match status {
            200..=299 => (Verdict::Accepted, None),
            // 1xx never comes as a final answer: a receiver that sends one breaks the protocol.
            300..=399 => (Verdict::Redirected, Some(ErrorClass::Http3xx)),
            410 => (Verdict::Gone, Some(ErrorClass::Http4xx)),
            429 => (Verdict::Failed { wait_asked: retry_after }, Some(ErrorClass::Http429)),
            408 | 425 => (Verdict::Failed { wait_asked: retry_after }, Some(ErrorClass::Http4xx)),
            400..=499 => (Verdict::ClientError, Some(ErrorClass::Http4xx)),
            500..=599 => (Verdict::Failed { wait_asked: retry_after }, Some(ErrorClass::Http5xx)),
            _ => (Verdict::Failed { wait_asked: None }, Some(ErrorClass::Protocol)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_each_answer() {
        let check = |status, verdict, class| {
            assert_eq!(
                classify(Outcome::Answered { status, retry_after: None }),
                (verdict, class),
                "{status}"
            );
        };
        let failed = Verdict::Failed { wait_asked: None };
        for status in [200, 201, 202, 204, 299] {
            check(status, Verdict::Accepted, None);
        }
        for status in [300, 301, 302, 304, 307, 308] {
            check(status, Verdict::Redirected, Some(ErrorClass::Http3xx));
        }
        for status in [400, 401, 403, 404, 405, 409, 418, 422, 451] {
            check(status, Verdict::ClientError, Some(ErrorClass::Http4xx));
        }
        for status in [408, 425] {
            check(status, failed, Some(ErrorClass::Http4xx));
        }
        check(410, Verdict::Gone, Some(ErrorClass::Http4xx));
        check(429, failed, Some(ErrorClass::Http429));
        for status in [500, 501, 502, 503, 504, 599] {
            check(status, failed, Some(ErrorClass::Http5xx));
        }
        for status in [101, 600, 999] {
            check(status, failed, Some(ErrorClass::Protocol));
        }
    }

    #[test]
    fn only_what_time_may_mend_heeds_retry_after() {
        let asked = Some(Duration::from_secs(7));
        let verdict = |status| classify(Outcome::Answered { status, retry_after: asked }).0;
        for status in [408, 425, 429, 503] {
            assert_eq!(verdict(status), Verdict::Failed { wait_asked: asked }, "{status}");
        }
        assert_eq!(verdict(301), Verdict::Redirected);
        assert_eq!(verdict(404), Verdict::ClientError);
    }

    #[test]
    fn a_blocked_address_is_final_and_other_silence_is_not() {
        let verdict = |class| classify(Outcome::Unreachable(class)).0;
        assert_eq!(verdict(ErrorClass::BlockedAddress), Verdict::Blocked);
        for class in [ErrorClass::Timeout, ErrorClass::ConnectionRefused, ErrorClass::Dns, ErrorClass::Tls] {
            assert_eq!(verdict(class), Verdict::Failed { wait_asked: None }, "{class:?}");
        }
    }
}
