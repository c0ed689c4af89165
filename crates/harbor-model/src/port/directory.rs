//! The directory as publish and delivery ask it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::directory::TenantSnapshot;
use crate::id::TenantId;
use crate::port::Fault;

/// Knows each tenant's snapshot.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The tenant's snapshot, from memory where no newer version was observed; none for an unknown tenant.
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault>;

    /// Says that this version of the tenant's directory exists: an older snapshot is read anew when asked for.
    fn observe(&self, id: &TenantId, version: u64);

    /// Observes the version that the store has now, whoever made it. Where no other process changes the store
    /// there is nothing to ask: what was changed here was observed.
    async fn confirm(&self, _id: &TenantId) -> Result<(), Fault> {
        Ok(())
    }
}
