//! Deliveries at work: who holds which, and what came of each attempt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::Attempt;
use crate::decide::retry::Next;
use crate::endpoint::DisabledReason;
use crate::event::EventBody;
use crate::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use crate::policy::order::OnDead;
use crate::port::Fault;
use crate::time::Timestamp;

/// The work of delivering: name what is due, lease it, give it back or record what came of it.
///
/// The store is never asked "what is due?" over all tenants: one order over all would let one
/// tenant's backlog stand before everybody. It names endpoints; fairness is the caller's.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Names endpoints with deliveries due at `now`, in an order of the store's own that stays the same,
    /// after `after`; at most `limit`. Fewer than `limit` means that the walk is complete.
    ///
    /// An endpoint whose due deliveries are all leased may be named; one with unleased ones always is.
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault>;

    /// Leases to `worker`, for each ask, at most its count of the deliveries of that endpoint due
    /// at `now` that nobody holds, the longest due first. Nothing is lent to a worker that is not enlisted.
    async fn lease(&self, worker: WorkerId, now: Timestamp, asks: Vec<LeaseAsk>)
    -> Result<Vec<Lease>, Fault>;

    /// Reads what requests need of these events, in their order; none for one that is no longer kept.
    async fn load_events(&self, asks: Vec<(TenantId, EventId)>)
    -> Result<Vec<Option<Arc<EventBody>>>, Fault>;

    /// Records each attempt and moves its delivery on, in one transaction; one answer per item.
    ///
    /// If a lease was lost, keeps the attempt as superseded and leaves the delivery to its new holder.
    /// On a fault the lease is given back and the attempt is not counted.
    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>>;

    /// Notes that an attempt begins, for a delivery that was interrupted before: should its worker die,
    /// this one is to blame. False where the lease was lost.
    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault>;

    /// Whether a lease still stands: whoever waited with it asks before the request goes out, so that what
    /// was cancelled meanwhile is not sent. A store need not look again for a lease that is younger than
    /// [`LEASE_TRUSTED`].
    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault>;

    /// The leases that the store believes `worker` to hold.
    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault>;

    /// How much waits and since when.
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault>;
}

/// So long after it was lent a lease may be used without asking whether it still stands.
pub const LEASE_TRUSTED: Duration = Duration::from_secs(1);

/// An endpoint with its tenant: what lanes are named by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The endpoint.
    pub endpoint_id: EndpointId,
}

/// An endpoint that has deliveries due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEndpoint {
    /// Which.
    pub key: EndpointKey,
    /// When the longest due of them became due.
    pub oldest_due_at: Timestamp,
    /// The version of the tenant's directory.
    pub directory_version: u64,
}

/// Asks for deliveries of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Of which endpoint.
    pub key: EndpointKey,
    /// How many at most.
    pub count: usize,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that are due and not final, counted up to [`BACKLOG_COUNTED_MAX`].
    pub due: u64,
    /// When the longest due of them became due.
    pub oldest_due_at: Option<Timestamp>,
    /// When the next one becomes due that is not yet.
    pub next_due_at: Option<Timestamp>,
}

/// How far a backlog is counted: a gauge need not cost a walk over millions.
pub const BACKLOG_COUNTED_MAX: u64 = 100_000;

/// Names a lease: a delivery, its holder and a number that no other lease of it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    /// Whose delivery.
    pub tenant_id: TenantId,
    /// Which delivery.
    pub delivery_id: DeliveryId,
    /// Who holds it.
    pub worker: WorkerId,
    /// Fences off a holder that lost it.
    pub number: u64,
}

/// What a holder knows of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedDelivery {
    /// The endpoint and its tenant.
    pub key: EndpointKey,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The event that is owed.
    pub event_id: EventId,
    /// How many attempts are recorded.
    pub attempt_count: u16,
    /// How many attempts ended with their worker. They are no attempts of the policy.
    pub interrupted_count: u16,
    /// Bytes of the event's payload, for budgets.
    pub payload_bytes: u64,
    /// When the delivery was made.
    pub created_at: Timestamp,
    /// The delivery that this one repeats.
    pub replay_of: Option<DeliveryId>,
    /// Whether the receiver is to take it for a new webhook rather than a repeat.
    pub new_webhook_id: bool,
    /// Whether it stands in an ordered lane: another one may be due once it ends.
    pub is_ordered: bool,
    /// The version of the tenant's directory.
    pub directory_version: u64,
}

/// The right to try one delivery. Dropping it unused gives it back.
pub struct Lease {
    /// What is known of the delivery.
    pub delivery: LeasedDelivery,
    key: LeaseKey,
    keeper: Option<Arc<dyn LeaseKeeper>>,
}

/// Takes back leases that are dropped. Must not block.
pub trait LeaseKeeper: Send + Sync {
    /// Frees the delivery for whoever asks next.
    fn give_back(&self, key: LeaseKey);
}

impl Lease {
    /// Hands out a lease. For stores alone.
    pub fn new(
        delivery: LeasedDelivery,
        worker: WorkerId,
        number: u64,
        keeper: Arc<dyn LeaseKeeper>,
    ) -> Self {
        let key = LeaseKey {
            tenant_id: delivery.key.tenant_id.clone(),
            delivery_id: delivery.delivery_id,
            worker,
            number,
        };
        Self { delivery, key, keeper: Some(keeper) }
    }

    /// Names the lease.
    pub fn key(&self) -> &LeaseKey {
        &self.key
    }

    /// Ends the lease without giving it back: its end is recorded. For stores alone.
    pub fn settle(mut self) {
        self.keeper = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.give_back(self.key.clone());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} by {} as {})", self.key.delivery_id, self.key.worker, self.key.number)
    }
}

/// What came of one attempt, and what follows from it.
#[derive(Debug)]
pub struct AttemptResult {
    /// The right to say so.
    pub lease: Lease,
    /// What was tried; none where the delivery ended without a request.
    pub attempt: Option<Attempt>,
    /// Whether the attempt broke off by a fault of ours. It is counted as an interruption, and has no record.
    pub is_interrupted: bool,
    /// What becomes of the delivery.
    pub next: Next,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// What becomes of the lane of an ordered delivery that is dead.
    pub on_dead: OnDead,
    /// What this says of the endpoint, where it is news.
    pub health: Option<HealthNews>,
}

/// What an attempt says of its endpoint. It speaks for one URL: where the endpoint has another one by now,
/// it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthNews {
    /// The version of the endpoint's URL that the attempt used.
    pub url_version: u64,
    /// What it says.
    pub health: Health,
}

/// How an endpoint fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is gone: it is disabled at once.
    Gone,
    /// It fails. It is disabled if it has done nothing else since before this instant.
    Failing {
        /// The instant.
        disable_if_since: Timestamp,
    },
    /// It works: failures before this count for nothing.
    Working,
}

/// What a store made of an [`AttemptResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is recorded and the delivery moved on.
    Recorded {
        /// Why the endpoint was disabled by it, if it was.
        disabled: Option<DisabledReason>,
        /// Whether the next one of its ordered lane is due by it.
        lane_moved: bool,
    },
    /// The lease was lost or the delivery was final; the attempt is kept and counts for nothing.
    Superseded,
}
