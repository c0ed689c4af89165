//! Tenants, endpoints and subscriptions: how the ports answer. The rows are in the modules below.

mod endpoints;
pub(crate) mod sources;
pub(crate) mod subscriptions;
mod tenants;

use harbor_model::directory::TenantSnapshot;
use harbor_model::id::TenantId;
use rusqlite::Connection;

use crate::directory::{InstanceLayer, TenantRows};
use crate::keyring::Keyring;
use crate::sqlite::trouble::Trouble;

/// Reads everything that the directory knows of a tenant.
pub(crate) fn load_snapshot(
    conn: &Connection,
    keyring: &Keyring,
    instance: &InstanceLayer,
    id: &TenantId,
) -> Result<Option<TenantSnapshot>, Trouble> {
    let Some((number, directory_version, tenant)) = tenants::find_with_directory(conn, id)? else {
        return Ok(None);
    };
    let rows = TenantRows {
        endpoints: endpoints::of_tenant(conn, keyring, number, id)?,
        subscriptions: subscriptions::of_tenant(conn, number)?,
        sources: sources::of_tenant(conn, keyring, number, id)?,
        tenant,
        directory_version,
    };
    Ok(Some(rows.into_snapshot(instance)))
}
