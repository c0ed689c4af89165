//! The directory port: snapshots out of memory, read anew where a newer version was observed.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;

use crate::sqlite::SqliteStore;
use crate::sqlite::registry::load_snapshot;

#[async_trait]
impl Directory for SqliteStore {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        let load = || {
            let (id, keyring, instance) = (id.clone(), self.keyring.clone(), self.instance.clone());
            self.database.read(move |conn| load_snapshot(conn, &keyring, &instance, &id))
        };
        self.directory.tenant(id, load).await
    }

    fn observe(&self, id: &TenantId, version: u64) {
        self.directory.observe(id, version);
    }
}
