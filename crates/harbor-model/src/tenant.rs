//! Tenants: the boundary of isolation.

use std::sync::Arc;

use ipnet::IpNet;

use crate::id::TenantId;
use crate::policy::PolicyLayer;
use crate::policy::quota::QuotaLayer;
use crate::policy::retention::RetentionLayer;
use crate::time::Timestamp;

/// One customer of the team that runs the instance, or one team of many.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Names it.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// What it sets for all its endpoints.
    pub policy: TenantPolicy,
    /// Raised by every change of the tenant itself; guards changes against each other.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What the operator sets for a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantPolicy {
    /// How its deliveries are tried.
    pub delivery: PolicyLayer,
    /// How much it may publish.
    pub quota: QuotaLayer,
    /// How long what happened to it is kept.
    pub retention: RetentionLayer,
    /// Whether its endpoints may have plain `http` URLs.
    pub allow_http: bool,
    /// Subnets that its endpoints may lie in though they are not public.
    pub allowed_subnets: Arc<[IpNet]>,
}
