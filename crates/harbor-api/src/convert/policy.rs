//! Policies: a layer as it is set, and the policy in force as it is shown.

use std::time::Duration;

use harbor_model::policy::breaker::BreakerPolicy;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::quota::{Quota, QuotaLayer};
use harbor_model::policy::retention::{Retention, RetentionLayer};
use harbor_model::policy::retry::ClientErrors;
use harbor_model::policy::written::{
    RETENTION_MAX, RetryStrategy, SCHEDULE_WAITS_MAX, SigningScheme, WrittenBreaker, WrittenPolicy,
    WrittenQuota, WrittenRateLimit, WrittenRetention, WrittenRetry, WrittenSigning,
};
use harbor_model::policy::{Origin, Policy, PolicyLayer, RateLimit, SigningSchemes};
use harbor_model::text::{DURATION_MAX, parse_duration_up_to, print_duration};
use harbor_wire::policy as wire;

use crate::convert::checks::Checks;

/// The fields of a policy as the network has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PolicyFields {
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retry: Option<wire::RetrySettings>,
    pub(crate) rate_limit: Option<wire::RateLimit>,
    pub(crate) max_in_flight: Option<u32>,
    pub(crate) circuit_breaker: Option<wire::CircuitBreakerSettings>,
    pub(crate) ordering: Option<wire::Ordering>,
    pub(crate) on_dead: Option<wire::OnDead>,
    pub(crate) signing: Option<wire::Signing>,
}

/// The policy in force as the network has it.
pub(crate) struct Effective {
    pub(crate) timeout_ms: u64,
    pub(crate) retry: wire::RetrySettings,
    pub(crate) rate_limit: Option<wire::RateLimit>,
    pub(crate) max_in_flight: u32,
    pub(crate) circuit_breaker: wire::CircuitBreaker,
    pub(crate) ordering: wire::Ordering,
    pub(crate) on_dead: wire::OnDead,
    pub(crate) signing: wire::Signing,
    pub(crate) origins: wire::PolicyOrigins,
}

/// Reads a layer; none where something breaks a rule, which is noted.
pub(crate) fn read_layer(fields: PolicyFields, checks: &mut Checks) -> Option<PolicyLayer> {
    let written = WrittenPolicy {
        timeout_ms: fields.timeout_ms,
        retry: fields.retry.map(|retry| read_retry(&retry, checks)).unwrap_or_default(),
        rate_limit: fields.rate_limit.map(read_rate_limit).unwrap_or_default(),
        max_in_flight: fields.max_in_flight,
        circuit_breaker: fields
            .circuit_breaker
            .map(|breaker| read_breaker(&breaker, checks))
            .unwrap_or_default(),
        ordering: fields.ordering.map(read_ordering),
        on_dead: fields.on_dead.map(read_on_dead),
        signing: fields.signing.map(|signing| read_signing(&signing)).unwrap_or_default(),
    };
    written.layer(checks.prefix()).map_err(|errors| checks.extend(errors)).ok()
}

/// Reads a quota; none where something breaks a rule, which is noted.
pub(crate) fn read_quota(quota: wire::QuotaSettings, checks: &mut Checks) -> Option<QuotaLayer> {
    let wire::QuotaSettings { per_second, burst, per_day } = quota;
    let written = WrittenQuota { per_second, burst, per_day };
    written.layer(checks.prefix()).map_err(|errors| checks.extend(errors)).ok()
}

/// Reads a retention; none where something breaks a rule, which is noted.
pub(crate) fn read_retention(
    retention: &wire::RetentionSettings,
    checks: &mut Checks,
) -> Option<RetentionLayer> {
    let mut read = |field: &str, text: &Option<String>| {
        read_duration_up_to(RETENTION_MAX, field, text.as_deref(), checks)
    };
    let written = WrittenRetention {
        history: read("retention.history", &retention.history),
        dead_letters: read("retention.dead_letters", &retention.dead_letters),
    };
    written.layer(checks.prefix()).map_err(|errors| checks.extend(errors)).ok()
}

fn read_ordering(ordering: wire::Ordering) -> Ordering {
    match ordering {
        wire::Ordering::None => Ordering::None,
        wire::Ordering::Key => Ordering::Key,
        wire::Ordering::Endpoint => Ordering::Endpoint,
    }
}

fn read_on_dead(on_dead: wire::OnDead) -> OnDead {
    match on_dead {
        wire::OnDead::Skip => OnDead::Skip,
        wire::OnDead::Hold => OnDead::Hold,
    }
}

fn read_retry(retry: &wire::RetrySettings, checks: &mut Checks) -> WrittenRetry {
    let schedule = retry.schedule.as_deref().map(|waits| read_schedule(waits, checks));
    let mut wait =
        |field: &str, text: &Option<String>| text.as_deref().map(|text| read_wait(field, text, checks));
    WrittenRetry {
        max_attempts: retry.max_attempts,
        strategy: retry.strategy.map(read_strategy),
        schedule,
        base: wait("retry.base", &retry.base),
        factor: retry.factor,
        increment: wait("retry.increment", &retry.increment),
        delay: wait("retry.delay", &retry.delay),
        jitter: retry.jitter,
        max_delay: wait("retry.max_delay", &retry.max_delay),
        client_errors: retry.client_errors.map(read_client_errors),
    }
}

fn read_schedule(waits: &[String], checks: &mut Checks) -> Vec<Duration> {
    // One wait too many is all that it takes to be refused for the number of them.
    let waits = waits.iter().take(SCHEDULE_WAITS_MAX + 1).enumerate();
    waits.map(|(n, text)| read_wait(&format!("retry.schedule[{n}]"), text, checks)).collect()
}

/// Reads a wait. Zero stands for one that cannot be read and was noted: the rules must see that the field
/// is given, or they would find it missing as well.
fn read_wait(field: &str, text: &str, checks: &mut Checks) -> Duration {
    read_duration(field, Some(text), checks).unwrap_or_default()
}

/// Reads a duration such as `30s`; at most a year.
pub(crate) fn read_duration(field: &str, text: Option<&str>, checks: &mut Checks) -> Option<Duration> {
    read_duration_up_to(DURATION_MAX, field, text, checks)
}

fn read_duration_up_to(
    max: Duration,
    field: &str,
    text: Option<&str>,
    checks: &mut Checks,
) -> Option<Duration> {
    let read = parse_duration_up_to(text?, max);
    checks.ok(field, read.map_err(|error| format!("{error}, and at most {}", print_duration(max))))
}

fn read_strategy(strategy: wire::RetryStrategy) -> RetryStrategy {
    match strategy {
        wire::RetryStrategy::Schedule => RetryStrategy::Schedule,
        wire::RetryStrategy::Exponential => RetryStrategy::Exponential,
        wire::RetryStrategy::Linear => RetryStrategy::Linear,
        wire::RetryStrategy::Fixed => RetryStrategy::Fixed,
        wire::RetryStrategy::Standard => RetryStrategy::Standard,
    }
}

fn read_client_errors(granted: wire::ClientErrors) -> ClientErrors {
    match granted {
        wire::ClientErrors::Retries(n) => ClientErrors::Retries(n),
        wire::ClientErrors::All(wire::AllWord::All) => ClientErrors::All,
    }
}

fn read_rate_limit(limit: wire::RateLimit) -> WrittenRateLimit {
    WrittenRateLimit { per_second: Some(limit.per_second), burst: limit.burst }
}

fn read_breaker(breaker: &wire::CircuitBreakerSettings, checks: &mut Checks) -> WrittenBreaker {
    WrittenBreaker {
        enabled: breaker.enabled,
        consecutive_failures: breaker.consecutive_failures,
        p95_ms: breaker.p95_ms,
        cooldown: read_duration("circuit_breaker.cooldown", breaker.cooldown.as_deref(), checks),
        cooldown_max: read_duration("circuit_breaker.cooldown_max", breaker.cooldown_max.as_deref(), checks),
        probes: breaker.probes,
    }
}

fn read_signing(signing: &wire::Signing) -> WrittenSigning {
    let read = |scheme: &wire::SigningScheme| match scheme {
        wire::SigningScheme::Standard => SigningScheme::Standard,
        wire::SigningScheme::Harborhook => SigningScheme::Harborhook,
    };
    WrittenSigning { schemes: Some(signing.schemes.iter().map(read).collect()) }
}

/// Writes out a layer as [`read_layer`] reads it.
pub(crate) fn write_layer(layer: &PolicyLayer) -> PolicyFields {
    let (retry, breaker) = (WrittenRetry::from(&layer.retry), WrittenBreaker::from(layer.breaker));
    PolicyFields {
        timeout_ms: layer.timeout.map(millis),
        retry: (retry != WrittenRetry::default()).then(|| write_retry(&retry)),
        rate_limit: layer.rate_limit.map(write_rate_limit),
        max_in_flight: layer.max_in_flight,
        circuit_breaker: (breaker != WrittenBreaker::default()).then(|| write_breaker_layer(breaker)),
        ordering: layer.ordering.map(write_ordering),
        on_dead: layer.on_dead.map(write_on_dead),
        signing: layer.signing.map(write_signing),
    }
}

/// Writes out a quota as [`read_quota`] reads it.
pub(crate) fn write_quota_layer(quota: QuotaLayer) -> Option<wire::QuotaSettings> {
    (quota != QuotaLayer::default()).then(|| wire::QuotaSettings {
        per_second: quota.rate.map(|rate| rate.per_second),
        burst: quota.rate.map(|rate| rate.burst),
        per_day: quota.per_day,
    })
}

/// Writes out a retention as [`read_retention`] reads it.
pub(crate) fn write_retention_layer(retention: RetentionLayer) -> Option<wire::RetentionSettings> {
    (retention != RetentionLayer::default()).then(|| wire::RetentionSettings {
        history: retention.history.map(print_duration),
        dead_letters: retention.dead_letters.map(print_duration),
    })
}

/// Writes out the quota in force, and adds to `origins` where each part came from.
pub(crate) fn write_quota(quota: &Quota, origins: &mut wire::PolicyOrigins) -> wire::Quota {
    let (rate, per_day) = (quota.rate, quota.per_day);
    note_origins(
        origins,
        [("quota.per_second", rate.origin), ("quota.burst", rate.origin), ("quota.per_day", per_day.origin)],
    );
    wire::Quota {
        per_second: rate.value.map(|rate| rate.per_second),
        burst: rate.value.map(|rate| rate.burst),
        per_day: per_day.value,
    }
}

/// Writes out the retention in force, and adds to `origins` where each part came from.
pub(crate) fn write_retention(retention: &Retention, origins: &mut wire::PolicyOrigins) -> wire::Retention {
    let Retention { history, dead_letters } = retention;
    note_origins(
        origins,
        [("retention.history", history.origin), ("retention.dead_letters", dead_letters.origin)],
    );
    wire::Retention {
        history: print_duration(history.value),
        dead_letters: print_duration(dead_letters.value),
    }
}

fn note_origins<const N: usize>(origins: &mut wire::PolicyOrigins, list: [(&str, Origin); N]) {
    origins.extend(list.into_iter().map(|(field, origin)| (field.to_owned(), write_origin(origin))));
}

/// Writes out the policy in force, and where each value came from.
pub(crate) fn write_effective(policy: &Policy) -> Effective {
    let retry = WrittenRetry::from(&policy.retry);
    let (origins, breaker_origins) = (policy.retry_origins, policy.breaker_origins);
    let mut list = vec![
        ("timeout_ms", policy.timeout.origin),
        ("rate_limit", policy.rate_limit.origin),
        ("max_in_flight", policy.max_in_flight.origin),
        ("ordering", policy.ordering.origin),
        ("on_dead", policy.on_dead.origin),
        ("signing", policy.signing.origin),
        ("retry.max_attempts", origins.max_attempts),
        ("retry.strategy", origins.backoff),
        ("retry.jitter", origins.jitter),
        ("retry.max_delay", origins.max_delay),
        ("retry.client_errors", origins.client_errors),
        ("circuit_breaker.enabled", breaker_origins.is_enabled),
        ("circuit_breaker.consecutive_failures", breaker_origins.consecutive_failures),
        ("circuit_breaker.p95_ms", breaker_origins.p95),
        ("circuit_breaker.cooldown", breaker_origins.cooldown),
        ("circuit_breaker.cooldown_max", breaker_origins.cooldown_max),
        ("circuit_breaker.probes", breaker_origins.probes),
    ];
    list.extend(retry.strategy_fields().map(|field| (field, origins.backoff)));
    Effective {
        timeout_ms: millis(policy.timeout.value),
        retry: write_retry(&retry),
        rate_limit: policy.rate_limit.value.map(write_rate_limit),
        max_in_flight: policy.max_in_flight.value,
        circuit_breaker: write_breaker(policy.breaker),
        ordering: write_ordering(policy.ordering.value),
        on_dead: write_on_dead(policy.on_dead.value),
        signing: write_signing(policy.signing.value),
        origins: list.into_iter().map(|(field, origin)| (field.to_owned(), write_origin(origin))).collect(),
    }
}

fn write_retry(retry: &WrittenRetry) -> wire::RetrySettings {
    let schedule = |waits: &Vec<Duration>| waits.iter().copied().map(print_duration).collect();
    wire::RetrySettings {
        max_attempts: retry.max_attempts,
        strategy: retry.strategy.map(write_strategy),
        schedule: retry.schedule.as_ref().map(schedule),
        base: retry.base.map(print_duration),
        factor: retry.factor,
        increment: retry.increment.map(print_duration),
        delay: retry.delay.map(print_duration),
        jitter: retry.jitter,
        max_delay: retry.max_delay.map(print_duration),
        client_errors: retry.client_errors.map(write_client_errors),
    }
}

fn write_strategy(strategy: RetryStrategy) -> wire::RetryStrategy {
    match strategy {
        RetryStrategy::Schedule => wire::RetryStrategy::Schedule,
        RetryStrategy::Exponential => wire::RetryStrategy::Exponential,
        RetryStrategy::Linear => wire::RetryStrategy::Linear,
        RetryStrategy::Fixed => wire::RetryStrategy::Fixed,
        RetryStrategy::Standard => wire::RetryStrategy::Standard,
    }
}

fn write_client_errors(granted: ClientErrors) -> wire::ClientErrors {
    match granted {
        ClientErrors::Retries(n) => wire::ClientErrors::Retries(n),
        ClientErrors::All => wire::ClientErrors::All(wire::AllWord::All),
    }
}

fn write_rate_limit(limit: RateLimit) -> wire::RateLimit {
    wire::RateLimit { per_second: limit.per_second, burst: Some(limit.burst) }
}

fn write_breaker_layer(breaker: WrittenBreaker) -> wire::CircuitBreakerSettings {
    wire::CircuitBreakerSettings {
        enabled: breaker.enabled,
        consecutive_failures: breaker.consecutive_failures,
        p95_ms: breaker.p95_ms,
        cooldown: breaker.cooldown.map(print_duration),
        cooldown_max: breaker.cooldown_max.map(print_duration),
        probes: breaker.probes,
    }
}

fn write_breaker(breaker: BreakerPolicy) -> wire::CircuitBreaker {
    wire::CircuitBreaker {
        enabled: breaker.is_enabled,
        consecutive_failures: breaker.consecutive_failures,
        p95_ms: breaker.p95.map(millis),
        cooldown: print_duration(breaker.cooldown),
        cooldown_max: print_duration(breaker.cooldown_max),
        probes: breaker.probes,
    }
}

fn write_ordering(ordering: Ordering) -> wire::Ordering {
    match ordering {
        Ordering::None => wire::Ordering::None,
        Ordering::Key => wire::Ordering::Key,
        Ordering::Endpoint => wire::Ordering::Endpoint,
    }
}

fn write_on_dead(on_dead: OnDead) -> wire::OnDead {
    match on_dead {
        OnDead::Skip => wire::OnDead::Skip,
        OnDead::Hold => wire::OnDead::Hold,
    }
}

fn write_signing(signing: SigningSchemes) -> wire::Signing {
    let named = [
        (signing.standard, wire::SigningScheme::Standard),
        (signing.harborhook, wire::SigningScheme::Harborhook),
    ];
    wire::Signing { schemes: named.into_iter().filter(|(signs, _)| *signs).map(|(_, name)| name).collect() }
}

fn write_origin(origin: Origin) -> wire::PolicyOrigin {
    match origin {
        Origin::Default => wire::PolicyOrigin::Default,
        Origin::Instance => wire::PolicyOrigin::Instance,
        Origin::Tenant => wire::PolicyOrigin::Tenant,
        Origin::Endpoint => wire::PolicyOrigin::Endpoint,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
