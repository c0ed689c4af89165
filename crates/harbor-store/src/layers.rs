//! Policies as JSON, the way stores keep them.

use std::time::Duration;

use harbor_model::policy::breaker::BreakerLayer;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::quota::QuotaLayer;
use harbor_model::policy::retention::RetentionLayer;
use harbor_model::policy::retry::{Backoff, ClientErrors, RetryLayer};
use harbor_model::policy::{PolicyLayer, RateLimit, SigningSchemes};
use harbor_model::tenant::TenantPolicy;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Writes a layer.
pub(crate) fn layer_to_json(layer: &PolicyLayer) -> String {
    serde_json::to_string(&LayerJson::from(layer)).expect("a layer has only text keys")
}

/// Reads a layer that [`layer_to_json`] wrote.
pub(crate) fn layer_from_json(json: &str) -> Result<PolicyLayer, serde_json::Error> {
    serde_json::from_str::<LayerJson>(json).map(PolicyLayer::from)
}

/// Writes a tenant's policy.
pub(crate) fn tenant_policy_to_json(policy: &TenantPolicy) -> String {
    let json = TenantPolicyJson {
        delivery: LayerJson::from(&policy.delivery),
        quota: QuotaJson::from(&policy.quota),
        retention: RetentionJson::from(&policy.retention),
        allow_http: policy.allow_http,
        allowed_subnets: policy.allowed_subnets.to_vec(),
    };
    serde_json::to_string(&json).expect("a policy has only text keys")
}

/// Reads a tenant's policy that [`tenant_policy_to_json`] wrote.
pub(crate) fn tenant_policy_from_json(json: &str) -> Result<TenantPolicy, serde_json::Error> {
    let json: TenantPolicyJson = serde_json::from_str(json)?;
    Ok(TenantPolicy {
        delivery: PolicyLayer::from(json.delivery),
        quota: QuotaLayer::from(json.quota),
        retention: RetentionLayer::from(json.retention),
        allow_http: json.allow_http,
        allowed_subnets: json.allowed_subnets.into(),
    })
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct TenantPolicyJson {
    delivery: LayerJson,
    #[serde(skip_serializing_if = "QuotaJson::is_empty")]
    quota: QuotaJson,
    #[serde(skip_serializing_if = "RetentionJson::is_empty")]
    retention: RetentionJson,
    allow_http: bool,
    allowed_subnets: Vec<IpNet>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct LayerJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<BackoffJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_errors: Option<ClientErrorsJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimitJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    #[serde(skip_serializing_if = "BreakerJson::is_empty")]
    circuit_breaker: BreakerJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering: Option<OrderingJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_dead: Option<OnDeadJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing: Option<SigningJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BackoffJson {
    Schedule { waits_ms: Vec<u64> },
    Exponential { base_ms: u64, factor: f64 },
    Linear { base_ms: u64, increment_ms: u64 },
    Fixed { wait_ms: u64 },
    Standard,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClientErrorsJson {
    Retries(u16),
    All,
}

/// A rate limit, as stores keep it.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct RateLimitJson {
    per_second: u32,
    burst: u32,
}

impl From<RateLimit> for RateLimitJson {
    fn from(limit: RateLimit) -> Self {
        Self { per_second: limit.per_second, burst: limit.burst }
    }
}

impl From<RateLimitJson> for RateLimit {
    fn from(json: RateLimitJson) -> Self {
        Self { per_second: json.per_second, burst: json.burst }
    }
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct QuotaJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateLimitJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_day: Option<u64>,
}

impl QuotaJson {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&QuotaLayer> for QuotaJson {
    fn from(layer: &QuotaLayer) -> Self {
        Self { rate: layer.rate.map(RateLimitJson::from), per_day: layer.per_day }
    }
}

impl From<QuotaJson> for QuotaLayer {
    fn from(json: QuotaJson) -> Self {
        Self { rate: json.rate.map(RateLimit::from), per_day: json.per_day }
    }
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct RetentionJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    history_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters_ms: Option<u64>,
}

impl RetentionJson {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&RetentionLayer> for RetentionJson {
    fn from(layer: &RetentionLayer) -> Self {
        Self { history_ms: layer.history.map(ms), dead_letters_ms: layer.dead_letters.map(ms) }
    }
}

impl From<RetentionJson> for RetentionLayer {
    fn from(json: RetentionJson) -> Self {
        Self {
            history: json.history_ms.map(Duration::from_millis),
            dead_letters: json.dead_letters_ms.map(Duration::from_millis),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderingJson {
    None,
    Key,
    Endpoint,
}

impl From<Ordering> for OrderingJson {
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::None => Self::None,
            Ordering::Key => Self::Key,
            Ordering::Endpoint => Self::Endpoint,
        }
    }
}

impl From<OrderingJson> for Ordering {
    fn from(json: OrderingJson) -> Self {
        match json {
            OrderingJson::None => Self::None,
            OrderingJson::Key => Self::Key,
            OrderingJson::Endpoint => Self::Endpoint,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnDeadJson {
    Skip,
    Hold,
}

impl From<OnDead> for OnDeadJson {
    fn from(on_dead: OnDead) -> Self {
        match on_dead {
            OnDead::Skip => Self::Skip,
            OnDead::Hold => Self::Hold,
        }
    }
}

impl From<OnDeadJson> for OnDead {
    fn from(json: OnDeadJson) -> Self {
        match json {
            OnDeadJson::Skip => Self::Skip,
            OnDeadJson::Hold => Self::Hold,
        }
    }
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct BreakerJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive_failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<u32>,
}

impl BreakerJson {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize, Deserialize)]
struct SigningJson {
    standard: bool,
    harborhook: bool,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&PolicyLayer> for LayerJson {
    fn from(layer: &PolicyLayer) -> Self {
        Self {
            timeout_ms: layer.timeout.map(ms),
            max_attempts: layer.retry.max_attempts,
            backoff: layer.retry.backoff.as_ref().map(BackoffJson::from),
            jitter: layer.retry.jitter,
            max_delay_ms: layer.retry.max_delay.map(ms),
            client_errors: layer.retry.client_errors.map(ClientErrorsJson::from),
            rate_limit: layer.rate_limit.map(RateLimitJson::from),
            max_in_flight: layer.max_in_flight,
            circuit_breaker: BreakerJson::from(&layer.breaker),
            ordering: layer.ordering.map(OrderingJson::from),
            on_dead: layer.on_dead.map(OnDeadJson::from),
            signing: layer
                .signing
                .map(|schemes| SigningJson { standard: schemes.standard, harborhook: schemes.harborhook }),
        }
    }
}

impl From<LayerJson> for PolicyLayer {
    fn from(json: LayerJson) -> Self {
        Self {
            timeout: json.timeout_ms.map(Duration::from_millis),
            retry: RetryLayer {
                max_attempts: json.max_attempts,
                backoff: json.backoff.map(Backoff::from),
                jitter: json.jitter,
                max_delay: json.max_delay_ms.map(Duration::from_millis),
                client_errors: json.client_errors.map(ClientErrors::from),
            },
            rate_limit: json.rate_limit.map(RateLimit::from),
            max_in_flight: json.max_in_flight,
            breaker: BreakerLayer::from(json.circuit_breaker),
            ordering: json.ordering.map(Ordering::from),
            on_dead: json.on_dead.map(OnDead::from),
            signing: json
                .signing
                .map(|schemes| SigningSchemes { standard: schemes.standard, harborhook: schemes.harborhook }),
        }
    }
}

impl From<&BreakerLayer> for BreakerJson {
    fn from(layer: &BreakerLayer) -> Self {
        Self {
            enabled: layer.is_enabled,
            consecutive_failures: layer.consecutive_failures,
            p95_ms: layer.p95.map(ms),
            cooldown_ms: layer.cooldown.map(ms),
            cooldown_max_ms: layer.cooldown_max.map(ms),
            probes: layer.probes,
        }
    }
}

impl From<BreakerJson> for BreakerLayer {
    fn from(json: BreakerJson) -> Self {
        Self {
            is_enabled: json.enabled,
            consecutive_failures: json.consecutive_failures,
            p95: json.p95_ms.map(Duration::from_millis),
            cooldown: json.cooldown_ms.map(Duration::from_millis),
            cooldown_max: json.cooldown_max_ms.map(Duration::from_millis),
            probes: json.probes,
        }
    }
}

impl From<&Backoff> for BackoffJson {
    fn from(backoff: &Backoff) -> Self {
        match backoff {
            Backoff::Schedule(waits) => Self::Schedule { waits_ms: waits.iter().copied().map(ms).collect() },
            Backoff::Exponential { base, factor } => {
                Self::Exponential { base_ms: ms(*base), factor: *factor }
            }
            Backoff::Linear { base, increment } => {
                Self::Linear { base_ms: ms(*base), increment_ms: ms(*increment) }
            }
            Backoff::Fixed(wait) => Self::Fixed { wait_ms: ms(*wait) },
            Backoff::Standard => Self::Standard,
        }
    }
}

impl From<BackoffJson> for Backoff {
    fn from(json: BackoffJson) -> Self {
        let wait = Duration::from_millis;
        match json {
            BackoffJson::Schedule { waits_ms } => Self::Schedule(waits_ms.into_iter().map(wait).collect()),
            BackoffJson::Exponential { base_ms, factor } => Self::Exponential { base: wait(base_ms), factor },
            BackoffJson::Linear { base_ms, increment_ms } => {
                Self::Linear { base: wait(base_ms), increment: wait(increment_ms) }
            }
            BackoffJson::Fixed { wait_ms } => Self::Fixed(wait(wait_ms)),
            BackoffJson::Standard => Self::Standard,
        }
    }
}

impl From<ClientErrors> for ClientErrorsJson {
    fn from(client_errors: ClientErrors) -> Self {
        match client_errors {
            ClientErrors::Retries(granted) => Self::Retries(granted),
            ClientErrors::All => Self::All,
        }
    }
}

impl From<ClientErrorsJson> for ClientErrors {
    fn from(json: ClientErrorsJson) -> Self {
        match json {
            ClientErrorsJson::Retries(granted) => Self::Retries(granted),
            ClientErrorsJson::All => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_survives_its_json() {
        let check = |layer: PolicyLayer| {
            let json = layer_to_json(&layer);
            assert_eq!(layer_from_json(&json).unwrap(), layer, "{json}");
        };
        check(PolicyLayer::default());
        assert_eq!(layer_to_json(&PolicyLayer::default()), "{}");
        let second = Duration::from_secs(1);
        for backoff in [
            Backoff::Schedule(vec![second, second * 5]),
            Backoff::Schedule(vec![]),
            Backoff::Exponential { base: second, factor: 1.1 },
            Backoff::Linear { base: second, increment: second / 4 },
            Backoff::Fixed(second),
            Backoff::Standard,
        ] {
            check(PolicyLayer {
                retry: RetryLayer { backoff: Some(backoff), ..RetryLayer::default() },
                ..PolicyLayer::default()
            });
        }
        for client_errors in [ClientErrors::All, ClientErrors::Retries(3)] {
            check(PolicyLayer {
                timeout: Some(second / 4),
                retry: RetryLayer {
                    max_attempts: Some(9),
                    jitter: Some(0.1),
                    max_delay: Some(second * 7200),
                    client_errors: Some(client_errors),
                    ..RetryLayer::default()
                },
                rate_limit: Some(RateLimit { per_second: 10, burst: 20 }),
                max_in_flight: Some(1),
                breaker: BreakerLayer {
                    is_enabled: Some(false),
                    consecutive_failures: Some(3),
                    p95: Some(second / 2),
                    cooldown: Some(second * 5),
                    cooldown_max: Some(second * 60),
                    probes: Some(2),
                },
                ordering: Some(Ordering::Key),
                on_dead: Some(OnDead::Hold),
                signing: Some(SigningSchemes { standard: true, harborhook: false }),
            });
        }
    }

    #[test]
    fn a_part_of_a_breaker_survives_its_json() {
        let breaker = BreakerLayer { p95: Some(Duration::from_millis(800)), ..BreakerLayer::default() };
        let layer = PolicyLayer { breaker, ..PolicyLayer::default() };
        let json = layer_to_json(&layer);
        assert_eq!(json, r#"{"circuit_breaker":{"p95_ms":800}}"#);
        assert_eq!(layer_from_json(&json).unwrap(), layer);
    }

    #[test]
    fn a_tenants_policy_survives_its_json() {
        let policy = TenantPolicy {
            delivery: PolicyLayer { max_in_flight: Some(3), ..PolicyLayer::default() },
            quota: QuotaLayer { rate: Some(RateLimit { per_second: 5, burst: 9 }), per_day: Some(1_000) },
            retention: RetentionLayer {
                history: Some(Duration::from_secs(3_600)),
                dead_letters: Some(Duration::from_secs(7_200)),
            },
            allow_http: true,
            allowed_subnets: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()].into(),
        };
        assert_eq!(tenant_policy_from_json(&tenant_policy_to_json(&policy)).unwrap(), policy);
    }
}
