//! Rules for texts that callers write: durations like `250ms`, and which characters a name may hold.

use std::time::Duration;

/// Says why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number with a unit, like 250ms, 30s, 5m, 2h or 30d")]
pub struct DurationError;

/// The longest wait that a policy may name.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a duration as policies write it: `250ms`, `30s`, `5m`, `2h`, `30d`; at most [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    parse_duration_up_to(text, DURATION_MAX)
}

/// As [`parse_duration`], with another limit.
pub fn parse_duration_up_to(text: &str, max: Duration) -> Result<Duration, DurationError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DurationError)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DurationError),
    };
    let ms = number.checked_mul(unit_ms).ok_or(DurationError)?;
    let duration = Duration::from_millis(ms);
    if duration > max { Err(DurationError) } else { Ok(duration) }
}

/// Writes a duration in the largest unit that divides it, as [`parse_duration`] reads it.
pub fn print_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

/// Whether `text` holds a control character other than tab and line ends.
pub fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_their_text() {
        for text in ["0ms", "250ms", "1s", "90s", "5m", "2h", "3d", "365d"] {
            assert_eq!(parse_duration(text).map(print_duration), Ok(text.to_owned()), "{text}");
        }
        assert_eq!(parse_duration("60s").map(print_duration), Ok("1m".to_owned()));
        for refused in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "5S",
            "366d",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(refused), Err(DurationError), "{refused}");
        }
    }

    #[test]
    fn a_duration_may_be_as_long_as_its_limit() {
        let ten_years = DURATION_MAX * 10;
        assert_eq!(parse_duration_up_to("3650d", ten_years), Ok(ten_years));
        assert_eq!(parse_duration_up_to("3651d", ten_years), Err(DurationError));
    }

    #[test]
    fn only_tab_and_line_ends_are_welcome_controls() {
        assert!(!has_control("a\tb\r\nc é 漢"));
        assert!(has_control("a\0"));
        assert!(has_control("\u{1b}[0m"));
        assert!(has_control("\u{7f}"));
        assert!(has_control("\u{85}"));
    }
}
