//! What tenants have published of their quota, counted over all processes that take events.

use async_trait::async_trait;

use crate::id::{TenantId, WorkerId};
use crate::port::Fault;
use crate::time::Timestamp;

/// Keeps the count of the day of each tenant with a quota.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// Adds what this process took since it last said so, and answers what all have taken of the day of
    /// `now`, and how many processes take events. Called every second or so; a process that was not heard
    /// of for [`NODE_SILENT_MS`] is not counted.
    async fn count_usage(
        &self,
        node: WorkerId,
        taken: Vec<(TenantId, u64)>,
        now: Timestamp,
    ) -> Result<Usage, Fault>;
}

/// After so many milliseconds of the database's own clock without a word a process counts for nothing.
pub const NODE_SILENT_MS: i64 = 10_000;

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many processes take events, the one that asks among them.
    pub nodes: usize,
    /// Of the tenants that were named: what all processes have taken today, in their order.
    pub of_day: Vec<u64>,
}
