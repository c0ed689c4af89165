//! What people do about single deliveries, events and lanes while they are under way.

use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::delivery::{Delivery, DeliveryStatus};
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::lane::{LaneKey, Release, Released};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::interventions::{Intervened, Interventions as Port};
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::time::Clock;

/// What intervening needs.
#[derive(Clone)]
pub struct Deps {
    /// Carries it out on deliveries and events.
    pub interventions: Arc<dyn Port>,
    /// Carries it out on lanes.
    pub lanes: Arc<dyn OrderedLanes>,
    /// Wakes whoever delivers.
    pub handoff: Arc<dyn Handoff>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
}

/// Says why nothing is done about a delivery.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InterventionRefusal {
    /// There is no such delivery.
    #[error("the delivery does not exist")]
    NotFound,
    /// It has ended.
    #[error("the delivery has ended: it is {0}")]
    Final(DeliveryStatus),
    /// It waits behind another one in its ordered lane.
    #[error("the delivery waits behind another one in its ordered lane")]
    Behind,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Says why a lane is not released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReleaseRefusal {
    /// There is no such lane: nobody is in it.
    #[error("the lane does not exist: no delivery is in it")]
    NotFound,
    /// The dead head cannot be repeated.
    #[error("the payload of the event at the head of the lane is no longer kept")]
    Expired,
    /// There is nobody to deliver to.
    #[error("the endpoint of the lane is deleted or disabled")]
    NoEndpoint,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Says why a payload is not expunged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExpungeRefusal {
    /// There is no such event.
    #[error("the event does not exist")]
    NotFound,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Intervenes in what is under way.
#[derive(Clone)]
pub struct Interventions {
    deps: Deps,
}

impl Interventions {
    /// With what it needs.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Tries an open delivery now instead of at its next time. One that is in flight is left as it is.
    ///
    /// # Errors
    /// There is no such delivery, it has ended, or it is not its turn.
    pub async fn retry(&self, tenant: &TenantId, id: DeliveryId) -> Result<Delivery, InterventionRefusal> {
        let done = self.deps.interventions.retry_now(tenant, id, self.deps.clock.now()).await?;
        self.settle(done)
    }

    /// Calls an open delivery off at once, whoever holds it.
    ///
    /// # Errors
    /// There is no such delivery, or it has ended.
    pub async fn cancel(&self, tenant: &TenantId, id: DeliveryId) -> Result<Delivery, InterventionRefusal> {
        let done = self.deps.interventions.cancel(tenant, id, self.deps.clock.now()).await?;
        self.settle(done)
    }

    /// Lets a lane go on past its head. Answers the head, where it is still kept.
    ///
    /// # Errors
    /// Nobody is in the lane, or it has no endpoint any more.
    pub async fn skip_lane(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
    ) -> Result<Option<DeliveryId>, ReleaseRefusal> {
        self.release(tenant, endpoint, key, Release::Skip).await
    }

    /// Tries the head of a lane now; one that is dead, by a replay that takes its place. Answers the delivery
    /// that is tried.
    ///
    /// # Errors
    /// Nobody is in the lane, its dead head cannot be repeated, or it has no endpoint any more.
    pub async fn retry_lane(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
    ) -> Result<Option<DeliveryId>, ReleaseRefusal> {
        let replay = DeliveryId::new(self.deps.clock.now(), &*self.deps.rng);
        self.release(tenant, endpoint, key, Release::Retry(replay)).await
    }

    /// Removes the payload of an event for good. Doing it again changes nothing.
    ///
    /// # Errors
    /// There is no such event.
    pub async fn expunge(&self, tenant: &TenantId, id: EventId) -> Result<(), ExpungeRefusal> {
        let is_found = self.deps.interventions.expunge(tenant, id, self.deps.clock.now()).await?;
        if is_found { Ok(()) } else { Err(ExpungeRefusal::NotFound) }
    }

    fn settle(&self, done: Intervened) -> Result<Delivery, InterventionRefusal> {
        match done {
            Intervened::Done(delivery) => {
                // Also after a cancel: the next one of its lane may be due by it.
                self.announce(&delivery.tenant_id, delivery.endpoint_id);
                Ok(delivery)
            }
            Intervened::Missing => Err(InterventionRefusal::NotFound),
            Intervened::Final(status) => Err(InterventionRefusal::Final(status)),
            Intervened::Behind => Err(InterventionRefusal::Behind),
        }
    }

    async fn release(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
        release: Release,
    ) -> Result<Option<DeliveryId>, ReleaseRefusal> {
        let now = self.deps.clock.now();
        match self.deps.lanes.release_lane(tenant, endpoint, key, release, now).await? {
            Released::Done(head) => {
                self.announce(tenant, endpoint);
                Ok(head)
            }
            Released::Missing => Err(ReleaseRefusal::NotFound),
            Released::Expired => Err(ReleaseRefusal::Expired),
            Released::NoEndpoint => Err(ReleaseRefusal::NoEndpoint),
        }
    }

    fn announce(&self, tenant: &TenantId, endpoint_id: EndpointId) {
        self.deps.handoff.announce(&[EndpointKey { tenant_id: tenant.clone(), endpoint_id }]);
    }
}

#[cfg(test)]
mod tests;
