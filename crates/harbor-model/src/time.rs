//! Time, handed in: instants of the wall clock, and the clock that tells them.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;

/// An instant in milliseconds since 1970 UTC. Prints as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The last instant that can be written in every time zone: 9999-12-30T22:00:00Z.
const LATEST_MS: i64 = 253_402_207_200_000;

/// How long a day is.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Timestamp {
    /// The instant this many milliseconds after 1970; held to the years 1970 to 9999.
    pub const fn from_unix_ms(ms: i64) -> Self {
        if ms < 0 {
            return Self(0);
        }
        Self(if ms > LATEST_MS { LATEST_MS } else { ms })
    }

    /// Milliseconds since 1970.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as signatures use them.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Its day: whole days since 1970, in UTC.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The instant when a day begins.
    pub const fn start_of_day(day: i64) -> Self {
        Self::from_unix_ms(day.saturating_mul(DAY_MS))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, wait: Duration) -> Timestamp {
        let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(self.0.saturating_add(ms))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, back: Duration) -> Timestamp {
        let ms = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant =
            jiff::Timestamp::from_millisecond(self.0).expect("a Timestamp lies between 1970 and 9999");
        write!(f, "{instant:.3}")
    }
}

/// Says that a text is not an RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 time between 1970 and 9999, like 2026-01-31T12:00:00.000Z")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        let ms = instant.as_millisecond();
        if !(0..=LATEST_MS).contains(&ms) {
            return Err(TimestampError);
        }
        Ok(Self(ms))
    }
}

/// Tells the time and waits. The engine knows no other clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock's instant.
    fn now(&self) -> Timestamp;

    /// Time since the clock was made, never going back; for measuring how long a thing took.
    fn elapsed(&self) -> Duration;

    /// Returns once `now()` is at or after `instant`.
    async fn sleep_until(&self, instant: Timestamp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(expected.to_owned()), "{text}");
        };
        check("2026-11-22T01:02:03.456Z", "2026-11-22T01:02:03.456Z");
        check("2026-11-22T01:02:03Z", "2026-11-22T01:02:03.000Z");
        check("2026-11-22T03:02:03.456789+02:00", "2026-11-22T01:02:03.456Z");
        for refused in ["", "yesterday", "2026-11-22", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert_eq!(refused.parse::<Timestamp>(), Err(TimestampError), "{refused}");
        }
    }

    #[test]
    fn sums_stay_within_what_can_be_written() {
        let end = Timestamp::from_unix_ms(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(end.to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!((Timestamp::from_unix_ms(5) - Duration::from_secs(1)).unix_ms(), 0);
    }
}
