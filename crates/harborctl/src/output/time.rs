//! Times, short for people.

use jiff::{Timestamp, Unit};

/// Older than this, a date says more than a distance.
const DISTANCE_DAYS_MAX: i64 = 30;

/// A time of the API as a distance from now: `12s ago`, `in 5m`; a date where it is far.
pub(crate) fn relative(time: &str, now: Timestamp) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
    let ms = at.as_millisecond() - now.as_millisecond();
    let (seconds, future) = (ms.unsigned_abs().div_ceil(1000).cast_signed(), ms > 0);
    let seconds = if future { seconds } else { ms.abs() / 1000 };
    let distance = match seconds {
        0 if !future => return "now".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ if seconds < DISTANCE_DAYS_MAX * 86_400 => format!("{}d", seconds / 86_400),
        _ => return at.to_string().chars().take("2026-01-31".len()).collect(),
    };
    if future { format!("in {distance}") } else { format!("{distance} ago") }
}

/// A time of the API with its distance from now: `2026-01-31 12:00:00 UTC (12s ago)`.
pub(crate) fn exact(time: &str, now: Timestamp) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = at.round(Unit::Second).unwrap_or(at);
    let date_time = seconds.to_string().replace('T', " ").replace('Z', " UTC");
    let distance = relative(time, now);
    // What is far is a date already.
    if date_time.starts_with(&distance) { date_time } else { format!("{date_time} ({distance})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_times_are_distances_and_far_ones_dates() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let check = |time: &str, expected: &str| assert_eq!(relative(time, now), expected, "{time}");
        check("2026-01-31T12:00:00.000Z", "now");
        check("2026-01-31T11:59:59.500Z", "now");
        check("2026-01-31T11:59:48.000Z", "12s ago");
        check("2026-01-31T12:00:00.200Z", "in 1s");
        check("2026-01-31T11:57:00.000Z", "3m ago");
        check("2026-01-31T14:00:00.000Z", "in 2h");
        check("2026-01-29T12:00:00.000Z", "2d ago");
        check("2025-12-01T12:00:00.000Z", "2025-12-01");
        check("not a time", "not a time");
        assert_eq!(exact("2026-01-31T11:59:48.120Z", now), "2026-01-31 11:59:48 UTC (11s ago)");
        assert_eq!(exact("2025-12-01T12:00:00.000Z", now), "2025-12-01 12:00:00 UTC");
    }
}
