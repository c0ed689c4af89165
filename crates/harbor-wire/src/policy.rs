//! Policies: how a delivery is tried. Set for the instance, the tenant and the endpoint; the nearest wins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// When a failed delivery is tried again. What is left out is inherited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_attempts": 5, "schedule": ["1s", "5s", "10s", "30s", "1m"], "jitter": 0.1}))]
pub struct RetrySettings {
    /// The most attempts, the first among them. 5 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: Option<u16>,
    /// How waits are reckoned. `schedule` where `schedule` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RetryStrategy>,
    /// The waits in turn; the last one repeats. For strategy `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100, example = json!(["1s", "5s", "10s", "30s", "1m"]))]
    pub schedule: Option<Vec<String>>,
    /// The first wait. For strategies `exponential` and `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1s")]
    pub base: Option<String>,
    /// What each wait is multiplied by for the next; at least 1. For strategy `exponential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1.0, maximum = 100.0, example = 2.0)]
    pub factor: Option<f64>,
    /// What each wait adds to the one before. For strategy `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10s")]
    pub increment: Option<String>,
    /// The wait. For strategy `fixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30s")]
    pub delay: Option<String>,
    /// How far a wait strays at random, as a part of it: 0.1 is ±10 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub jitter: Option<f64>,
    /// The longest wait, also of one that the endpoint asks for with `Retry-After`. An hour unless set,
    /// or the longest wait that the strategy names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub max_delay: Option<String>,
    /// How many retries a client error such as 400 or 404 is granted. 0 unless set: dead at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_errors: Option<ClientErrors>,
}

/// How the waits between attempts are reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryStrategy {
    /// The waits of `schedule` in turn; the last repeats.
    Schedule,
    /// `base`, then each wait `factor` times the one before.
    Exponential,
    /// `base`, then each wait longer by `increment`.
    Linear,
    /// `delay` each time.
    Fixed,
    /// The schedule that Standard Webhooks recommends: 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h.
    Standard,
}

/// How many retries a client error is granted: a number, or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a whole number or \"all\"")]
pub enum ClientErrors {
    /// This many.
    Retries(u16),
    /// As many as any failure.
    All(AllWord),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllWord {
    /// `all`.
    All,
}

/// The most requests per second to one endpoint: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"per_second": 10, "burst": 20}))]
pub struct RateLimit {
    /// Requests per second over a long time.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub per_second: u32,
    /// Requests that may go at once after a quiet time. As many as `per_second` unless set.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub burst: Option<u32>,
}

/// When an endpoint is left alone for a while. What is left out is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"consecutive_failures": 10, "cooldown": "30s"}))]
pub struct CircuitBreakerSettings {
    /// Whether it ever opens. True unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Opens after this many failures without a success between them. 10 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub consecutive_failures: Option<u32>,
    /// Opens when the 95th percentile of the latest latencies exceeds this. Never unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 300_000)]
    pub p95_ms: Option<u64>,
    /// How long it stays open the first time; at least `1s`. `30s` unless set; each probe that fails doubles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30s")]
    pub cooldown: Option<String>,
    /// The longest that it stays open before a probe; at least `1s`. `5m` unless set; an inherited `cooldown`
    /// that is longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "5m")]
    pub cooldown_max: Option<String>,
    /// How many probes must succeed before it closes. 1 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub probes: Option<u32>,
}

/// When an endpoint is left alone for a while: the values in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "enabled": true, "consecutive_failures": 10, "p95_ms": null, "cooldown": "30s", "cooldown_max": "5m",
    "probes": 1,
}))]
pub struct CircuitBreaker {
    /// Whether it ever opens.
    pub enabled: bool,
    /// Opens after this many failures without a success between them.
    pub consecutive_failures: u32,
    /// Opens when the 95th percentile of the latest latencies exceeds this; null for never.
    #[schema(required)]
    pub p95_ms: Option<u64>,
    /// How long it stays open the first time.
    pub cooldown: String,
    /// The longest that it stays open before a probe.
    pub cooldown_max: String,
    /// How many probes must succeed before it closes.
    pub probes: u32,
}

/// Which signatures a request carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"schemes": ["standard", "harborhook"]}))]
pub struct Signing {
    /// At least one.
    #[schema(min_items = 1)]
    pub schemes: Vec<SigningScheme>,
}

/// A way to sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigningScheme {
    /// Standard Webhooks: `webhook-signature`.
    Standard,
    /// Harborhook's own: `x-harborhook-signature`.
    Harborhook,
}

/// What an endpoint's events are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// By nothing: each goes when it can.
    None,
    /// Those with one `ordering_key` go one after the other; one without a key is unordered.
    Key,
    /// All go one after the other.
    Endpoint,
}

/// What becomes of an ordered lane whose head is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDead {
    /// The next one goes.
    Skip,
    /// Nothing goes until somebody skips or retries the head.
    Hold,
}

/// How much a tenant may publish. What is left out is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"per_second": 100, "burst": 500, "per_day": 1_000_000}))]
pub struct QuotaSettings {
    /// Events per second over a long time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub per_second: Option<u32>,
    /// Events that may come at once after a quiet time. As many as `per_second` unless set; goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub burst: Option<u32>,
    /// Events in one day of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub per_day: Option<u64>,
}

/// How much a tenant may publish: the values in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"per_second": 100, "burst": 500, "per_day": null}))]
pub struct Quota {
    /// Events per second over a long time; null for no limit.
    #[schema(required)]
    pub per_second: Option<u32>,
    /// Events that may come at once after a quiet time; null for no limit.
    #[schema(required)]
    pub burst: Option<u32>,
    /// Events in one day of UTC; null for no limit.
    #[schema(required)]
    pub per_day: Option<u64>,
}

/// How long what happened is kept. What is left out is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"history": "30d", "dead_letters": "90d"}))]
pub struct RetentionSettings {
    /// How long events, deliveries and attempts are kept, from the publish on: `1m` to `3650d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30d")]
    pub history: Option<String>,
    /// How long a dead letter is kept with its event, from its death on: `1m` to `3650d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "90d")]
    pub dead_letters: Option<String>,
}

/// How long what happened is kept: the values in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"history": "30d", "dead_letters": "90d"}))]
pub struct Retention {
    /// How long events, deliveries and attempts are kept, from the publish on.
    pub history: String,
    /// How long a dead letter is kept with its event, from its death on.
    pub dead_letters: String,
}

/// Where a value of a policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOrigin {
    /// Built in.
    Default,
    /// Set for the instance.
    Instance,
    /// Set for the tenant.
    Tenant,
    /// Set for the endpoint.
    Endpoint,
}

/// Where each value of a policy came from, by the path of its field.
///
/// `retry.schedule` stands for the strategy with all that belongs to it.
pub type PolicyOrigins = BTreeMap<String, PolicyOrigin>;
