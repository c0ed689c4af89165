//! What people do to single deliveries and events while they are under way.

use async_trait::async_trait;

use crate::delivery::{Delivery, DeliveryStatus};
use crate::id::{DeliveryId, EventId, TenantId};
use crate::port::Fault;
use crate::time::Timestamp;

/// Intervenes in what is under way.
#[async_trait]
pub trait Interventions: Send + Sync {
    /// Makes an open delivery due now instead of at its next time. One that is in flight is left as it is.
    async fn retry_now(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp)
    -> Result<Intervened, Fault>;

    /// Cancels an open delivery at once, whoever holds it: what comes of a request under way is kept as
    /// superseded. The next one of its lane goes.
    async fn cancel(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Intervened, Fault>;

    /// Removes the payload of an event and its relayed headers for good. Its open deliveries die at once
    /// with cause `event_expired`. Doing it again changes nothing. False where there is no such event.
    async fn expunge(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<bool, Fault>;
}

/// What came of intervening in a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum Intervened {
    /// It is done; the delivery as it is now.
    Done(Delivery),
    /// There is no such delivery.
    Missing,
    /// It has ended.
    Final(DeliveryStatus),
    /// It waits behind another one in its ordered lane, and goes after that one.
    Behind,
}
