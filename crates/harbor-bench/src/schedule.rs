//! When the load sends its next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock;

/// Hands out the requests of a load to its connections.
pub(crate) enum Schedule {
    /// Closed loop: a connection that is free sends at once, until the time is up or all requests are taken.
    Closed { ends_us: u64, requests: u64, taken: AtomicU64 },
    /// Open loop: a request is due when the timetable says so, whether or not the server keeps up.
    Open { timetable: Timetable, gives_up_us: u64, released: Semaphore, taken: AtomicU64 },
}

/// When each request of an open loop is due.
///
/// Latency counts from these times and not from when a connection was free to send: otherwise a
/// server that stalls would be asked less while it stalls, and its stall would not show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    /// When the first request is due.
    pub(crate) start_us: u64,
    /// How many there are.
    pub(crate) requests: u64,
    /// How many events each request carries.
    pub(crate) events_per_request: u64,
    /// How many events are due in a second.
    pub(crate) events_per_second: u64,
}

impl Schedule {
    /// Makes a closed loop that ends at a time or after so many requests.
    pub(crate) fn closed(ends_us: u64, requests: u64) -> Self {
        Self::Closed { ends_us, requests, taken: AtomicU64::new(0) }
    }

    /// Makes an open loop that drops what it could not send by the given time.
    pub(crate) fn open(timetable: Timetable, gives_up_us: u64) -> Self {
        Self::Open { timetable, gives_up_us, released: Semaphore::new(0), taken: AtomicU64::new(0) }
    }

    /// Waits for the next request and returns when it is, or was, due; `None` after the last.
    pub(crate) async fn next(&self) -> Option<u64> {
        match self {
            Self::Closed { ends_us, requests, taken } => {
                let now_us = clock::now_us();
                if now_us >= *ends_us {
                    return None;
                }
                (taken.fetch_add(1, Ordering::Relaxed) < *requests).then_some(now_us)
            }
            Self::Open { timetable, gives_up_us, released, taken } => {
                released.acquire().await.expect("the semaphore is never closed").forget();
                if clock::now_us() >= *gives_up_us {
                    return None;
                }
                let number = taken.fetch_add(1, Ordering::Relaxed);
                (number < timetable.requests).then(|| timetable.due_us(number))
            }
        }
    }

    /// Returns whether nothing is sent any more, not even again.
    pub(crate) fn is_over(&self) -> bool {
        let (Self::Closed { ends_us, .. } | Self::Open { gives_up_us: ends_us, .. }) = self;
        clock::now_us() >= *ends_us
    }

    /// Returns how many requests were due and never sent.
    pub(crate) fn unsent(&self) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { timetable, taken, .. } => {
                timetable.requests.saturating_sub(taken.load(Ordering::Relaxed))
            }
        }
    }
}

/// Releases the requests of an open loop as they come due; returns at once for a closed loop.
///
/// Runs on a thread of its own because timers of the async runtime are no finer than a millisecond,
/// which is more than a whole delivery takes.
pub(crate) fn pace(schedule: &Arc<Schedule>, connections: usize) {
    let Schedule::Open { timetable, released, .. } = &**schedule else { return };
    sharpen_sleep();

    let mut count = 0;
    while count < timetable.requests {
        let due = timetable.due_by(clock::now_us());
        released.add_permits(usize::try_from(due - count).unwrap_or(usize::MAX));
        count = due;
        let wait_us = timetable.due_us(count).saturating_sub(clock::now_us());
        std::thread::sleep(Duration::from_micros(wait_us));
    }
    // One more for every connection, so that each wakes up and sees that nothing is left.
    released.add_permits(connections);
}

impl Timetable {
    /// Returns when a request is due; the first is number 0.
    fn due_us(&self, number: u64) -> u64 {
        self.start_us + number * self.events_per_request * 1_000_000 / self.events_per_second
    }

    /// Returns how many requests are due at a time.
    fn due_by(&self, now_us: u64) -> u64 {
        let Some(elapsed_us) = now_us.checked_sub(self.start_us) else { return 0 };
        let due = ((elapsed_us + 1) * self.events_per_second).div_ceil(self.events_per_request * 1_000_000);
        due.min(self.requests)
    }
}

/// Asks the kernel to wake this thread on time; by default it may be 50 µs late to save power.
#[cfg(target_os = "linux")]
fn sharpen_sleep() {
    // Refused only where a sandbox forbids it; then requests are a little late, which the report shows.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

#[cfg(not(target_os = "linux"))]
fn sharpen_sleep() {}

#[cfg(test)]
mod tests;
