//! What follows later from what people did: replays, and the end of deliveries whose endpoint has gone.

use async_trait::async_trait;

use crate::delivery::Delivery;
use crate::id::{DeliveryId, TenantId};
use crate::port::Fault;
use crate::time::Timestamp;

/// Makes new deliveries of old events.
#[async_trait]
pub trait Replays: Send + Sync {
    /// Makes exactly one new delivery of the event that `replay.of` owed, due at once.
    async fn replay(&self, replay: NewReplay) -> Result<Replayed, Fault>;

    /// Marks an open dead letter as discarded.
    async fn discard(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Discarded, Fault>;
}

/// A replay to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReplay {
    /// Names the new delivery.
    pub id: DeliveryId,
    /// Whose delivery is replayed.
    pub tenant_id: TenantId,
    /// Which delivery is replayed.
    pub of: DeliveryId,
    /// Why, for people.
    pub reason: Option<String>,
    /// Whether the receiver is to take it for a new webhook rather than a repeat.
    pub new_webhook_id: bool,
    /// What makes a repeated request the same one, and until when.
    pub idempotency: Option<(String, Timestamp)>,
    /// When it is made, and due.
    pub now: Timestamp,
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum Replayed {
    /// The new delivery; or the one that the same request made before.
    Made(Delivery),
    /// There is no such delivery.
    Missing,
    /// A replay of it is still under way.
    Open {
        /// That replay.
        by: DeliveryId,
    },
    /// It is itself still under way.
    NotFinal,
    /// The event's payload is no longer kept.
    Expired,
    /// The endpoint is gone or disabled.
    NoEndpoint,
    /// The idempotency key was used for another request.
    KeyReused,
}

/// What came of a discard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum Discarded {
    /// It is discarded, or was already.
    Done(Delivery),
    /// There is no such dead letter.
    Missing,
    /// It was replayed.
    Replayed,
}

/// Small batches of clearing up, off the way of events.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Ends up to `limit` open deliveries whose endpoint was deleted (cancelled), or is or was disabled since
    /// they were made (dead).
    /// Answers how many.
    async fn end_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, Fault>;

    /// Forgets up to `limit` idempotency keys whose window is over. Answers how many.
    async fn forget_keys(&self, now: Timestamp, limit: usize) -> Result<usize, Fault>;

    /// Removes up to about `limit` rows of history, with all that belongs to them, whose retention is over.
    /// What is still needed stays: what is open or scheduled, a dead letter within its time, the head that
    /// holds a lane, and what a job that is still matching may want. Answers how many rows were removed.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, Fault>;

    /// Ends the drain of endpoints where nothing waits any more from before they were resumed. Answers how
    /// many ended.
    async fn end_drains(&self, now: Timestamp, limit: usize) -> Result<usize, Fault>;

    /// Looks after the database itself, where it needs it: makes partitions for the weeks to come and
    /// drops those that nothing is needed of, clears away what vanished quickly. Called every few seconds by one process; cheap where nothing is to be done.
    async fn maintain(&self, now: Timestamp) -> Result<(), Fault>;
}
