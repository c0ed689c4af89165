//! Tenants.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object;
use crate::patch::Patch;
use crate::policy::{
    CircuitBreaker, CircuitBreakerSettings, OnDead, Ordering, PolicyOrigins, Quota, QuotaSettings, RateLimit,
    Retention, RetentionSettings, RetrySettings, Signing,
};

/// A tenant to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "acme", "name": "Acme Ltd", "policy": {"timeout_ms": 10_000}}))]
pub struct CreateTenant {
    /// Names it: `[a-z0-9_-]{1,64}`. Made unless chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    pub id: Option<String>,
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// What it sets for all its endpoints.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub policy: Option<TenantPolicySettings>,
}

/// What is set for a tenant and all its endpoints. What is left out is inherited from the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPolicySettings {
    /// The time for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 300_000)]
    pub timeout_ms: Option<u64>,
    /// When to try again.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySettings>,
    /// The most requests per second to each endpoint.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The most requests in flight to each endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_in_flight: Option<u32>,
    /// When an endpoint is left alone for a while.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerSettings>,
    /// What deliveries of each endpoint are ordered by. `none` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// What becomes of an ordered lane whose head is dead. `skip` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_dead: Option<OnDead>,
    /// Which signatures requests carry.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// How much it may publish.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaSettings>,
    /// How long what happened is kept.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSettings>,
    /// Whether its endpoints may have plain `http` URLs. False unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_http: Option<bool>,
    /// Subnets that its endpoints may lie in though they are not public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100, example = json!(["10.20.0.0/16"]))]
    pub allowed_subnets: Option<Vec<String>>,
}

/// A change of a tenant: a JSON merge patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"name": "Acme GmbH", "policy": {"timeout_ms": null}}))]
pub struct UpdateTenant {
    /// For people.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub name: Patch<String>,
    /// What it sets for all its endpoints; null returns all of it to the inherited values.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<UpdateTenantPolicy>, required = false)]
    pub policy: Patch<UpdateTenantPolicy>,
}

/// A change of a tenant's policy; null returns a field to its inherited value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct UpdateTenantPolicy {
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<u64>, required = false)]
    pub timeout_ms: Patch<u64>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RetrySettings>, required = false)]
    pub retry: Patch<RetrySettings>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RateLimit>, required = false)]
    pub rate_limit: Patch<RateLimit>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<u32>, required = false)]
    pub max_in_flight: Patch<u32>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<CircuitBreakerSettings>, required = false)]
    pub circuit_breaker: Patch<CircuitBreakerSettings>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Ordering>, required = false)]
    pub ordering: Patch<Ordering>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<OnDead>, required = false)]
    pub on_dead: Patch<OnDead>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Signing>, required = false)]
    pub signing: Patch<Signing>,
    /// See the tenant's policy; fields that are not named stay.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<QuotaSettings>, required = false)]
    pub quota: Patch<UpdateQuota>,
    /// See the tenant's policy; fields that are not named stay.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RetentionSettings>, required = false)]
    pub retention: Patch<UpdateRetention>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<bool>, required = false)]
    pub allow_http: Patch<bool>,
    /// See the tenant's policy.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Vec<String>>, required = false)]
    pub allowed_subnets: Patch<Vec<String>>,
}

/// A change of a tenant's quota; null returns a field to its inherited value. A quota that loses its
/// `per_second` loses its `burst` as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateQuota {
    /// See [`QuotaSettings::per_second`].
    #[serde(skip_serializing_if = "Patch::is_kept")]
    pub per_second: Patch<u32>,
    /// See [`QuotaSettings::burst`].
    #[serde(skip_serializing_if = "Patch::is_kept")]
    pub burst: Patch<u32>,
    /// See [`QuotaSettings::per_day`].
    #[serde(skip_serializing_if = "Patch::is_kept")]
    pub per_day: Patch<u64>,
}

/// A change of a tenant's retention; null returns a field to its inherited value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateRetention {
    /// See [`RetentionSettings::history`].
    #[serde(skip_serializing_if = "Patch::is_kept")]
    pub history: Patch<String>,
    /// See [`RetentionSettings::dead_letters`].
    #[serde(skip_serializing_if = "Patch::is_kept")]
    pub dead_letters: Patch<String>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Names it.
    #[schema(example = "acme")]
    pub id: String,
    /// For people.
    #[schema(example = "Acme Ltd")]
    pub name: String,
    /// What is in force for the tenant, and for endpoints that set nothing themselves.
    pub policy: TenantPolicy,
    /// When it was made.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    /// When it last changed.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

/// The policy in force for a tenant and its endpoints that set nothing themselves, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantPolicy {
    /// The time for one attempt.
    #[schema(example = 30_000)]
    pub timeout_ms: u64,
    /// When to try again.
    pub retry: RetrySettings,
    /// The most requests per second to each endpoint; null for no limit.
    #[schema(required)]
    pub rate_limit: Option<RateLimit>,
    /// The most requests in flight to each endpoint.
    #[schema(example = 32)]
    pub max_in_flight: u32,
    /// When an endpoint is left alone for a while.
    pub circuit_breaker: CircuitBreaker,
    /// What deliveries of each endpoint are ordered by.
    pub ordering: Ordering,
    /// What becomes of an ordered lane whose head is dead.
    pub on_dead: OnDead,
    /// Which signatures requests carry.
    pub signing: Signing,
    /// How much it may publish.
    pub quota: Quota,
    /// How long what happened is kept.
    pub retention: Retention,
    /// Whether its endpoints may have plain `http` URLs. The instance may allow them all the same.
    pub allow_http: bool,
    /// Subnets that its endpoints may lie in though they are not public.
    pub allowed_subnets: Vec<String>,
    /// Where each value came from, by the path of its field.
    #[schema(value_type = std::collections::BTreeMap<String, crate::policy::PolicyOrigin>,
        example = json!({"timeout_ms": "default", "retry.max_attempts": "tenant"}))]
    pub policy_origins: PolicyOrigins,
}
