//! Tenants, endpoints and subscriptions: how the ports answer. The rows are in the modules below.

mod endpoints;
mod subscriptions;
mod tenants;

use harbor_model::directory::TenantSnapshot;
use harbor_model::id::TenantId;
use harbor_model::port::registry::Change;
use rusqlite::Connection;

use crate::directory::{DirectoryCache, InstanceLayer, TenantRows};
use crate::sqlite::keyring::Keyring;
use crate::sqlite::trouble::Trouble;

/// A change with the version of the directory that it made; none where it changed nothing.
pub(crate) struct Changed<T> {
    pub(crate) change: Change<T>,
    pub(crate) directory_version: Option<u64>,
}

impl<T> Changed<T> {
    /// Nothing was changed.
    fn not(change: Change<T>) -> Self {
        Self { change, directory_version: None }
    }

    /// It is done, and the directory is at this version now.
    fn done(value: T, directory_version: u64) -> Self {
        Self { change: Change::Done(value), directory_version: Some(directory_version) }
    }

    /// Makes every later publish and delivery obey the change.
    fn tell(&self, directory: &DirectoryCache, id: &TenantId) {
        if let Some(version) = self.directory_version {
            directory.observe(id, version);
        }
    }
}

/// How a row stands to a change that expects a version of it.
enum Guard {
    Fits,
    Missing,
    Conflict,
}

impl Guard {
    /// Holds the version that is stored, if any, against the one that is expected, if any.
    fn check(stored: Option<u64>, expected: Option<u64>) -> Self {
        match (stored, expected) {
            (None, _) => Self::Missing,
            (Some(stored), Some(expected)) if stored != expected => Self::Conflict,
            (Some(_), _) => Self::Fits,
        }
    }
}

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
        tenant,
        directory_version,
    };
    Ok(Some(rows.into_snapshot(instance)))
}
