//! Circuit breakers as all workers share them.
//!
//! Each worker counts failures by itself; what it makes of them is shared: an endpoint has at most one
//! row, which stands while its breaker is not closed and is changed by compare-and-set. So all workers
//! leave an endpoint alone together, and one of them probes it.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::{EndpointId, TenantId, WorkerId};
use crate::port::Fault;
use crate::port::deliveries::EndpointKey;
use crate::time::Timestamp;

/// Keeps the breakers that are not closed.
#[async_trait]
pub trait Breakers: Send + Sync {
    /// Opens the breaker of an endpoint that is closed. Answers the breaker in force afterwards: this one,
    /// or that of a worker that was first. None where the endpoint no longer exists.
    async fn open_breaker(
        &self,
        key: &EndpointKey,
        opening: BreakerChange,
    ) -> Result<Option<OpenBreaker>, Fault>;

    /// Puts `change` in place of the breaker that has this version; without a change, closes it. Answers the
    /// breaker in force afterwards, whoever made it so; none where it is closed.
    async fn change_breaker(
        &self,
        key: &EndpointKey,
        version: u64,
        change: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault>;

    /// All breakers that are not closed, of all tenants; at most [`BREAKERS_LISTED_MAX`].
    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault>;

    /// The breaker of one endpoint; none where it is closed.
    async fn find_breaker(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
    ) -> Result<Option<OpenBreaker>, Fault>;
}

/// The most open breakers that are read at a time. Those beyond are counted by each worker for itself.
pub const BREAKERS_LISTED_MAX: usize = 20_000;

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Of which endpoint.
    pub key: EndpointKey,
    /// Raised by every change.
    pub version: u64,
    /// Since when the endpoint is left alone, through all probes that failed.
    pub opened_at: Timestamp,
    /// How it stands.
    pub change: BreakerChange,
}

impl OpenBreaker {
    /// How it stands.
    pub fn state(&self) -> BreakerState {
        match self.change.prober {
            None => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

/// How a circuit breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Lets deliveries through.
    Closed,
    /// Lets nothing through.
    Open,
    /// One worker probes.
    HalfOpen,
}

impl BreakerState {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a worker makes of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerChange {
    /// When this was decided.
    pub decided_at: Timestamp,
    /// When a worker may probe. While one does: when another may take its place.
    pub probe_at: Timestamp,
    /// The wait that ends, or ended, at `probe_at`; each probe that fails doubles it.
    pub cooldown: Duration,
    /// Who probes: the breaker is half open. None: it is open.
    pub prober: Option<WorkerId>,
}
