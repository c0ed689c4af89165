//! Durations as the API writes them: `250ms`, `30s`, `5m`, `2h`, `30d`.

use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// The text is none.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let ms = number.zip(unit_ms).and_then(|(number, unit_ms)| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis).ok_or_else(|| "a duration looks like 250ms, 30s, 5m, 2h or 30d".to_owned())
}

/// Reads a duration that is not zero.
///
/// # Errors
/// The text is none, or zero.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// Writes a duration in the largest unit that divides it.
pub(crate) fn print(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_their_text() {
        for text in ["0ms", "250ms", "1s", "90s", "5m", "2h", "3d"] {
            assert_eq!(parse(text).map(print), Ok(text.to_owned()), "{text}");
        }
        for refused in ["", "5", "s", "-1s", "1.5s", "5 s", "5S", "99999999999999999999s"] {
            assert!(parse(refused).is_err(), "{refused}");
        }
        assert!(parse_positive("0s").is_err());
    }
}
