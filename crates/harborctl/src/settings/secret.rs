//! A key that is not shown by accident.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The most characters of a key that are shown.
const SHOWN_CHARS: usize = 4;

/// An API key or a secret. Has no `Debug` text.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The key itself, to be sent or stored.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Enough of the key to tell it from another: `hhk_…x7Qz`.
    pub(crate) fn masked(&self) -> String {
        let chars: Vec<char> = self.0.chars().collect();
        let prefix = if self.0.starts_with("hhk_") { "hhk_" } else { "" };
        // A short key would be shown nearly whole.
        if chars.len() < 4 * SHOWN_CHARS {
            return format!("{prefix}…");
        }
        let end: String = chars[chars.len() - SHOWN_CHARS..].iter().collect();
        format!("{prefix}…{end}")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_the_end_of_a_key() {
        let masked = |text: &str| Secret::from(text.to_owned()).masked();
        assert_eq!(masked("hhk_abcdefghijklmnopx7Qz"), "hhk_…x7Qz");
        assert_eq!(masked("abcdefghijklmnopx7Qz"), "…x7Qz");
        assert_eq!(masked("hhk_short"), "hhk_…");
        assert_eq!(masked(""), "…");
        assert_eq!(format!("{:?}", Secret::from("hhk_secret".to_owned())), "Secret(…)");
    }
}
