//! Tenants, endpoints and subscriptions: what their changes share. The rows are in the modules below.
//!
//! Every change of a tenant, its endpoints or subscriptions locks the tenant's row, so that one is made
//! after the other; publish and delivery lock nothing of it.

mod endpoints;
pub(crate) mod sources;
mod subscriptions;
mod tenants;

use harbor_model::directory::TenantSnapshot;
use harbor_model::event_type::{EventTypePattern, OPERATIONAL_PREFIX};
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::registry::Change;

use crate::directory::{InstanceLayer, TenantRows};
use crate::keyring::Keyring;
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::rows::{value, whole};
use crate::postgres::trouble::Trouble;
use crate::registry::Changed;

impl PostgresStore {
    /// Makes a change in a transaction, which `make` [commits](done) or drops; every later publish and delivery
    /// obeys it.
    async fn change<T, F>(
        &self,
        doing: &'static str,
        tenant: &TenantId,
        make: impl Fn(Tx) -> F,
    ) -> Result<Change<T>, Fault>
    where
        F: Future<Output = Result<Changed<T>, Trouble>>,
    {
        let changed = retried(doing, async || make(self.database.begin().await?).await).await?;
        changed.tell(&self.directory, tenant);
        Ok(changed.change)
    }
}

/// Makes a change of a tenant durable, with the version of its directory that it makes.
async fn done<T>(tx: Tx, tenant: i64, value: T) -> Result<Changed<T>, Trouble> {
    let directory_version = raise_directory_version(&tx, tenant).await?;
    tx.commit().await?;
    Ok(Changed::done(value, directory_version))
}

/// Whether operational events match a pattern.
fn is_of_watcher(pattern: &EventTypePattern) -> bool {
    pattern.to_string().starts_with(OPERATIONAL_PREFIX)
}

/// Notes anew whether anybody of a tenant subscribes to operational events. Its row is locked.
async fn note_watchers(tx: &Tx, tenant: i64) -> Result<(), Trouble> {
    let sql = "UPDATE tenants SET watched = NOT watched
               WHERE number = $1 AND watched <> EXISTS (
                   SELECT 1 FROM subscriptions WHERE tenant = $1 AND starts_with(pattern, $2))";
    tx.execute(sql, &[&tenant, &OPERATIONAL_PREFIX]).await?;
    Ok(())
}

pub(crate) const FIND_TENANT_NUMBER: &str = "SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL";

/// Reads the number of a tenant that was not deleted.
pub(crate) async fn find_tenant_number(link: &Link, id: &TenantId) -> Result<Option<i64>, Trouble> {
    link.query_opt(FIND_TENANT_NUMBER, &[&id.as_str()]).await?.map(|row| value(&row, 0)).transpose()
}

/// Reads the number of a tenant that was not deleted, and keeps other changes of it waiting until the end of
/// the transaction.
pub(crate) async fn lock_tenant(tx: &Tx, id: &TenantId) -> Result<Option<i64>, Trouble> {
    let sql = "SELECT number FROM tenants WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
    tx.query_opt(sql, &[&id.as_str()]).await?.map(|row| value(&row, 0)).transpose()
}

/// Raises the version of a tenant's directory: publish and delivery have something new to obey. Every
/// process is told when the transaction is committed.
pub(crate) async fn raise_directory_version(tx: &Tx, tenant: i64) -> Result<u64, Trouble> {
    let sql = "WITH raised AS (
            UPDATE tenants SET directory_version = directory_version + 1 WHERE number = $1
            RETURNING id, directory_version)
        SELECT directory_version, pg_notify('harborhook_directory', directory_version || ' ' || id)
        FROM raised";
    let row = tx.query_opt(sql, &[&tenant]).await?;
    whole(&row.expect("a tenant's row outlives its changes"), 0, "directory version")
}

/// Reads everything that the directory knows of a tenant.
///
/// The version comes first: what is read after it is as new or newer, so the version says too little rather
/// than too much, and what was chosen by it is refused as stale.
pub(crate) async fn load_snapshot(
    link: &Link,
    keyring: &Keyring,
    instance: &InstanceLayer,
    id: &TenantId,
) -> Result<Option<TenantSnapshot>, Trouble> {
    let Some((number, directory_version, tenant)) = tenants::find_with_directory(link, id).await? else {
        return Ok(None);
    };
    let rows = TenantRows {
        endpoints: endpoints::of_tenant(link, keyring, number, id).await?,
        subscriptions: subscriptions::of_tenant(link, number).await?,
        sources: sources::of_tenant(link, keyring, number, id).await?,
        tenant,
        directory_version,
    };
    Ok(Some(rows.into_snapshot(instance)))
}
