//! Secrets: text that signs, never text that is shown.

use std::fmt;

use zeroize::Zeroizing;

use crate::time::Timestamp;

/// A secret text. It has no `Display`, its `Debug` says nothing, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` as a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that may end: after a rotation the former one holds for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedSecret {
    /// The secret text.
    pub secret: Secret,
    /// When it ceases to hold; none for the current one.
    pub expires_at: Option<Timestamp>,
}

impl TimedSecret {
    /// A secret without an end.
    pub fn lasting(secret: Secret) -> Self {
        Self { secret, expires_at: None }
    }

    /// Whether it holds at `now`.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}
