//! The transaction as the operations see it.

use std::collections::HashMap;
use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::keyring::{data_key_place, unwrap_data_key};
use crate::seal::{DataKey, MasterKey, draw_data_key};
use crate::sqlite::trouble::Trouble;

/// What the writer knows of a tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantMark {
    /// What its rows are keyed by.
    pub(crate) number: i64,
    /// The present version of its directory.
    pub(crate) directory_version: u64,
    /// Whether somebody subscribes to operational events: notices are written.
    pub(crate) is_watched: bool,
}

/// The most tenants that the writer remembers.
const TENANTS_REMEMBERED_MAX: usize = 100_000;

/// What the writer remembers between transactions, so that a publish asks for nothing.
///
/// It is forgotten as a whole whenever anything is rolled back: what was learned inside the lost
/// transaction never was.
pub(crate) struct Memory {
    rng: Arc<dyn Rng>,
    tenants: HashMap<TenantId, TenantMark>,
    keys: HashMap<i64, Arc<DataKey>>,
}

impl Memory {
    /// Nothing is remembered. New ids draw from `rng`.
    pub(crate) fn new(rng: Arc<dyn Rng>) -> Self {
        Self { rng, tenants: HashMap::new(), keys: HashMap::new() }
    }

    /// What the ids of rows draw from that the store makes by itself.
    pub(crate) fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    pub(crate) fn forget(&mut self) {
        self.tenants.clear();
        self.keys.clear();
    }
}

/// One transaction of the writer, in which several operations take their turn.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) memory: &'a mut Memory,
    /// Whether each item stands in a savepoint of its own: this transaction has failed before.
    pub(crate) is_careful: bool,
}

impl Tx<'_> {
    /// Does one item of a batch. Its failure fails the whole transaction, which is then done again with
    /// care; there, it is the item's alone.
    pub(crate) fn item<T>(
        &mut self,
        doing: &'static str,
        step: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<Result<T, Fault>, Trouble> {
        if !self.is_careful {
            return step(self).map(Ok);
        }
        self.conn.execute_batch("SAVEPOINT item")?;
        let outcome = step(self);
        if outcome.is_err() {
            self.memory.forget();
            self.conn.execute_batch("ROLLBACK TO item")?;
        }
        self.conn.execute_batch("RELEASE item")?;
        Ok(outcome.map_err(|trouble| trouble.into_fault(doing)))
    }

    /// Finds a tenant that was not deleted.
    pub(crate) fn tenant(&mut self, id: &TenantId) -> Result<Option<TenantMark>, Trouble> {
        if let Some(known) = self.memory.tenants.get(id) {
            return Ok(Some(*known));
        }
        let found = find_tenant_mark(self.conn, id)?;
        if let Some(mark) = found {
            if self.memory.tenants.len() >= TENANTS_REMEMBERED_MAX {
                self.memory.tenants.clear();
            }
            self.memory.tenants.insert(id.clone(), mark);
        }
        Ok(found)
    }

    /// Raises the version of a tenant's directory: publish and delivery have something new to obey.
    pub(crate) fn raise_directory_version(&mut self, id: &TenantId) -> Result<u64, Trouble> {
        let sql = "UPDATE tenants SET directory_version = directory_version + 1 WHERE id = ?1
                   RETURNING number, directory_version, watched";
        let mark = self.conn.prepare_cached(sql)?.query_row([id.as_str()], tenant_mark)?;
        self.memory.tenants.insert(id.clone(), mark);
        Ok(mark.directory_version)
    }

    /// The key that seals the tenant's secrets.
    pub(crate) fn data_key(&mut self, master: &MasterKey, tenant: i64) -> Result<Arc<DataKey>, Trouble> {
        if let Some(known) = self.memory.keys.get(&tenant) {
            return Ok(known.clone());
        }
        let wrapped = load_wrapped_key(self.conn, tenant)?;
        let key = Arc::new(unwrap_data_key(master, tenant, &wrapped)?);
        self.memory.keys.insert(tenant, key.clone());
        Ok(key)
    }

    /// Makes the key that will seal the new tenant's secrets.
    pub(crate) fn make_data_key(
        &mut self,
        master: &MasterKey,
        rng: &dyn Rng,
        tenant: i64,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let wrapped = master.wrap(&draw_data_key(rng), &data_key_place(tenant), rng);
        let sql = "INSERT INTO data_keys (tenant, version, master_key, wrapped, created_at)
                   VALUES (?1, 1, ?2, ?3, ?4)";
        self.conn.prepare_cached(sql)?.execute((tenant, master.fingerprint(), wrapped, now.unix_ms()))?;
        Ok(())
    }
}

/// Finds a tenant that was not deleted.
pub(crate) fn find_tenant_mark(conn: &Connection, id: &TenantId) -> Result<Option<TenantMark>, Trouble> {
    let sql = "SELECT number, directory_version, watched FROM tenants WHERE id = ?1 AND deleted_at IS NULL";
    Ok(conn.prepare_cached(sql)?.query_row([id.as_str()], tenant_mark).optional()?)
}

fn tenant_mark(row: &Row<'_>) -> rusqlite::Result<TenantMark> {
    Ok(TenantMark { number: row.get(0)?, directory_version: row.get(1)?, is_watched: row.get(2)? })
}

/// Reads the number of a tenant that was not deleted.
pub(crate) fn find_tenant_number(conn: &Connection, id: &TenantId) -> Result<Option<i64>, Trouble> {
    Ok(find_tenant_mark(conn, id)?.map(|mark| mark.number))
}

/// Reads a tenant's newest data key, as it is stored.
pub(crate) fn load_wrapped_key(conn: &Connection, tenant: i64) -> Result<Vec<u8>, Trouble> {
    let sql = "SELECT wrapped FROM data_keys WHERE tenant = ?1 ORDER BY version DESC LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row([tenant], |row| row.get(0))?)
}
