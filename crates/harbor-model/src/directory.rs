//! The directory: what publish and delivery need to know of one tenant, as one immutable snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::AddressPolicy;
use crate::decide::fan_out::Routes;
use crate::endpoint::Endpoint;
use crate::id::{EndpointId, SourceId};
use crate::policy::Policy;
use crate::policy::quota::Quota;
use crate::source::Source;
use crate::tenant::Tenant;

/// Everything that publish and delivery need to know of one tenant, at one version.
#[derive(Debug)]
pub struct TenantSnapshot {
    /// The tenant itself.
    pub tenant: Tenant,
    /// Raised in the transaction of every change of the tenant, its endpoints or subscriptions.
    pub version: u64,
    /// Which addresses its endpoints may have.
    pub addresses: AddressPolicy,
    /// How much it may publish.
    pub quota: Quota,
    /// Its endpoints.
    pub endpoints: HashMap<EndpointId, Arc<EndpointView>>,
    /// Its subscriptions.
    pub routes: Routes,
    /// Its inbound doors.
    pub sources: HashMap<SourceId, Arc<Source>>,
}

/// One endpoint as the engine sees it.
#[derive(Debug)]
pub struct EndpointView {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The policy in force.
    pub policy: Policy,
}
