//! Endpoints: URLs that want events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::debug::opaque_debug;
use crate::object;
use crate::patch::Patch;
use crate::policy::{
    CircuitBreaker, CircuitBreakerSettings, OnDead, Ordering, PolicyOrigins, RateLimit, RetrySettings,
    Signing,
};

/// An endpoint to be made. Policies that are left out are inherited from the tenant and the instance.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "url": "https://example.com/webhooks",
    "event_types": ["appointment.*"],
    "retry": {"max_attempts": 3, "schedule": ["10s", "1m"]},
}))]
pub struct CreateEndpoint {
    /// Where requests go: `https`, to an address on the public internet.
    #[schema(max_length = 2048, example = "https://example.com/webhooks")]
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub description: Option<String>,
    /// What signs requests. What begins with `whsec_` must go on in base64. Made unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 24, max_length = 1024)]
    pub secret: Option<String>,
    /// Subscribes at once: event types, `*`, or prefixes like `appointment.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100)]
    pub event_types: Option<Vec<String>>,
    /// Headers that requests carry besides; their values are never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The time for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 300_000)]
    pub timeout_ms: Option<u64>,
    /// When to try again.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySettings>,
    /// The most requests per second.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The most requests in flight at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_in_flight: Option<u32>,
    /// When it is left alone for a while.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerSettings>,
    /// What its deliveries are ordered by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// What becomes of an ordered lane whose head is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_dead: Option<OnDead>,
    /// Which signatures requests carry.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A change of an endpoint: a JSON merge patch. Null returns a policy to the inherited value,
/// and removes a header or an entry of the metadata.
#[derive(Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"url": "https://example.com/v2/webhooks", "timeout_ms": null}))]
pub struct UpdateEndpoint {
    /// Where requests go.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = String, required = false)]
    pub url: Patch<String>,
    /// For people.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub name: Patch<String>,
    /// For people.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub description: Patch<String>,
    /// Headers that requests carry besides; those that are not named stay.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, required = false)]
    pub headers: Patch<BTreeMap<String, Option<String>>>,
    /// The time for one attempt.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<u64>, required = false)]
    pub timeout_ms: Patch<u64>,
    /// When to try again. Naming `strategy` or `schedule` replaces the former strategy with all its waits.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RetrySettings>, required = false)]
    pub retry: Patch<RetrySettings>,
    /// The most requests per second.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RateLimit>, required = false)]
    pub rate_limit: Patch<RateLimit>,
    /// The most requests in flight at a time.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<u32>, required = false)]
    pub max_in_flight: Patch<u32>,
    /// When it is left alone for a while; fields that are not named stay.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<CircuitBreakerSettings>, required = false)]
    pub circuit_breaker: Patch<CircuitBreakerSettings>,
    /// What its deliveries are ordered by. Those that are there already stay where they are.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Ordering>, required = false)]
    pub ordering: Patch<Ordering>,
    /// What becomes of an ordered lane whose head is dead.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<OnDead>, required = false)]
    pub on_dead: Patch<OnDead>,
    /// Which signatures requests carry.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Signing>, required = false)]
    pub signing: Patch<Signing>,
    /// For programs; entries that are not named stay.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, required = false)]
    pub metadata: Patch<BTreeMap<String, Option<String>>>,
}

/// An endpoint with the policies in force.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Names it.
    #[schema(example = "ep_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// Where requests go.
    #[schema(example = "https://example.com/webhooks")]
    pub url: String,
    /// What signs requests. Only in the answer that made the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: Option<String>,
    /// For people.
    #[schema(required)]
    pub name: Option<String>,
    /// For people.
    #[schema(required)]
    pub description: Option<String>,
    /// Whether new deliveries wait.
    pub paused: bool,
    /// At which rate what waited goes since it was resumed; null where nothing is held back.
    #[schema(required)]
    pub draining: Option<Draining>,
    /// Whether it gets no events.
    pub disabled: bool,
    /// Why it gets no events; null where it gets them.
    #[schema(required)]
    pub disabled_reason: Option<DisabledReason>,
    /// How its circuit breaker stands.
    pub circuit: Circuit,
    /// The names of the headers that requests carry besides.
    #[schema(example = json!(["x-api-key"]))]
    pub header_names: Vec<String>,
    /// The time for one attempt.
    #[schema(example = 30_000)]
    pub timeout_ms: u64,
    /// When to try again.
    pub retry: RetrySettings,
    /// The most requests per second; null for no limit.
    #[schema(required)]
    pub rate_limit: Option<RateLimit>,
    /// The most requests in flight at a time.
    #[schema(example = 32)]
    pub max_in_flight: u32,
    /// When it is left alone for a while.
    pub circuit_breaker: CircuitBreaker,
    /// What its deliveries are ordered by.
    pub ordering: Ordering,
    /// What becomes of an ordered lane whose head is dead.
    pub on_dead: OnDead,
    /// Which signatures requests carry.
    pub signing: Signing,
    /// Where each policy came from, by the path of its field.
    #[schema(value_type = std::collections::BTreeMap<String, crate::policy::PolicyOrigin>,
        example = json!({"timeout_ms": "default", "retry.max_attempts": "endpoint"}))]
    pub policy_origins: PolicyOrigins,
    /// For programs.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    /// When it last changed.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

/// Why an endpoint gets no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Someone asked for it.
    Manual,
    /// It answered 410.
    Gone,
    /// Nothing but failures came from it for days.
    Failing,
}

/// The rate at which an endpoint takes what waited while it was paused. Ends when nothing of that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"per_second": 50, "since": "2026-01-31T12:00:00.000Z"}))]
pub struct Draining {
    /// Deliveries per second.
    pub per_second: u32,
    /// When the endpoint was resumed.
    pub since: String,
}

/// How to resume an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"drain_per_second": 50}))]
pub struct ResumeEndpoint {
    /// The most deliveries per second of what waited; as fast as the endpoint takes them unless set.
    /// Fresh deliveries are not held back by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub drain_per_second: Option<u32>,
}

/// How the circuit breaker of an endpoint stands. While it is not closed, deliveries wait and burn no attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "state": "open", "opened_at": "2026-01-31T12:00:00.000Z", "next_probe_at": "2026-01-31T12:00:30.000Z",
}))]
pub struct Circuit {
    /// Whether deliveries go out.
    pub state: CircuitState,
    /// Since when the endpoint is left alone, through all probes that failed; null while it is closed.
    #[schema(required)]
    pub opened_at: Option<String>,
    /// When the next probe may go out; while one is on its way, when another may take its place. Null while
    /// it is closed.
    #[schema(required)]
    pub next_probe_at: Option<String>,
}

/// Whether a circuit breaker lets deliveries through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Deliveries go out.
    Closed,
    /// Deliveries wait.
    Open,
    /// One delivery is on its way as a probe; the others wait.
    HalfOpen,
}

/// A change of the secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap": "24h"}))]
pub struct RotateSecret {
    /// The new secret. Made unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 24, max_length = 1024)]
    pub secret: Option<String>,
    /// How long the old secret signs as well: `24h` unless set, at most `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
}

/// The secret after a change.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotatedSecret {
    /// The endpoint.
    #[schema(example = "ep_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// The new secret; never shown again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
    /// When the old secret ceases to sign.
    #[schema(example = "2026-02-01T12:00:00.000Z")]
    pub previous_secret_expires_at: String,
}

/// The test event that is on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "event_id": "evt_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "delivery_id": "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d",
}))]
pub struct TestedEndpoint {
    /// The event, of type `harborhook.test`.
    pub event_id: String,
    /// Its one delivery.
    pub delivery_id: String,
}

opaque_debug!(CreateEndpoint UpdateEndpoint Endpoint RotateSecret RotatedSecret);
