//! Tenants.

use async_trait::async_trait;
use harbor_model::id::TenantId;
use harbor_model::job::Job;
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Tenants};
use harbor_model::tenant::Tenant;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::layers::{tenant_policy_from_json, tenant_policy_to_json};
use crate::pages::Seen;
use crate::registry::{Changed, Guard};
use crate::sqlite::SqliteStore;
use crate::sqlite::jobs;
use crate::sqlite::pages::page;
use crate::sqlite::rows::{parsed, time, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Tenants for SqliteStore {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        let (keyring, rng) = (self.keyring.clone(), self.rng.clone());
        let create = move |tx: &mut Tx<'_>| {
            // Also of one that is being purged: the id is free again when that ends.
            let taken = "SELECT 1 FROM tenants WHERE id = ?1";
            if tx.conn.prepare_cached(taken)?.exists([tenant.id.as_str()])? {
                return Ok(Change::Exists);
            }
            let insert = "INSERT INTO tenants
                    (id, name, policy, version, directory_version, endpoint_count, created_at, updated_at)
                VALUES (?1, ?2, ?3, ?4, 1, 0, ?5, ?6)";
            tx.conn.prepare_cached(insert)?.execute((
                tenant.id.as_str(),
                &tenant.name,
                tenant_policy_to_json(&tenant.policy),
                tenant.version,
                tenant.created_at.unix_ms(),
                tenant.updated_at.unix_ms(),
            ))?;
            let number = tx.conn.last_insert_rowid();
            tx.make_data_key(keyring.master(), &*rng, number, tenant.created_at)?;
            Ok(Change::Done(tenant.clone()))
        };
        self.database.change(create, |_| ()).await
    }

    async fn find_tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        let id = id.clone();
        let find = move |conn: &Connection| Ok(find_with_directory(conn, &id)?.map(|(_, _, tenant)| tenant));
        self.database.browse(find).await
    }

    async fn tenants(&self, ask: PageAsk) -> Result<Page<Tenant>, Fault> {
        let list = move |conn: &Connection| {
            // A tenant's id may be chosen, so the list goes by the order in which they were made.
            let sql = format!(
                "SELECT number, directory_version, {COLUMNS} FROM tenants
                 WHERE number < ?1 AND deleted_at IS NULL ORDER BY number DESC"
            );
            let end = ask.after.map_or(i64::MAX, |after| i64::try_from(after.0).unwrap_or(i64::MAX));
            let mut query = conn.prepare_cached(&sql)?;
            page(query.query([end])?, ask.limit, |row| {
                let number: i64 = value(row, 0)?;
                Ok(Seen { position: u128::from(number.unsigned_abs()), item: Some(tenant(row)?) })
            })
        };
        self.database.browse(list).await
    }

    async fn update_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        let directory = self.directory.clone();
        let id = tenant.id.clone();
        let update = move |tx: &mut Tx<'_>| {
            let stored = "SELECT version FROM tenants WHERE id = ?1 AND deleted_at IS NULL";
            let stored = tx
                .conn
                .prepare_cached(stored)?
                .query_row([tenant.id.as_str()], |row| row.get(0))
                .optional()?;
            match Guard::check(stored, Some(tenant.version)) {
                Guard::Missing => return Ok(Changed::not(Change::Missing)),
                Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
                Guard::Fits => {}
            }
            let next = Tenant { version: tenant.version + 1, ..tenant.clone() };
            let update =
                "UPDATE tenants SET name = ?2, policy = ?3, version = ?4, updated_at = ?5 WHERE id = ?1";
            tx.conn.prepare_cached(update)?.execute((
                next.id.as_str(),
                &next.name,
                tenant_policy_to_json(&next.policy),
                next.version,
                next.updated_at.unix_ms(),
            ))?;
            let directory_version = tx.raise_directory_version(&next.id)?;
            Ok(Changed::done(next, directory_version))
        };
        let changed = self.database.change(update, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn delete_tenant(&self, id: &TenantId, job: Job) -> Result<Change<Job>, Fault> {
        let (tenant_id, directory) = (id.clone(), self.directory.clone());
        let of = id.clone();
        let delete = move |tx: &mut Tx<'_>| delete(tx, &tenant_id, &job);
        let changed = self.database.change(delete, move |changed| changed.tell(&directory, &of)).await?;
        Ok(changed.change)
    }
}

const END_JOBS: &str = "UPDATE jobs SET status = 'cancelled', version = version + 1, updated_at = ?2
    WHERE tenant = ?1 AND status IN ('pending', 'running')";

const REVOKE_KEYS: &str = "UPDATE api_keys SET revoked_at = ?2 WHERE tenant = ?1 AND revoked_at IS NULL";

/// Ends all access to a tenant, whose rows are removed by the job.
fn delete(tx: &mut Tx<'_>, id: &TenantId, job: &Job) -> Result<Changed<Job>, Trouble> {
    let Some(tenant) = tx.tenant(id)? else { return Ok(Changed::not(Change::Missing)) };
    let now = job.created_at.unix_ms();
    let directory_version = tx.raise_directory_version(id)?;
    let mark = "UPDATE tenants SET deleted_at = ?2, updated_at = ?2, version = version + 1 WHERE number = ?1";
    tx.conn.prepare_cached(mark)?.execute((tenant.number, now))?;
    tx.conn.prepare_cached(REVOKE_KEYS)?.execute((tenant.number, now))?;
    tx.conn.prepare_cached(END_JOBS)?.execute((tenant.number, now))?;
    jobs::insert(tx.conn, tenant.number, job)?;
    // Nobody finds it any more, not even who found it before.
    tx.memory.forget();
    Ok(Changed::done(job.clone(), directory_version))
}

/// The columns that [`tenant`] reads, from the third on.
const COLUMNS: &str = "id, name, policy, version, created_at, updated_at";

fn tenant(row: &Row<'_>) -> Result<Tenant, Trouble> {
    let policy: String = value(row, 4)?;
    Ok(Tenant {
        id: parsed(row, 2, "tenant id")?,
        name: value(row, 3)?,
        policy: tenant_policy_from_json(&policy).map_err(|error| Trouble::damaged("policy", error))?,
        version: value(row, 5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

/// Finds a tenant with its number and its directory's version.
pub(super) fn find_with_directory(
    conn: &Connection,
    id: &TenantId,
) -> Result<Option<(i64, u64, Tenant)>, Trouble> {
    let sql = format!(
        "SELECT number, directory_version, {COLUMNS} FROM tenants WHERE id = ?1 AND deleted_at IS NULL"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((value(row, 0)?, value(row, 1)?, tenant(row)?)))
}
