//! Events: publish them and see what became of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

// Borrows from the request, so that the payload is never copied or rewritten.
/// An event to be published.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PublishEvent, example = json!({
    "event_type": "appointment.created",
    "payload": {"appointment": 42, "at": "2026-02-01T09:30:00Z"},
    "idempotency_key": "appointment-42-created",
}))]
pub struct PublishEvent<'a> {
    /// What happened: `[A-Za-z0-9_.:-]{1,128}`.
    #[serde(borrow)]
    #[schema(value_type = String, pattern = "^[A-Za-z0-9_.:-]{1,128}$")]
    pub event_type: Cow<'a, str>,
    /// Any JSON. Delivered byte for byte as it stands here.
    #[serde(borrow)]
    #[schema(value_type = serde_json::Value)]
    pub payload: &'a RawValue,
    /// Makes a repeated publish within 7 days answer with the first event. The header `Idempotency-Key`
    /// serves as well; where both are given they must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// When it happened, if not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// When to deliver it, if not at once; at most 30 days ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_at: Option<String>,
    /// What it is ordered by, for endpoints that want order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub ordering_key: Option<String>,
    /// For programs; not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// What came of a publish: the event is on durable storage with all its deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "event_id": "evt_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "fanout_count": 1,
    "duplicate": false,
}))]
pub struct PublishedEvent {
    /// Names the event; receivers see it as `webhook-id`.
    pub event_id: String,
    /// How many deliveries it made.
    pub fanout_count: u32,
    /// Whether the idempotency key was used before: this is the first event, and nothing was stored.
    pub duplicate: bool,
}

/// Events to be published together. Each is atomic, the batch is not.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchPublish)]
pub struct BatchPublish<'a> {
    /// Up to 1,000, each as `events:publish` takes it.
    #[serde(borrow)]
    #[schema(value_type = Vec<PublishEvent>, min_items = 1, max_items = 1000)]
    pub events: Vec<&'a RawValue>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchPublished {
    /// One for each event, in their order.
    pub results: Vec<BatchResult>,
}

/// What came of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BatchResult {
    /// It is published.
    Published(PublishedEvent),
    /// It is not.
    Refused {
        /// Why.
        error: Problem,
    },
}

/// An event with its payload.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "evt_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "event_type": "appointment.created",
    "payload": {"appointment": 42},
    "payload_encoding": "json",
    "content_type": "application/json",
    "headers": {},
    "expunged": false,
    "created_at": "2026-01-31T12:00:00.000Z",
    "occurred_at": null,
    "deliver_at": null,
    "ordering_key": null,
    "idempotency_key": "appointment-42-created",
    "metadata": {},
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "fanout_count": 0,
    "fanout": {"count": 0, "skipped_endpoint_ids": [], "reason": "no_subscription"},
}))]
pub struct Event {
    /// Names it.
    pub id: String,
    /// What happened.
    pub event_type: String,
    /// The payload as it was published or received; null once it is expunged.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// How `payload` shows it: what a source received need not be JSON.
    pub payload_encoding: PayloadEncoding,
    /// The media type that it is delivered with.
    pub content_type: String,
    /// The provider's headers that go on to endpoints with it, of an event that came in at a source.
    pub headers: BTreeMap<String, String>,
    /// Whether the payload was removed for good.
    pub expunged: bool,
    /// When it was published.
    pub created_at: String,
    /// When it happened, if the publisher said so.
    #[schema(required)]
    pub occurred_at: Option<String>,
    /// When its deliveries are first tried, if not at once.
    #[schema(required)]
    pub deliver_at: Option<String>,
    /// What it is ordered by.
    #[schema(required)]
    pub ordering_key: Option<String>,
    /// What makes a repeated publish a duplicate.
    #[schema(required)]
    pub idempotency_key: Option<String>,
    /// For programs.
    pub metadata: BTreeMap<String, String>,
    /// The trace that began at publish.
    pub trace_id: String,
    /// How many deliveries it made.
    pub fanout_count: u32,
    /// Whom it went to, and where it went to nobody, why.
    pub fanout: FanOut,
}

/// How bytes are shown in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadEncoding {
    /// They are JSON, and stand as they are.
    Json,
    /// They are a text in UTF-8, as a string.
    Text,
    /// They are bytes, as a string in base64.
    Base64,
}

/// Whom an event went to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FanOut {
    /// How many deliveries it made.
    pub count: u32,
    /// Endpoints that wanted it and were disabled, or had been deleted; the first 100.
    pub skipped_endpoint_ids: Vec<String>,
    /// Why there is no delivery; null where there is one.
    #[schema(required)]
    pub reason: Option<UnmatchedReason>,
}

/// Why an event made no delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnmatchedReason {
    /// No subscription matches its type.
    NoSubscription,
    /// Every endpoint that wants it is disabled, or has been deleted.
    EndpointsDisabled,
}

/// An event as a list shows it, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventSummary {
    /// Names it.
    #[schema(example = "evt_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// What happened.
    #[schema(example = "appointment.created")]
    pub event_type: String,
    /// When it was published.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    /// When it happened, if the publisher said so.
    #[schema(required)]
    pub occurred_at: Option<String>,
    /// What makes a repeated publish a duplicate.
    #[schema(required)]
    pub idempotency_key: Option<String>,
    /// Bytes of the payload.
    #[schema(example = 512)]
    pub payload_bytes: u64,
    /// How many deliveries it made.
    #[schema(example = 1)]
    pub fanout_count: u32,
}

/// Which events to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// Of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Published with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Published at or after this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Published before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The most items on a page; 50 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// The `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which deliveries of an event to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListEventDeliveries {
    /// To this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// Made at or after this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Made before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The most items on a page; 50 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// The `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
