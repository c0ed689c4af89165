//! Sources as people set them up, and the requests that they refused.

use async_trait::async_trait;

use crate::id::{SourceId, TenantId};
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::port::registry::Change;
use crate::source::{Rejected, Source};

/// Keeps sources.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Adds a source; at most `sources_max` for one tenant.
    async fn create_source(&self, source: Source, sources_max: usize) -> Result<Change<Source>, Fault>;

    /// Reads one.
    async fn find_source(&self, tenant: &TenantId, id: SourceId) -> Result<Option<Source>, Fault>;

    /// Lists them, newest first.
    async fn sources(&self, tenant: &TenantId, page: PageAsk) -> Result<Page<Source>, Fault>;

    /// Puts `source` in place of the one that has its id and its version, with the next version.
    async fn update_source(&self, source: Source) -> Result<Change<Source>, Fault>;

    /// Removes one, with what is kept of the requests that it refused. `version` guards where it is given.
    async fn delete_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault>;

    /// Whose source this is; none where there is no such source. It never changes hands.
    async fn owner_of_source(&self, id: SourceId) -> Result<Option<TenantId>, Fault>;
}

/// Keeps the last requests that sources refused.
#[async_trait]
pub trait Rejections: Send + Sync {
    /// Counts refused requests, and keeps the newest of each source: at most
    /// [`REJECTIONS_KEPT`](crate::source::REJECTIONS_KEPT). Those of a source that has gone count for nothing.
    async fn note_rejections(&self, refused: Vec<Refused>) -> Result<(), Fault>;

    /// Lists them, newest first.
    async fn rejections(
        &self,
        tenant: &TenantId,
        source: SourceId,
        page: PageAsk,
    ) -> Result<Page<Rejected>, Fault>;
}

/// What one source refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose source it is.
    pub tenant_id: TenantId,
    /// Which source.
    pub source_id: SourceId,
    /// How many requests it refused.
    pub count: u64,
    /// The newest of them, oldest first.
    pub newest: Vec<Rejected>,
}
