//! Ordered lanes as people see and release them.

use async_trait::async_trait;

use crate::id::{EndpointId, TenantId};
use crate::lane::{LaneKey, OrderedLane, Release, Released};
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::time::Timestamp;

/// Shows and releases ordered lanes.
#[async_trait]
pub trait OrderedLanes: Send + Sync {
    /// Lists the lanes of an endpoint that have somebody in them or are held, the youngest first.
    async fn lanes(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        page: PageAsk,
    ) -> Result<Page<OrderedLane>, Fault>;

    /// Lets a lane go on past, or with, its head.
    async fn release_lane(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
        release: Release,
        now: Timestamp,
    ) -> Result<Released, Fault>;
}
