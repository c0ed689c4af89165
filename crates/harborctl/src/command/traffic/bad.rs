//! Requests that a server must refuse.

/// A request that a server must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    InvalidJson,
    NoEventType,
    NoPayload,
    WrongType,
    UnknownField,
    BadEventType,
    ControlCharacter,
    TooFarAhead,
    TooLarge,
    UnknownKey,
}

/// All of them, in the order in which they are sent.
const ALL: [BadRequest; 10] = [
    BadRequest::InvalidJson,
    BadRequest::NoEventType,
    BadRequest::NoPayload,
    BadRequest::WrongType,
    BadRequest::UnknownField,
    BadRequest::BadEventType,
    BadRequest::ControlCharacter,
    BadRequest::TooFarAhead,
    BadRequest::TooLarge,
    BadRequest::UnknownKey,
];

/// The most bytes of a body, unless a server is set up for more.
const BODY_BYTES_MAX: usize = 1024 * 1024;

impl BadRequest {
    /// The one whose turn it is.
    pub(super) fn nth(number: u64) -> Self {
        ALL[(number % ALL.len() as u64) as usize]
    }

    /// The status that refuses it.
    pub(super) fn expected_status(self) -> u16 {
        match self {
            Self::InvalidJson => 400,
            Self::NoEventType
            | Self::NoPayload
            | Self::WrongType
            | Self::UnknownField
            | Self::BadEventType
            | Self::ControlCharacter
            | Self::TooFarAhead => 422,
            Self::TooLarge => 413,
            Self::UnknownKey => 401,
        }
    }

    /// What to call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::NoEventType => "no_event_type",
            Self::NoPayload => "no_payload",
            Self::WrongType => "wrong_type",
            Self::UnknownField => "unknown_field",
            Self::BadEventType => "bad_event_type",
            Self::ControlCharacter => "control_character",
            Self::TooFarAhead => "too_far_ahead",
            Self::TooLarge => "too_large",
            Self::UnknownKey => "unknown_key",
        }
    }

    /// Whether it is sent with a key that the server knows.
    pub(super) fn has_key(self) -> bool {
        self != Self::UnknownKey
    }

    /// What is sent.
    pub(super) fn body(self, event_type: &str) -> Vec<u8> {
        let with = |rest: &str| format!(r#"{{"event_type":"{event_type}",{rest}}}"#);
        let text = match self {
            Self::InvalidJson => with(r#""payload":{"cut":"#).trim_end_matches('}').to_owned(),
            Self::NoEventType => r#"{"payload":{}}"#.to_owned(),
            Self::NoPayload => format!(r#"{{"event_type":"{event_type}"}}"#),
            Self::WrongType => r#"{"event_type":42,"payload":{}}"#.to_owned(),
            Self::UnknownField => with(r#""payload":{},"priority":"high""#),
            Self::BadEventType => r#"{"event_type":"not a type!","payload":{}}"#.to_owned(),
            Self::ControlCharacter => with(r#""payload":{},"idempotency_key":"a\u0000b""#),
            Self::TooFarAhead => with(r#""payload":{},"deliver_at":"2999-01-01T00:00:00Z""#),
            Self::TooLarge => with(&format!(r#""payload":"{}""#, "x".repeat(BODY_BYTES_MAX))),
            Self::UnknownKey => with(r#""payload":{}"#),
        };
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_invalid_ones_are_no_json() {
        for bad in ALL {
            let valid = serde_json::from_slice::<serde_json::Value>(&bad.body("a.b")).is_ok();
            assert_eq!(valid, bad.expected_status() != 400, "{}", bad.name());
        }
    }

    #[test]
    fn all_have_their_turn() {
        let seen: Vec<_> = (10..20).map(BadRequest::nth).collect();
        assert_eq!(seen, ALL);
    }
}
