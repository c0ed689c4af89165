//! Durations as people write them: `250ms`, `60s`, `5m`, `2h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a duration; the message of a failure names what was given.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let wrong = || format!("{text:?} is not a duration such as 250ms, 60s, 5m or 2h");
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads a duration from a settings file.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in
            ["", "s", "60", "1.5s", "-1s", "60 s", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
