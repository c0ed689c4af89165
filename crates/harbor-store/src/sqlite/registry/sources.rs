//! Sources.

use async_trait::async_trait;
use harbor_model::chance::Rng;
use harbor_model::id::{SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use harbor_model::port::sources::Sources;
use harbor_model::source::Source;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::keyring::{Keyring, Sealed, open};
use crate::pages::{IdRange, Seen};
use crate::registry::{Changed, Guard};
use crate::seal::DataKey;
use crate::sources::{SourceRow, secrets_of, settings_of};
use crate::sqlite::SqliteStore;
use crate::sqlite::keyring::data_key;
use crate::sqlite::pages::page;
use crate::sqlite::rows::{blob, number, parsed, time, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Sources for SqliteStore {
    async fn create_source(&self, source: Source, sources_max: usize) -> Result<Change<Source>, Fault> {
        let (keyring, rng, directory) = (self.keyring.clone(), self.rng.clone(), self.directory.clone());
        let id = source.tenant_id.clone();
        let create = move |tx: &mut Tx<'_>| create(tx, &keyring, &*rng, &source, sources_max);
        let changed = self.database.change(create, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn find_source(&self, tenant: &TenantId, id: SourceId) -> Result<Option<Source>, Fault> {
        let (tenant_id, keyring) = (tenant.clone(), self.keyring.clone());
        let find = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else { return Ok(None) };
            let mut query = conn.prepare_cached(&find_sql())?;
            let mut rows = query.query((tenant, blob(id.number())))?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let key = data_key(&keyring, conn, tenant)?;
            read_source(row, &key, tenant, &tenant_id).map(Some)
        };
        self.database.browse(find).await
    }

    async fn sources(&self, tenant: &TenantId, ask: PageAsk) -> Result<Page<Source>, Fault> {
        let (tenant_id, keyring) = (tenant.clone(), self.keyring.clone());
        let list = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let key = data_key(&keyring, conn, tenant)?;
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let mut query = conn.prepare_cached(&list_sql())?;
            page(query.query((tenant, blob(first), blob(last)))?, ask.limit, |row| {
                let source = read_source(row, &key, tenant, &tenant_id)?;
                Ok(Seen { position: source.id.number(), item: Some(source) })
            })
        };
        self.database.browse(list).await
    }

    async fn update_source(&self, source: Source) -> Result<Change<Source>, Fault> {
        let (keyring, rng, directory) = (self.keyring.clone(), self.rng.clone(), self.directory.clone());
        let id = source.tenant_id.clone();
        let update = move |tx: &mut Tx<'_>| update(tx, &keyring, &*rng, &source);
        let changed = self.database.change(update, move |changed| changed.tell(&directory, &id)).await?;
        Ok(changed.change)
    }

    async fn delete_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault> {
        let (tenant_id, directory) = (tenant.clone(), self.directory.clone());
        let of = tenant.clone();
        let delete = move |tx: &mut Tx<'_>| delete(tx, &tenant_id, id, version);
        let changed = self.database.change(delete, move |changed| changed.tell(&directory, &of)).await?;
        Ok(changed.change)
    }

    async fn owner_of_source(&self, id: SourceId) -> Result<Option<TenantId>, Fault> {
        let find = move |conn: &Connection| {
            let mut query = conn.prepare_cached(OWNER)?;
            let mut rows = query.query([blob(id.number())])?;
            rows.next()?.map(|row| parsed(row, 0, "tenant id")).transpose()
        };
        self.database.read(find).await
    }
}

pub(crate) const OWNER: &str =
    "SELECT tenants.id FROM sources CROSS JOIN tenants ON tenants.number = sources.tenant
    WHERE sources.id = ?1 AND tenants.deleted_at IS NULL";

pub(crate) const COUNT: &str = "SELECT count(*) FROM sources WHERE tenant = ?1";

fn create(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    rng: &dyn Rng,
    source: &Source,
    sources_max: usize,
) -> Result<Changed<Source>, Trouble> {
    let Some(tenant) = tx.tenant(&source.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    let count: usize = tx.conn.prepare_cached(COUNT)?.query_row([tenant.number], |row| row.get(0))?;
    if count >= sources_max {
        return Ok(Changed::not(Change::TooMany));
    }
    if stored_version(tx.conn, tenant.number, source.id)?.is_some() {
        return Ok(Changed::not(Change::Exists));
    }
    let insert =
        "INSERT INTO sources (tenant, id, settings, secrets, version, created_at, updated_at, rejected_count)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0) RETURNING rejected_count";
    let rejected_count = write(tx, keyring, rng, insert, tenant.number, source)?;
    let directory_version = tx.raise_directory_version(&source.tenant_id)?;
    Ok(Changed::done(Source { rejected_count, ..source.clone() }, directory_version))
}

fn update(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    rng: &dyn Rng,
    source: &Source,
) -> Result<Changed<Source>, Trouble> {
    let Some(tenant) = tx.tenant(&source.tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(stored_version(tx.conn, tenant.number, source.id)?, Some(source.version)) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let next = Source { version: source.version + 1, ..source.clone() };
    let update =
        "UPDATE sources SET settings = ?3, secrets = ?4, version = ?5, created_at = ?6, updated_at = ?7
                  WHERE tenant = ?1 AND id = ?2 RETURNING rejected_count";
    let rejected_count = write(tx, keyring, rng, update, tenant.number, &next)?;
    let directory_version = tx.raise_directory_version(&next.tenant_id)?;
    Ok(Changed::done(Source { rejected_count, ..next }, directory_version))
}

fn delete(
    tx: &mut Tx<'_>,
    tenant_id: &TenantId,
    id: SourceId,
    version: Option<u64>,
) -> Result<Changed<()>, Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(stored_version(tx.conn, tenant.number, id)?, version) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let key = (tenant.number, blob(id.number()));
    tx.conn.prepare_cached("DELETE FROM rejections WHERE tenant = ?1 AND source_id = ?2")?.execute(key)?;
    tx.conn.prepare_cached("DELETE FROM sources WHERE tenant = ?1 AND id = ?2")?.execute(key)?;
    let directory_version = tx.raise_directory_version(tenant_id)?;
    Ok(Changed::done((), directory_version))
}

pub(crate) const VERSION: &str = "SELECT version FROM sources WHERE tenant = ?1 AND id = ?2";

fn stored_version(conn: &Connection, tenant: i64, id: SourceId) -> Result<Option<u64>, Trouble> {
    Ok(conn.prepare_cached(VERSION)?.query_row((tenant, blob(id.number())), |row| row.get(0)).optional()?)
}

/// Writes a source; answers how many requests it refused.
fn write(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    rng: &dyn Rng,
    sql: &str,
    tenant: i64,
    source: &Source,
) -> Result<u64, Trouble> {
    let key = tx.data_key(keyring.master(), tenant)?;
    let secrets = key.seal(&secrets_of(source), &Sealed::SourceSecrets.place(tenant, source.id), rng);
    let row = (
        tenant,
        blob(source.id.number()),
        settings_of(source),
        secrets,
        source.version,
        source.created_at.unix_ms(),
        source.updated_at.unix_ms(),
    );
    Ok(tx.conn.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
}

/// The columns that [`read_source`] reads, in its order.
const COLUMNS: &str = "id, settings, secrets, rejected_count, version, created_at, updated_at";

pub(crate) fn find_sql() -> String {
    format!("SELECT {COLUMNS} FROM sources WHERE tenant = ?1 AND id = ?2")
}

pub(crate) fn list_sql() -> String {
    format!("SELECT {COLUMNS} FROM sources WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id DESC")
}

pub(crate) fn of_tenant_sql() -> String {
    format!("SELECT {COLUMNS} FROM sources WHERE tenant = ?1")
}

fn read_source(row: &Row<'_>, key: &DataKey, tenant: i64, tenant_id: &TenantId) -> Result<Source, Trouble> {
    let id = SourceId::from_number(number(row, 0)?);
    let row = SourceRow {
        id,
        settings: value(row, 1)?,
        secrets: open(key, &value::<Vec<u8>>(row, 2)?, &Sealed::SourceSecrets.place(tenant, id))?,
        rejected_count: value(row, 3)?,
        version: value(row, 4)?,
        created_at: time(row, 5)?,
        updated_at: time(row, 6)?,
    };
    Ok(row.into_source(tenant_id)?)
}

/// Every source of a tenant.
pub(super) fn of_tenant(
    conn: &Connection,
    keyring: &Keyring,
    tenant: i64,
    tenant_id: &TenantId,
) -> Result<Vec<Source>, Trouble> {
    let key = data_key(keyring, conn, tenant)?;
    let mut query = conn.prepare_cached(&of_tenant_sql())?;
    let mut rows = query.query([tenant])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        sources.push(read_source(row, &key, tenant, tenant_id)?);
    }
    Ok(sources)
}
