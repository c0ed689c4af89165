//! Whose source is whose, as it was once looked up. A source never changes hands.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use harbor_model::id::{SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::sources::Sources;
use tokio::sync::Semaphore;

/// The most sources that are kept in mind.
const OWNERS_MAX: usize = 100_000;

/// So many look-ups go on at once: anybody can ask for sources that are not there, and those who ask for one that is
/// known do not wait behind them.
const LOOKUPS_MAX: usize = 4;

/// The owners of sources that were asked for.
#[derive(Debug)]
pub(super) struct Owners {
    known: RwLock<HashMap<SourceId, TenantId>>,
    lookups: Semaphore,
}

impl Default for Owners {
    fn default() -> Self {
        Self { known: RwLock::default(), lookups: Semaphore::new(LOOKUPS_MAX) }
    }
}

impl Owners {
    pub(super) fn find(&self, id: SourceId) -> Option<TenantId> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Asks the store; none where there is no such source.
    pub(super) async fn look_up(
        &self,
        sources: &dyn Sources,
        id: SourceId,
    ) -> Result<Option<TenantId>, Fault> {
        let _turn = self.lookups.acquire().await.expect("it is never closed");
        sources.owner_of_source(id).await
    }

    pub(super) fn put(&self, id: SourceId, owner: TenantId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= OWNERS_MAX {
            known.clear();
        }
        known.insert(id, owner);
    }
}
