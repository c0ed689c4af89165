//! Points in time, as people name them.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::args::duration;
use crate::clock;

/// A point in time: RFC 3339, or a distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `2026-01-31T12:00:00Z`
    At(Timestamp),
    /// `2h`
    Distance(Duration),
}

impl Moment {
    /// The time as the API takes it, where a distance goes back: `2h` is two hours ago.
    pub(crate) fn before(self, now: Timestamp) -> String {
        clock::rfc3339(self.time_before(now))
    }

    /// The time itself, where a distance goes back.
    pub(crate) fn time_before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Distance(distance) => now.saturating_sub(distance).unwrap_or(Timestamp::MIN),
        }
    }

    /// The time as the API takes it, where a distance goes forth: `2h` is in two hours.
    pub(crate) fn after(self, now: Timestamp) -> String {
        clock::rfc3339(match self {
            Self::At(time) => time,
            Self::Distance(distance) => now.saturating_add(distance).unwrap_or(Timestamp::MAX),
        })
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(distance) = duration::parse(text) {
            return Ok(Self::Distance(distance));
        }
        let time = text.parse().map(Self::At);
        time.map_err(|_| {
            "a time looks like 2026-01-31T12:00:00Z, or like 2h for a distance from now".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_distance() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let check = |text: &str, before: &str, after: &str| {
            let moment: Moment = text.parse().unwrap();
            assert_eq!((moment.before(now).as_str(), moment.after(now).as_str()), (before, after), "{text}");
        };
        check("2h", "2026-01-31T10:00:00.000Z", "2026-01-31T14:00:00.000Z");
        check("1d", "2026-01-30T12:00:00.000Z", "2026-02-01T12:00:00.000Z");
        check("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z");
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
