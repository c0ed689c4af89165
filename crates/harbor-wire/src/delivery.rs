//! Deliveries, their attempts, and dead letters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::object;

/// One event owed to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Names it.
    #[schema(example = "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// What is owed.
    #[schema(example = "evt_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub event_id: String,
    /// To whom.
    #[schema(example = "ep_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub endpoint_id: String,
    /// The type of what is owed.
    #[schema(example = "appointment.created")]
    pub event_type: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts were made.
    #[schema(example = 1)]
    pub attempt_count: u16,
    /// When it is tried next; null where it is not.
    #[schema(required)]
    pub next_attempt_at: Option<String>,
    /// When it was made.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    /// When it last changed.
    #[schema(example = "2026-01-31T12:00:00.120Z")]
    pub updated_at: String,
    /// When the endpoint took it; null where it has not.
    #[schema(required, example = "2026-01-31T12:00:00.120Z")]
    pub delivered_at: Option<String>,
    /// The delivery that it repeats; null where it is the first.
    #[schema(required)]
    pub replay_of: Option<String>,
    /// Why it is dead; null where it is not.
    #[schema(required)]
    pub cause: Option<Cause>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waiting for its first attempt, also while a limit or a pause holds it.
    Queued,
    /// A request is under way.
    Inflight,
    /// The endpoint took it.
    Delivered,
    /// It is tried again at `next_attempt_at`.
    Failed,
    /// It is tried no more; see the dead letters.
    Dead,
    /// It was called off, by someone or with its endpoint.
    Cancelled,
}

/// Why a delivery is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Every attempt that the policy allows failed.
    AttemptsExhausted,
    /// The endpoint answered with a 4xx that asks for no repeat.
    ClientError,
    /// The endpoint answered with a 3xx; redirects are not followed.
    Redirect,
    /// The endpoint answered 410.
    EndpointGone,
    /// The endpoint was disabled.
    EndpointDisabled,
    /// The endpoint's address is one that is not connected to.
    BlockedAddress,
    /// The event's payload is no longer kept.
    EventExpired,
    /// Workers ended in the middle of it again and again.
    WorkerCrash,
}

/// A delivery with everything that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryWithAttempts {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One HTTP request made for a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Names it.
    #[schema(example = "att_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// Its place among the attempts, from 1; null for one whose result came too late to count.
    #[schema(required, example = 1)]
    pub number: Option<u16>,
    /// When the request began.
    #[schema(example = "2026-01-31T12:00:00.100Z")]
    pub started_at: String,
    /// From the beginning to the end of the answer's headers, or to the failure.
    #[schema(example = 20)]
    pub latency_ms: u64,
    /// What the endpoint answered; null where it did not.
    #[schema(required, example = 200)]
    pub http_status: Option<u16>,
    /// What kind of failure it was; null for a success.
    #[schema(required)]
    pub error_class: Option<ErrorClass>,
    /// What went wrong, for people; null for a success.
    #[schema(required)]
    pub error: Option<String>,
    /// The beginning of the answer: 16 KiB of a failure, 1 KiB of a success.
    #[schema(example = "ok")]
    pub response_body: String,
    /// The headers of the answer that are safe to keep.
    #[schema(example = json!({"content-type": "text/plain"}))]
    pub response_headers: BTreeMap<String, String>,
    /// The address that was connected to; null where none was.
    #[schema(required, example = "93.184.216.34:443")]
    pub remote_address: Option<String>,
}

/// What kind of failure an attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The deadline passed before the headers had arrived.
    Timeout,
    /// Nothing listens there.
    ConnectionRefused,
    /// The connection broke.
    ConnectionReset,
    /// The name does not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// The answer is not HTTP.
    Protocol,
    /// The address is one that is not connected to.
    BlockedAddress,
    /// A redirect, which is not followed.
    #[serde(rename = "http_3xx")]
    Http3xx,
    /// A client error other than 429.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// Too many requests.
    #[serde(rename = "http_429")]
    Http429,
    /// A server error.
    #[serde(rename = "http_5xx")]
    Http5xx,
}

/// A delivery that is tried no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// When it died.
    #[schema(example = "2026-01-31T12:02:00.000Z")]
    pub dead_at: String,
    /// What became of it since.
    pub state: DeadLetterState,
    /// The delivery that repeats it; null where none does.
    #[schema(required)]
    pub replayed_by: Option<String>,
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterState {
    /// Nothing yet.
    Open,
    /// A new delivery repeats it.
    Replayed,
    /// Someone put it aside.
    Discarded,
}

/// How to replay a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "receiver was misconfigured"}))]
pub struct ReplayDelivery {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub reason: Option<String>,
    /// Whether the receiver is to process it again although it has seen the event: the new delivery
    /// gets a `webhook-id` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = false)]
    pub new_webhook_id: Option<bool>,
}

/// Which deliveries a job is about: those that match every field that is given. A replay
/// needs at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d", "event_type": "appointment.created"}))]
pub struct DeliveryFilter {
    /// To this endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// Of this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Of events of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// That stand so. A replay takes final ones, a cancellation open ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<DeliveryStatus>,
    /// Made at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Made before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Which deliveries to cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"filter": {"endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d"}}))]
pub struct CancelDeliveries {
    /// Open deliveries that match and were made before this request.
    #[serde(deserialize_with = "object::required")]
    pub filter: DeliveryFilter,
}

/// Open dead letters, counted by endpoint and cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterSummary {
    /// By endpoint and cause, the most first.
    pub data: Vec<DeadLetterGroup>,
    /// Whether all were counted: at most 1,000,000 are.
    pub complete: bool,
}

/// Open dead letters of one endpoint that died of one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "cause": "attempts_exhausted",
    "count": 42,
    "first_dead_at": "2026-01-31T12:00:00.000Z",
    "last_dead_at": "2026-01-31T13:00:00.000Z",
}))]
pub struct DeadLetterGroup {
    /// Of which endpoint.
    pub endpoint_id: String,
    /// Dead of what.
    pub cause: Cause,
    /// How many.
    pub count: u64,
    /// When the first of them died.
    pub first_dead_at: String,
    /// When the last of them died.
    pub last_dead_at: String,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListDeliveries {
    /// To this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// Of this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Of events of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// That stand so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub status: Option<DeliveryStatus>,
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

/// Which dead letters to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListDeadLetters {
    /// To this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// Of events of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Dead for this cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub cause: Option<Cause>,
    /// In this state; `open` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<DeadLetterState>,
    /// Dead at or after this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Dead before this time (RFC 3339).
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
