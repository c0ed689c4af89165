//! Policies: how a delivery is tried, set for the instance, the tenant and the endpoint.
//!
//! A layer sets some fields; [`Policy::resolve`] takes each field from the nearest layer that
//! sets it and remembers which one that was.

pub mod breaker;
pub mod order;
pub mod quota;
pub mod retention;
pub mod retry;
pub mod written;

use std::time::Duration;

use crate::policy::breaker::{BreakerLayer, BreakerPolicy};
use crate::policy::order::{OnDead, Ordering};
use crate::policy::quota::QuotaLayer;
use crate::policy::retention::RetentionLayer;
use crate::policy::retry::{ClientErrors, RetryLayer, RetryPolicy};

/// What one layer sets. A field that is `None` is inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyLayer {
    /// The time for one attempt, from connecting to the end of the headers.
    pub timeout: Option<Duration>,
    /// When to try again.
    pub retry: RetryLayer,
    /// The most requests per second to one endpoint.
    pub rate_limit: Option<RateLimit>,
    /// The most requests in flight to one endpoint at a time.
    pub max_in_flight: Option<u32>,
    /// When the endpoint is left alone for a while.
    pub breaker: BreakerLayer,
    /// What deliveries are ordered by.
    pub ordering: Option<Ordering>,
    /// What becomes of an ordered lane whose head is dead.
    pub on_dead: Option<OnDead>,
    /// Which signatures a request carries.
    pub signing: Option<SigningSchemes>,
}

/// What the instance sets for all tenants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstancePolicy {
    /// How deliveries are tried.
    pub delivery: PolicyLayer,
    /// How much each tenant may publish.
    pub quota: QuotaLayer,
    /// How long what happened is kept.
    pub retention: RetentionLayer,
}

/// A token bucket: `per_second` refills it up to `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per second over a long time; at least 1.
    pub per_second: u32,
    /// Requests that may go at once after a quiet time; at least 1.
    pub burst: u32,
}

/// Which signature schemes sign a request; at least one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningSchemes {
    /// Standard Webhooks: `webhook-signature`.
    pub standard: bool,
    /// Harborhook's own: `x-harborhook-signature`.
    pub harborhook: bool,
}

/// The layer that a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The instance's settings.
    Instance,
    /// The tenant's policy.
    Tenant,
    /// The endpoint itself.
    Endpoint,
}

/// A value and the layer that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value in force.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// The value of the nearer of two layers that sets one.
    pub(crate) fn of_tenant(tenant: Option<T>, instance: Option<T>, default: T) -> Self {
        match (tenant, instance) {
            (Some(value), _) => Self { value, origin: Origin::Tenant },
            (None, Some(value)) => Self { value, origin: Origin::Instance },
            (None, None) => Self { value: default, origin: Origin::Default },
        }
    }
}

/// The policy in force for one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// See [`PolicyLayer::timeout`].
    pub timeout: Sourced<Duration>,
    /// See [`PolicyLayer::retry`].
    pub retry: RetryPolicy,
    /// Where the parts of `retry` came from.
    pub retry_origins: RetryOrigins,
    /// See [`PolicyLayer::rate_limit`]; none where no layer sets one.
    pub rate_limit: Sourced<Option<RateLimit>>,
    /// See [`PolicyLayer::max_in_flight`].
    pub max_in_flight: Sourced<u32>,
    /// See [`PolicyLayer::breaker`].
    pub breaker: BreakerPolicy,
    /// Where the parts of `breaker` came from.
    pub breaker_origins: BreakerOrigins,
    /// See [`PolicyLayer::ordering`].
    pub ordering: Sourced<Ordering>,
    /// See [`PolicyLayer::on_dead`].
    pub on_dead: Sourced<OnDead>,
    /// See [`PolicyLayer::signing`].
    pub signing: Sourced<SigningSchemes>,
}

/// Where each part of a [`BreakerPolicy`] came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOrigins {
    /// Of `is_enabled`.
    pub is_enabled: Origin,
    /// Of `consecutive_failures`.
    pub consecutive_failures: Origin,
    /// Of `p95`.
    pub p95: Origin,
    /// Of `cooldown`.
    pub cooldown: Origin,
    /// Of `cooldown_max`.
    pub cooldown_max: Origin,
    /// Of `probes`.
    pub probes: Origin,
}

/// Where each part of a [`RetryPolicy`] came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOrigins {
    /// Of `max_attempts`.
    pub max_attempts: Origin,
    /// Of `backoff`.
    pub backoff: Origin,
    /// Of `jitter`.
    pub jitter: Origin,
    /// Of `max_delay`.
    pub max_delay: Origin,
    /// Of `client_errors`.
    pub client_errors: Origin,
}

/// The layers that bear on one endpoint, farthest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The instance's settings.
    pub instance: &'a PolicyLayer,
    /// The tenant's policy.
    pub tenant: &'a PolicyLayer,
    /// The endpoint's own.
    pub endpoint: &'a PolicyLayer,
}

impl Layers<'_> {
    /// The value of the nearest layer that sets one.
    fn nearest<T>(self, field: impl Fn(&PolicyLayer) -> Option<T>, default: T) -> Sourced<T> {
        let layers = [
            (self.endpoint, Origin::Endpoint),
            (self.tenant, Origin::Tenant),
            (self.instance, Origin::Instance),
        ];
        for (layer, origin) in layers {
            if let Some(value) = field(layer) {
                return Sourced { value, origin };
            }
        }
        Sourced { value: default, origin: Origin::Default }
    }
}

/// The time for an attempt where no layer sets one.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The requests in flight to an endpoint where no layer sets a limit.
pub const MAX_IN_FLIGHT_DEFAULT: u32 = 32;

/// Both schemes sign where no layer chooses.
pub const SIGNING_DEFAULT: SigningSchemes = SigningSchemes { standard: true, harborhook: true };

impl Policy {
    /// Takes each field from the nearest layer that sets it.
    pub fn resolve(layers: Layers<'_>) -> Self {
        let backoff = layers.nearest(|l| l.retry.backoff.clone(), retry::Backoff::default_schedule());
        let max_attempts = layers.nearest(|l| l.retry.max_attempts, backoff.value.max_attempts_default());
        let jitter = layers.nearest(|l| l.retry.jitter, retry::JITTER_DEFAULT);
        let max_delay = layers.nearest(|l| l.retry.max_delay, backoff.value.max_delay_default());
        let client_errors = layers.nearest(|l| l.retry.client_errors, ClientErrors::DEAD_AT_ONCE);
        let (breaker, breaker_origins) = resolve_breaker(layers);
        Self {
            timeout: layers.nearest(|l| l.timeout, TIMEOUT_DEFAULT),
            retry_origins: RetryOrigins {
                max_attempts: max_attempts.origin,
                backoff: backoff.origin,
                jitter: jitter.origin,
                max_delay: max_delay.origin,
                client_errors: client_errors.origin,
            },
            retry: RetryPolicy {
                max_attempts: max_attempts.value,
                backoff: backoff.value,
                jitter: jitter.value,
                max_delay: max_delay.value,
                client_errors: client_errors.value,
            },
            rate_limit: layers.nearest(|l| l.rate_limit.map(Some), None),
            max_in_flight: layers.nearest(|l| l.max_in_flight, MAX_IN_FLIGHT_DEFAULT),
            breaker,
            breaker_origins,
            ordering: layers.nearest(|l| l.ordering, Ordering::None),
            on_dead: layers.nearest(|l| l.on_dead, OnDead::Skip),
            signing: layers.nearest(|l| l.signing, SIGNING_DEFAULT),
        }
    }
}

fn resolve_breaker(layers: Layers<'_>) -> (BreakerPolicy, BreakerOrigins) {
    let default = BreakerPolicy::DEFAULT;
    let is_enabled = layers.nearest(|l| l.breaker.is_enabled, default.is_enabled);
    let consecutive_failures =
        layers.nearest(|l| l.breaker.consecutive_failures, default.consecutive_failures);
    let p95 = layers.nearest(|l| l.breaker.p95.map(Some), default.p95);
    let cooldown = layers.nearest(|l| l.breaker.cooldown, default.cooldown);
    let cooldown_max = layers.nearest(|l| l.breaker.cooldown_max, default.cooldown_max);
    let probes = layers.nearest(|l| l.breaker.probes, default.probes);
    let policy = BreakerPolicy {
        is_enabled: is_enabled.value,
        consecutive_failures: consecutive_failures.value,
        p95: p95.value,
        cooldown: cooldown.value,
        cooldown_max: cooldown_max.value,
        probes: probes.value,
    };
    let origins = BreakerOrigins {
        is_enabled: is_enabled.origin,
        consecutive_failures: consecutive_failures.origin,
        p95: p95.origin,
        cooldown: cooldown.origin,
        cooldown_max: cooldown_max.origin,
        probes: probes.origin,
    };
    (policy, origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_layer_wins_field_by_field() {
        let instance = PolicyLayer { timeout: Some(Duration::from_secs(9)), ..PolicyLayer::default() };
        let tenant = PolicyLayer {
            timeout: Some(Duration::from_secs(5)),
            retry: RetryLayer { max_attempts: Some(7), ..RetryLayer::default() },
            ..PolicyLayer::default()
        };
        let endpoint = PolicyLayer {
            retry: RetryLayer { jitter: Some(0.0), ..RetryLayer::default() },
            max_in_flight: Some(1),
            ..PolicyLayer::default()
        };

        let policy = Policy::resolve(Layers { instance: &instance, tenant: &tenant, endpoint: &endpoint });

        assert_eq!(policy.timeout, Sourced { value: Duration::from_secs(5), origin: Origin::Tenant });
        assert_eq!((policy.retry.max_attempts, policy.retry_origins.max_attempts), (7, Origin::Tenant));
        assert_eq!((policy.retry.jitter, policy.retry_origins.jitter), (0.0, Origin::Endpoint));
        assert_eq!(policy.retry_origins.backoff, Origin::Default);
        assert_eq!(policy.max_in_flight, Sourced { value: 1, origin: Origin::Endpoint });
        assert_eq!(policy.rate_limit, Sourced { value: None, origin: Origin::Default });
    }
}
