//! The system clock, for receivers that are given no other.

use jiff::Timestamp;

/// Reads the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the receiver is a program of its own; this is where it reads the time"
)]
pub(crate) fn system_now() -> Timestamp {
    Timestamp::now()
}
