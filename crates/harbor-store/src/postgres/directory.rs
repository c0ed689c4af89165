//! The directory port: snapshots out of memory, read anew where a newer version was observed.
//!
//! A change raises its tenant's version and tells it to all processes in the same transaction; `hints.rs`
//! hears it. A process that cannot be sure to hear reads anew each time (see
//! [`DirectoryCache::forget_all`](crate::directory::DirectoryCache::forget_all)).

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;

use crate::postgres::PostgresStore;
use crate::postgres::database::retried;
use crate::postgres::registry::load_snapshot;
use crate::postgres::rows::whole;

/// Where changes of directories are told, as `<version> <tenant id>`.
pub(crate) const CHANNEL: &str = "harborhook_directory";

pub(crate) const VERSION: &str = "SELECT directory_version FROM tenants WHERE id = $1 AND deleted_at IS NULL";

#[async_trait]
impl Directory for PostgresStore {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        let load = || {
            retried("read the directory", async || {
                let link = self.database.read().await?;
                load_snapshot(&link, &self.keyring, &self.instance, id).await
            })
        };
        self.directory.tenant(id, load).await
    }

    fn observe(&self, id: &TenantId, version: u64) {
        self.directory.observe(id, version);
    }

    async fn confirm(&self, id: &TenantId) -> Result<(), Fault> {
        let version = retried("confirm the directory", async || {
            let link = self.database.read().await?;
            let row = link.query_opt(VERSION, &[&id.as_str()]).await?;
            row.map(|row| whole(&row, 0, "directory version")).transpose()
        });
        match version.await? {
            Some(version) => self.directory.observe(id, version),
            // The tenant has gone, and with it every version.
            None => self.directory.observe(id, u64::MAX),
        }
        Ok(())
    }
}
