//! What both schemes ask of a request besides its signature.

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// A request is fresh while its timestamp is at most this many seconds away from now, in either direction.
pub const TOLERANCE_SECS: i64 = 5 * 60;

/// Says why a request is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The webhook id is empty or contains a full stop, so the signed text could be split in two ways.
    #[error("webhook id is empty or contains a full stop")]
    MalformedId,
    /// The timestamp is not a plain decimal number of unix seconds.
    #[error("timestamp is not a decimal number of unix seconds")]
    MalformedTimestamp,
    /// The timestamp is too far away from now.
    #[error("timestamp is {age_s} s old, at most {TOLERANCE_SECS} s in either direction are tolerated")]
    StaleTimestamp {
        /// How old it is in seconds; below zero when it lies in the future.
        age_s: i64,
    },
    /// None of the signatures was made by one of the keys over this request.
    #[error("no signature matches")]
    NoMatch,
}

/// Checks that a timestamp is well-formed and near `now_secs`.
///
/// Only the canonical form passes. A leading zero would make trouble in our own scheme, where the timestamp
/// follows the body without a separator: the last `0` of a body could move over and nothing would show it.
pub(crate) fn check_fresh(timestamp: &str, now_secs: i64) -> Result<(), VerifyError> {
    let is_canonical = timestamp.bytes().all(|byte| byte.is_ascii_digit())
        && (timestamp.len() == 1 || !timestamp.starts_with('0'));
    if !is_canonical {
        return Err(VerifyError::MalformedTimestamp);
    }
    let sent_secs: i64 = timestamp.parse().map_err(|_| VerifyError::MalformedTimestamp)?;
    let age_s = now_secs.saturating_sub(sent_secs);
    if age_s.saturating_abs() > TOLERANCE_SECS {
        return Err(VerifyError::StaleTimestamp { age_s });
    }
    Ok(())
}

/// Whether two signatures are the same, in a time that does not tell how much of them is.
pub(crate) fn is_same(presented: &str, expected: &[u8]) -> bool {
    verify_slices_are_equal(presented.as_bytes(), expected).is_ok()
}

#[cfg(test)]
mod tests;
