//! Event types and the patterns that subscriptions match them with.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most characters in an event type.
pub const EVENT_TYPE_CHARS_MAX: usize = 128;

/// What the types of the platform's own events begin with.
pub const OPERATIONAL_PREFIX: &str = "harborhook.";

/// Says why a text is not an event type or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventTypeError {
    /// The text has a wrong length or character.
    #[error("must be 1 to 128 of the characters A-Z, a-z, 0-9, `_`, `.`, `:` and `-`")]
    Malformed,
    /// The type is one of the platform's own.
    #[error("types that begin with `harborhook.` are reserved")]
    Reserved,
    /// The text is no pattern.
    #[error("must be an event type, `*`, or a prefix that ends in `.*`")]
    MalformedPattern,
}

/// The type of an event, like `appointment.created`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only the platform itself may publish this type.
    pub fn is_operational(&self) -> bool {
        self.0.starts_with(OPERATIONAL_PREFIX)
    }
}

fn is_well_formed(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    !text.is_empty() && text.len() <= EVENT_TYPE_CHARS_MAX && text.bytes().all(fits)
}

impl FromStr for EventType {
    type Err = EventTypeError;

    fn from_str(text: &str) -> Result<Self, EventTypeError> {
        if is_well_formed(text) { Ok(Self(text.into())) } else { Err(EventTypeError::Malformed) }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which event types a subscription wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventTypePattern {
    /// Every type but the platform's own: `*`.
    All,
    /// Every type that begins with this text, which ends in a dot: `appointment.` for `appointment.*`.
    Prefix(Arc<str>),
    /// This type alone.
    Exact(EventType),
}

impl EventTypePattern {
    /// Whether an event of this type goes to the subscription.
    ///
    /// Operational events go only to those who name them, so `*` does not match them.
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::All => !event_type.is_operational(),
            Self::Prefix(prefix) => event_type.as_str().starts_with(&**prefix),
            Self::Exact(exact) => exact == event_type,
        }
    }
}

impl FromStr for EventTypePattern {
    type Err = EventTypeError;

    fn from_str(text: &str) -> Result<Self, EventTypeError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let malformed = |_| EventTypeError::MalformedPattern;
        match text.strip_suffix('*') {
            Some(prefix) if prefix.len() > 1 && prefix.ends_with('.') && is_well_formed(prefix) => {
                Ok(Self::Prefix(prefix.into()))
            }
            Some(_) => Err(EventTypeError::MalformedPattern),
            None => text.parse().map(Self::Exact).map_err(malformed),
        }
    }
}

impl fmt::Display for EventTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(exact) => exact.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let check = |pattern: &str, event_type: &str, expected| {
            let pattern: EventTypePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&event_type.parse().unwrap()), expected, "{pattern} {event_type}");
        };
        check("*", "invoice.paid", true);
        check("*", "harborhook.delivery.dead", false);
        check("harborhook.*", "harborhook.delivery.dead", true);
        check("harborhook.delivery.dead", "harborhook.delivery.dead", true);
        check("invoice.*", "invoice.paid", true);
        check("invoice.*", "invoice.line.added", true);
        check("invoice.*", "invoice", false);
        check("invoice.*", "invoices.paid", false);
        check("invoice.paid", "invoice.paid", true);
        check("invoice.paid", "invoice.paid.late", false);
        check("Invoice.paid", "invoice.paid", false);
    }

    #[test]
    fn a_pattern_has_a_star_only_at_its_end() {
        for text in ["*", "a.*", "a.b.*", "a", "a.b", "a:b-c_d"] {
            assert_eq!(text.parse::<EventTypePattern>().unwrap().to_string(), text);
        }
        for text in ["", ".*", "a*", "*.a", "a.*.b", "**", "a..*x", "a b", "a\0", &"x".repeat(129)] {
            assert_eq!(text.parse::<EventTypePattern>(), Err(EventTypeError::MalformedPattern), "{text}");
        }
    }
}
