//! What a publisher may ask for, and the rules it is held to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use harbor_model::event::trace::TraceContext;
use harbor_model::event_type::{EventType, EventTypeError};
use harbor_model::invalid::FieldError;
use harbor_model::text::has_control;
use harbor_model::time::Timestamp;

/// An event that a publisher asks us to take.
#[derive(Clone, Debug, Default)]
pub struct PublishRequest {
    /// Its type, unchecked.
    pub event_type: String,
    /// The bytes to deliver, exactly; JSON unless `relayed` says otherwise.
    pub payload: Bytes,
    /// What makes a repeat of it a duplicate.
    pub idempotency_key: Option<String>,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// When its deliveries are first tried.
    pub deliver_at: Option<Timestamp>,
    /// What it is ordered by.
    pub ordering_key: Option<String>,
    /// For programs.
    pub metadata: BTreeMap<String, String>,
    /// The publisher's trace.
    pub trace: Option<TraceContext>,
    /// What is relayed besides, of a request that came in at a source; none for JSON that was published.
    pub relayed: Option<Relayed>,
}

/// What of a provider's request goes to endpoints besides its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// The media type of the body.
    pub content_type: String,
    /// Its headers that are kept: lower-case names and values, in their order.
    pub headers: Vec<(String, String)>,
}

/// The limits of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes in one payload.
    pub payload_bytes_max: usize,
    /// The most deliveries of one event.
    pub fan_out_max: usize,
    /// The most characters in an idempotency key or an ordering key.
    pub key_chars_max: usize,
    /// The most pairs of metadata.
    pub metadata_pairs_max: usize,
    /// The most bytes in a key and in a value of metadata.
    pub metadata_key_bytes_max: usize,
    /// See `metadata_key_bytes_max`.
    pub metadata_value_bytes_max: usize,
    /// How far ahead `deliver_at` may lie.
    pub deliver_ahead_max: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            payload_bytes_max: 1024 * 1024,
            fan_out_max: 10_000,
            key_chars_max: 255,
            metadata_pairs_max: 50,
            metadata_key_bytes_max: 128,
            metadata_value_bytes_max: 1024,
            deliver_ahead_max: 30 * DAY,
            idempotency_window: 7 * DAY,
        }
    }
}

impl PublishRequest {
    /// Holds the request against every rule; answers the event's type, or all that is wrong.
    pub fn validate(&self, settings: &Settings, now: Timestamp) -> Result<EventType, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let event_type = check_event_type(&self.event_type);
        if let Err(error) = &event_type {
            wrong.push(FieldError::new("event_type", error));
        }
        check_key("idempotency_key", self.idempotency_key.as_deref(), settings, &mut wrong);
        check_key("ordering_key", self.ordering_key.as_deref(), settings, &mut wrong);
        check_metadata(&self.metadata, settings, &mut wrong);
        if self.deliver_at.is_some_and(|at| at > now + settings.deliver_ahead_max) {
            let days = settings.deliver_ahead_max.as_secs() / DAY.as_secs();
            wrong.push(FieldError::new("deliver_at", format!("must be at most {days} days ahead")));
        }
        match event_type {
            Ok(event_type) if wrong.is_empty() => Ok(event_type),
            Ok(_) | Err(_) => Err(wrong),
        }
    }
}

fn check_event_type(text: &str) -> Result<EventType, EventTypeError> {
    let event_type: EventType = text.parse()?;
    if event_type.is_operational() { Err(EventTypeError::Reserved) } else { Ok(event_type) }
}

fn check_key(field: &str, key: Option<&str>, settings: &Settings, wrong: &mut Vec<FieldError>) {
    let Some(key) = key else { return };
    let max = settings.key_chars_max;
    if key.is_empty() || key.chars().count() > max {
        wrong.push(FieldError::new(field, format!("must be 1 to {max} characters")));
    }
    if has_control(key) {
        wrong.push(FieldError::new(field, "must not hold control characters"));
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>, settings: &Settings, wrong: &mut Vec<FieldError>) {
    let Settings { metadata_pairs_max, metadata_key_bytes_max, metadata_value_bytes_max, .. } = settings;
    if metadata.len() > *metadata_pairs_max {
        wrong.push(FieldError::new("metadata", format!("must have at most {metadata_pairs_max} pairs")));
    }
    for (key, value) in metadata.iter().take(*metadata_pairs_max) {
        if key.is_empty() || key.len() > *metadata_key_bytes_max || has_control(key) {
            let rule = format!("keys must be 1 to {metadata_key_bytes_max} bytes without control characters");
            wrong.push(FieldError::new("metadata", rule));
        } else if value.len() > *metadata_value_bytes_max || has_control(value) {
            let rule = format!("must be at most {metadata_value_bytes_max} bytes without control characters");
            wrong.push(FieldError::new(format!("metadata.{key}"), rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn request() -> PublishRequest {
        PublishRequest { event_type: "invoice.paid".to_owned(), ..PublishRequest::default() }
    }

    #[test]
    fn names_every_field_that_is_wrong() {
        let check = |request: PublishRequest, expected: &[&str]| {
            let wrong = request.validate(&Settings::default(), NOW).err().unwrap_or_default();
            let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{request:?}");
        };
        check(request(), &[]);
        check(PublishRequest::default(), &["event_type"]);
        check(PublishRequest { event_type: "harborhook.test".to_owned(), ..request() }, &["event_type"]);
        check(PublishRequest { event_type: "a b\0".to_owned(), ..request() }, &["event_type"]);
        check(PublishRequest { idempotency_key: Some(String::new()), ..request() }, &["idempotency_key"]);
        check(PublishRequest { idempotency_key: Some("é".repeat(255)), ..request() }, &[]);
        check(PublishRequest { idempotency_key: Some("k".repeat(256)), ..request() }, &["idempotency_key"]);
        check(PublishRequest { ordering_key: Some("a\0".to_owned()), ..request() }, &["ordering_key"]);
        let far = Some(NOW + 30 * DAY + Duration::from_millis(1));
        check(PublishRequest { deliver_at: far, ..request() }, &["deliver_at"]);
        check(PublishRequest { deliver_at: Some(NOW + 30 * DAY), ..request() }, &[]);
        let metadata = BTreeMap::from([("a".to_owned(), "\0".to_owned()), (String::new(), String::new())]);
        check(
            PublishRequest { metadata, event_type: String::new(), ..request() },
            &["event_type", "metadata", "metadata.a"],
        );
    }
}
