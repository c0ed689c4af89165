//! Events: what is published, and how events are shown.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use harbor_ingest::request::{PublishRequest, Settings};
use harbor_model::event::trace::TraceContext;
use harbor_model::event::{Event, EventSummary, FanOutRecord, Unmatched};
use harbor_model::invalid::FieldError;
use harbor_model::port::Fault;
use harbor_model::port::history::EventFilter;
use harbor_model::time::Timestamp;
use harbor_wire::event as wire;
use serde_json::value::RawValue;

use crate::convert::checks::Checks;

/// What of a publish stands outside of its JSON.
pub(crate) struct Around<'a> {
    /// The bytes of the payload, exactly.
    pub(crate) payload: Bytes,
    /// The idempotency key of header and body.
    pub(crate) idempotency_key: Result<Option<String>, FieldError>,
    /// The caller's trace.
    pub(crate) trace: Option<TraceContext>,
    /// The rules of publishing: consulted so that all that is wrong is named in one answer.
    pub(crate) settings: &'a Settings,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Reads an event to be published.
pub(crate) fn read(
    event: wire::PublishEvent<'_>,
    around: Around<'_>,
) -> Result<PublishRequest, Vec<FieldError>> {
    let mut checks = Checks::default();
    let idempotency_key = around.idempotency_key.unwrap_or_else(|error| {
        checks.extend(vec![error]);
        None
    });
    let request = PublishRequest {
        event_type: event.event_type.into_owned(),
        payload: around.payload,
        idempotency_key,
        occurred_at: checks.parse("occurred_at", event.occurred_at.as_deref()),
        deliver_at: checks.parse("deliver_at", event.deliver_at.as_deref()),
        ordering_key: event.ordering_key,
        metadata: event.metadata.unwrap_or_default(),
        trace: around.trace,
        relayed: None,
    };
    match checks.finish() {
        Ok(()) => Ok(request),
        Err(mut wrong) => {
            wrong.extend(request.validate(around.settings, around.now).err().unwrap_or_default());
            Err(wrong)
        }
    }
}

/// Writes out an event as lists show it.
pub(crate) fn write_summary(event: &EventSummary) -> wire::EventSummary {
    wire::EventSummary {
        id: event.id.to_string(),
        event_type: event.event_type.to_string(),
        created_at: event.created_at.to_string(),
        occurred_at: event.occurred_at.map(|at| at.to_string()),
        idempotency_key: event.idempotency_key.clone(),
        payload_bytes: event.payload_bytes,
        fanout_count: event.fan_out_count,
    }
}

/// Writes out an event with its payload.
///
/// # Errors
/// The payload was published and is not the JSON that it was when it was taken: the store is damaged.
pub(crate) fn write(event: &Event) -> Result<wire::Event, Fault> {
    let body = &event.body;
    let (payload, payload_encoding) = match &body.content_type {
        _ if event.is_expunged => (json_of("null".to_owned())?, wire::PayloadEncoding::Json),
        None => (published(&body.payload)?, wire::PayloadEncoding::Json),
        Some(_) => received(&body.payload)?,
    };
    Ok(wire::Event {
        id: body.id.to_string(),
        event_type: body.event_type.to_string(),
        payload,
        payload_encoding,
        content_type: body.content_type.clone().unwrap_or_else(|| "application/json".to_owned()),
        headers: write_headers(&body.headers),
        expunged: event.is_expunged,
        created_at: body.created_at.to_string(),
        occurred_at: event.occurred_at.map(|at| at.to_string()),
        deliver_at: event.deliver_at.map(|at| at.to_string()),
        ordering_key: event.ordering_key.clone(),
        idempotency_key: event.idempotency_key.clone(),
        metadata: event.metadata.clone(),
        trace_id: body.trace.trace_id_text(),
        fanout_count: event.fan_out.count,
        fanout: write_fan_out(&event.fan_out),
    })
}

/// A payload that was JSON when it was published.
fn published(payload: &[u8]) -> Result<Box<RawValue>, Fault> {
    let text = String::from_utf8(payload.to_vec());
    json_of(text.map_err(|error| Fault::new("the payload of an event is not UTF-8", error))?)
}

/// A payload that a source received: anything.
fn received(payload: &[u8]) -> Result<(Box<RawValue>, wire::PayloadEncoding), Fault> {
    let Ok(text) = str::from_utf8(payload) else {
        let text = serde_json::to_string(&BASE64_STANDARD.encode(payload)).expect("a text makes JSON");
        return Ok((json_of(text)?, wire::PayloadEncoding::Base64));
    };
    if let Ok(json) = RawValue::from_string(text.to_owned()) {
        return Ok((json, wire::PayloadEncoding::Json));
    }
    let text = serde_json::to_string(text).expect("a text makes JSON");
    Ok((json_of(text)?, wire::PayloadEncoding::Text))
}

fn json_of(text: String) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(text).map_err(|error| Fault::new("the payload of an event is not JSON", error))
}

/// What repeats a name stands behind the first of it, as HTTP joins values.
fn write_headers(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        match written.get_mut(name) {
            Some(known) => {
                known.push_str(", ");
                known.push_str(value);
            }
            None => {
                written.insert(name.clone(), value.clone());
            }
        }
    }
    written
}

fn write_fan_out(fan_out: &FanOutRecord) -> wire::FanOut {
    wire::FanOut {
        count: fan_out.count,
        skipped_endpoint_ids: fan_out.skipped.iter().map(ToString::to_string).collect(),
        reason: fan_out.unmatched().map(|reason| match reason {
            Unmatched::NoSubscription => wire::UnmatchedReason::NoSubscription,
            Unmatched::EndpointsDisabled => wire::UnmatchedReason::EndpointsDisabled,
        }),
    }
}

/// Reads which events a list shows.
pub(crate) fn read_filter(query: &wire::ListEvents) -> Result<EventFilter, Vec<FieldError>> {
    let mut checks = Checks::default();
    let (since, until) = checks.span(query.since.as_deref(), query.until.as_deref());
    let filter = EventFilter {
        event_type: checks.parse("event_type", query.event_type.as_deref()),
        idempotency_key: query.idempotency_key.clone(),
        since,
        until,
    };
    checks.finish().map(|()| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_with_a_publish_is_named_at_once() {
        let check = |body: &str, key: Result<Option<String>, FieldError>, expected: &[&str]| {
            let around = Around {
                payload: Bytes::from_static(b"1"),
                idempotency_key: key,
                trace: None,
                settings: &Settings::default(),
                now: Timestamp::from_unix_ms(1_700_000_000_000),
            };
            let wrong = read(serde_json::from_str(body).unwrap(), around).err().unwrap_or_default();
            let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{body}");
        };
        check(r#"{"event_type": "a", "payload": 1}"#, Ok(None), &[]);
        // The rules of publishing alone are left to publishing.
        check(r#"{"event_type": "a b", "payload": 1}"#, Ok(None), &[]);
        let differs = Err(FieldError::new("idempotency_key", "differs"));
        check(
            r#"{"event_type": "a b", "payload": 1, "occurred_at": "now", "deliver_at": "then"}"#,
            differs,
            &["idempotency_key", "occurred_at", "deliver_at", "event_type"],
        );
    }
}
