//! Tenants.

use std::sync::Arc;

use harbor_model::id::TenantId;
use harbor_model::invalid::FieldError;
use harbor_model::policy::quota::Quota;
use harbor_model::policy::retention::Retention;
use harbor_model::policy::{InstancePolicy, Layers, Policy, PolicyLayer};
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_wire::tenant as wire;
use ipnet::IpNet;

use crate::convert::checks::{Checks, NAME_CHARS};
use crate::convert::policy::{
    PolicyFields, read_layer, read_quota, read_retention, write_effective, write_layer, write_quota,
    write_quota_layer, write_retention, write_retention_layer,
};

/// The most subnets that a tenant is allowed.
const SUBNETS_MAX: usize = 100;

/// What a caller says of a tenant.
pub(crate) struct TenantFields {
    pub(crate) id: Option<TenantId>,
    pub(crate) name: String,
    pub(crate) policy: TenantPolicy,
}

/// Reads what a caller says of a tenant.
pub(crate) fn read(tenant: wire::CreateTenant) -> Result<TenantFields, Vec<FieldError>> {
    let mut checks = Checks::default();
    let id = checks.parse("id", tenant.id.as_deref());
    checks.text("name", Some(&tenant.name), NAME_CHARS);
    let mut below = Checks::below("policy.");
    let policy = read_policy(tenant.policy.unwrap_or_default(), &mut below);
    checks.extend(below.finish().err().unwrap_or_default());
    checks.finish()?;
    Ok(TenantFields { id, name: tenant.name, policy })
}

fn read_policy(policy: wire::TenantPolicySettings, checks: &mut Checks) -> TenantPolicy {
    let subnets = policy.allowed_subnets.unwrap_or_default();
    let allowed_subnets = read_subnets(&subnets, checks);
    let fields = PolicyFields {
        timeout_ms: policy.timeout_ms,
        retry: policy.retry,
        rate_limit: policy.rate_limit,
        max_in_flight: policy.max_in_flight,
        circuit_breaker: policy.circuit_breaker,
        ordering: policy.ordering,
        on_dead: policy.on_dead,
        signing: policy.signing,
    };
    TenantPolicy {
        // What breaks a rule is noted in `checks`, and refused with the rest.
        delivery: read_layer(fields, checks).unwrap_or_default(),
        quota: read_quota(policy.quota.unwrap_or_default(), checks).unwrap_or_default(),
        retention: read_retention(&policy.retention.unwrap_or_default(), checks).unwrap_or_default(),
        allow_http: policy.allow_http.unwrap_or(false),
        allowed_subnets,
    }
}

fn read_subnets(texts: &[String], checks: &mut Checks) -> Arc<[IpNet]> {
    if texts.len() > SUBNETS_MAX {
        checks.refuse("allowed_subnets", format!("must have at most {SUBNETS_MAX} subnets"));
        return Arc::default();
    }
    let read = |(n, text): (usize, &String)| {
        let subnet = text.parse::<IpNet>().map_err(|_| "must be a subnet like 10.20.0.0/16");
        Some(checks.ok(&format!("allowed_subnets[{n}]"), subnet)?.trunc())
    };
    texts.iter().enumerate().filter_map(read).collect()
}

/// Writes out what may be changed of a tenant, as [`read`] reads it.
pub(crate) fn write_fields(tenant: &Tenant) -> wire::CreateTenant {
    let policy = &tenant.policy;
    let PolicyFields {
        timeout_ms,
        retry,
        rate_limit,
        max_in_flight,
        circuit_breaker,
        ordering,
        on_dead,
        signing,
    } = write_layer(&policy.delivery);
    wire::CreateTenant {
        id: None,
        name: tenant.name.clone(),
        policy: Some(wire::TenantPolicySettings {
            timeout_ms,
            retry,
            rate_limit,
            max_in_flight,
            circuit_breaker,
            ordering,
            on_dead,
            signing,
            quota: write_quota_layer(policy.quota),
            retention: write_retention_layer(policy.retention),
            allow_http: Some(policy.allow_http),
            allowed_subnets: Some(write_subnets(policy)),
        }),
    }
}

/// Writes out a tenant with the policy in force.
pub(crate) fn write(tenant: &Tenant, instance: &InstancePolicy) -> wire::Tenant {
    let policy = &tenant.policy;
    let layers =
        Layers { instance: &instance.delivery, tenant: &policy.delivery, endpoint: &PolicyLayer::default() };
    let mut effective = write_effective(&Policy::resolve(layers));
    let origins = &mut effective.origins;
    let quota = write_quota(&Quota::resolve(&instance.quota, &policy.quota), origins);
    let retention = write_retention(&Retention::resolve(&instance.retention, &policy.retention), origins);
    wire::Tenant {
        id: tenant.id.to_string(),
        name: tenant.name.clone(),
        policy: wire::TenantPolicy {
            timeout_ms: effective.timeout_ms,
            retry: effective.retry,
            rate_limit: effective.rate_limit,
            max_in_flight: effective.max_in_flight,
            circuit_breaker: effective.circuit_breaker,
            ordering: effective.ordering,
            on_dead: effective.on_dead,
            signing: effective.signing,
            quota,
            retention,
            allow_http: policy.allow_http,
            allowed_subnets: write_subnets(policy),
            policy_origins: effective.origins,
        },
        created_at: tenant.created_at.to_string(),
        updated_at: tenant.updated_at.to_string(),
    }
}

fn write_subnets(policy: &TenantPolicy) -> Vec<String> {
    policy.allowed_subnets.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use harbor_model::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn fields(text: serde_json::Value) -> Result<TenantFields, Vec<String>> {
        let fields = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect();
        read(serde_json::from_value(text).unwrap()).map_err(fields)
    }

    #[test]
    fn every_wrong_field_is_named_below_the_policy() {
        let found = fields(json!({
            "id": "Not An Id", "name": "",
            "policy": {
                "timeout_ms": 1, "allowed_subnets": ["10.0.0.0/8", "everywhere"],
                "quota": {"burst": 5, "per_day": 0}, "retention": {"history": "30s", "dead_letters": "3651d"},
            },
        }));
        let expected = [
            "id",
            "name",
            "policy.allowed_subnets[1]",
            "policy.timeout_ms",
            "policy.quota.burst",
            "policy.quota.per_day",
            "policy.retention.dead_letters",
            "policy.retention.history",
        ];
        assert_eq!(found.err().unwrap(), expected);
    }

    #[test]
    fn what_may_be_changed_survives_its_text() {
        let read_once = fields(json!({
            "name": "Acme",
            "policy": {
                "allow_http": true, "allowed_subnets": ["10.1.2.3/16", "fd00::/8"],
                "retry": {"max_attempts": 2}, "max_in_flight": 3,
                "circuit_breaker": {"cooldown": "10s"}, "ordering": "key", "on_dead": "hold",
                "quota": {"per_second": 7, "per_day": 1_000},
                "retention": {"history": "90s", "dead_letters": "3650d"},
            },
        }));
        let TenantFields { name, policy, .. } = read_once.unwrap();
        let tenant = Tenant {
            id: "acme".parse().unwrap(),
            name,
            policy,
            version: 1,
            created_at: Timestamp::from_unix_ms(0),
            updated_at: Timestamp::from_unix_ms(0),
        };
        let written = write_fields(&tenant);
        assert_eq!(read(written).unwrap().policy, tenant.policy);
        assert_eq!(
            write(&tenant, &InstancePolicy::default()).policy.allowed_subnets,
            ["10.1.0.0/16", "fd00::/8"]
        );
    }
}
