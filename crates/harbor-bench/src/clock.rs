//! The clock that all processes of a run share.

use rustix::time::{ClockId, clock_gettime};

/// Returns the machine's monotonic time in microseconds.
///
/// Its zero is the same for every process since the machine started, so one process may subtract
/// the time that another wrote into a payload; and no clock adjustment bends a latency.
pub(crate) fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(micros).expect("monotonic time is never negative")
}

/// Returns the time of day in seconds since 1970, for what is signed with it; nothing is measured by it.
pub(crate) fn unix_s() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).expect("it is later than 1970")
}

/// Returns the seconds from one time of this clock to a later one; zero if it is not later.
pub(crate) fn seconds_between(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us) as f64 / 1e6
}
