//! What the engine tells those who watch it. Calls must be quick and must not block.

use std::time::Duration;

use crate::attempt::ErrorClass;
use crate::delivery::Cause;
use crate::endpoint::DisabledReason;
use crate::id::{EndpointId, TenantId};
use crate::port::breakers::BreakerState;
use crate::source::Provider;

/// Watches the engine, for metrics.
pub trait Observer: Send + Sync {
    /// A publish was answered.
    fn published(&self, seen: PublishSeen<'_>);

    /// A request to a source was answered.
    fn received(&self, seen: ReceiveSeen);

    /// An attempt ended and is recorded.
    fn attempted(&self, seen: AttemptSeen<'_>);

    /// A delivery became final.
    fn ended(&self, seen: EndSeen<'_>);

    /// A transaction of the store's writer ended.
    fn committed(&self, seen: CommitSeen);

    /// The circuit breaker of an endpoint changed, whoever changed it.
    fn breaker_changed(&self, seen: BreakerSeen<'_>);

    /// Endpoints were made to wait by their rate limits.
    fn throttled(&self, seen: ThrottleSeen);

    /// An endpoint was disabled for how it answered.
    fn endpoint_disabled(&self, seen: DisabledSeen<'_>);
}

/// A publish that was answered.
#[derive(Clone, Copy, Debug)]
pub struct PublishSeen<'a> {
    /// Whose.
    pub tenant_id: &'a TenantId,
    /// How it was answered.
    pub result: PublishResult,
    /// From the request in hand to the answer in hand.
    pub took: Duration,
}

/// How a publish was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishResult {
    /// The event is stored.
    Stored,
    /// It was stored before.
    Duplicate,
    /// The caller was refused.
    Refused,
    /// The tenant has published all that its quota allows for now.
    OverQuota,
    /// The store failed.
    Fault,
}

/// A request to a source that was answered.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveSeen {
    /// Whose requests the source takes.
    pub provider: Provider,
    /// How it was answered.
    pub result: ReceiveResult,
}

/// How a request to a source was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReceiveResult {
    /// The event is stored.
    Stored,
    /// It was stored before.
    Duplicate,
    /// It was a handshake, and nothing else.
    Handshake,
    /// It was not verified.
    Unverified,
    /// It came from an address that the source does not take requests from.
    ForeignAddress,
    /// Its body was too large, or did not arrive.
    BadBody,
    /// It was over the source's rate or the tenant's quota.
    OverRate,
    /// It was verified, and could not be taken for another reason.
    Refused,
    /// The store failed.
    Fault,
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct AttemptSeen<'a> {
    /// Whose.
    pub tenant_id: &'a TenantId,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// What failed; none for a success.
    pub error_class: Option<ErrorClass>,
    /// Whether it is tried again.
    pub is_retried: bool,
    /// How long the request took.
    pub took: Duration,
}

/// A delivery that became final.
#[derive(Clone, Copy, Debug)]
pub struct EndSeen<'a> {
    /// Whose.
    pub tenant_id: &'a TenantId,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// Why it is dead; none for one that was delivered.
    pub cause: Option<Cause>,
    /// From the publish, or the replay, to the end.
    pub took: Duration,
}

/// A transaction of the store's writer.
#[derive(Clone, Copy, Debug)]
pub struct CommitSeen {
    /// How many operations it held.
    pub operations: usize,
    /// From its begin to the end of its commit.
    pub took: Duration,
    /// Whether it was committed.
    pub is_committed: bool,
}

/// A circuit breaker that changed.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSeen<'a> {
    /// Whose.
    pub tenant_id: &'a TenantId,
    /// Of which endpoint.
    pub endpoint_id: EndpointId,
    /// How it stands now.
    pub state: BreakerState,
    /// How many are not closed now, as far as is known here.
    pub open_breakers: usize,
}

/// Endpoints that were made to wait by their rate limits.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSeen {
    /// How often that happened since it was last told.
    pub holds: u64,
}

/// An endpoint that was disabled for how it answered.
#[derive(Clone, Copy, Debug)]
pub struct DisabledSeen<'a> {
    /// Whose.
    pub tenant_id: &'a TenantId,
    /// Which.
    pub endpoint_id: EndpointId,
    /// Why.
    pub reason: DisabledReason,
}

/// Watches nothing. For tests and tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn published(&self, _: PublishSeen<'_>) {}
    fn received(&self, _: ReceiveSeen) {}
    fn attempted(&self, _: AttemptSeen<'_>) {}
    fn ended(&self, _: EndSeen<'_>) {}
    fn committed(&self, _: CommitSeen) {}
    fn breaker_changed(&self, _: BreakerSeen<'_>) {}
    fn throttled(&self, _: ThrottleSeen) {}
    fn endpoint_disabled(&self, _: DisabledSeen<'_>) {}
}
