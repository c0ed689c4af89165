//! The system clock.

use jiff::Timestamp;

/// Reads the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a program of its own; this is where it reads the time"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Writes a time as the API does: RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        let time = Timestamp::from_millisecond(1_769_860_800_007).unwrap();
        assert_eq!(rfc3339(time), "2026-01-31T12:00:00.007Z");
    }
}
