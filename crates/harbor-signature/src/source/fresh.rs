//! The age of timestamps that providers sign.

use crate::source::rejection::{Reason, Rejection};

/// When a request is verified, and how far from that its timestamp may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now_secs: i64,
    /// In either direction.
    pub(crate) tolerance_secs: i64,
}

impl Moment {
    /// Checks that a time in unix seconds is near now, and answers how many seconds ago it was.
    pub(crate) fn check_secs(self, sent_secs: i64) -> Result<i64, Rejection> {
        let age_s = self.now_secs.saturating_sub(sent_secs);
        if age_s.saturating_abs() > self.tolerance_secs {
            return Err(Reason::StaleTimestamp { age_s }.into());
        }
        Ok(age_s)
    }
}

/// Reads a timestamp of plain decimal unix seconds from the header `name` and checks that it is near. Answers its
/// age in seconds.
///
/// Only the canonical form passes: digits alone, without a leading zero.
pub(crate) fn fresh_secs(name: &str, timestamp: &str, at: Moment) -> Result<i64, Rejection> {
    let Some(sent_secs) = canonical(timestamp) else {
        return Err(Reason::malformed(name, "must hold a decimal number of unix seconds").into());
    };
    at.check_secs(sent_secs)
}

/// As [`fresh_secs`], for a timestamp in milliseconds.
pub(crate) fn fresh_ms(name: &str, timestamp: &str, at: Moment) -> Result<i64, Rejection> {
    let Some(sent_ms) = canonical(timestamp) else {
        return Err(Reason::malformed(name, "must hold a decimal number of unix milliseconds").into());
    };
    at.check_secs(sent_ms.div_euclid(1000))
}

/// The value of a decimal number of digits alone, without a leading zero.
pub(crate) fn canonical(number: &str) -> Option<i64> {
    let is_canonical = !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (number.len() == 1 || !number.starts_with('0'));
    if is_canonical { number.parse().ok() } else { None }
}
