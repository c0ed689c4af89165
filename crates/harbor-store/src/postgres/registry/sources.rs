//! Sources.

use async_trait::async_trait;
use harbor_model::id::{SourceId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use harbor_model::port::sources::Sources;
use harbor_model::source::Source;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::keyring::{Keyring, Sealed, open};
use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::keyring::data_key;
use crate::postgres::pages::List;
use crate::postgres::registry::{done, find_tenant_number, lock_tenant};
use crate::postgres::rows::{bigint, number, parsed, time, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::registry::{Changed, Guard};
use crate::seal::DataKey;
use crate::sources::{SourceRow, secrets_of, settings_of};

#[async_trait]
impl Sources for PostgresStore {
    async fn create_source(&self, source: Source, sources_max: usize) -> Result<Change<Source>, Fault> {
        self.change("create source", &source.tenant_id, async |tx| {
            self.create_source_in(tx, &source, sources_max).await
        })
        .await
    }

    async fn find_source(&self, tenant: &TenantId, id: SourceId) -> Result<Option<Source>, Fault> {
        let sql = find_sql();
        retried("find source", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            let Some(row) = link.query_opt(&sql, &[&number, &Uuid(id.number())]).await? else {
                return Ok(None);
            };
            let key = data_key(&link, &self.keyring, number).await?;
            read_source(&row, &key, number, tenant).map(Some)
        })
        .await
    }

    async fn sources(&self, tenant: &TenantId, ask: PageAsk) -> Result<Page<Source>, Fault> {
        let sql = list_sql();
        retried("list sources", async || {
            let link = self.database.browse().await?;
            let Some(tenant_number) = find_tenant_number(&link, tenant).await? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let key = data_key(&link, &self.keyring, tenant_number).await?;
            let list = List {
                sql: &sql,
                tenant: &tenant_number,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[],
                limit: ask.limit,
            };
            list.page(&link, |row| {
                let source = read_source(row, &key, tenant_number, tenant)?;
                Ok(Seen { position: source.id.number(), item: Some(source) })
            })
            .await
        })
        .await
    }

    async fn update_source(&self, source: Source) -> Result<Change<Source>, Fault> {
        self.change("update source", &source.tenant_id, async |tx| self.update_source_in(tx, &source).await)
            .await
    }

    async fn delete_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault> {
        self.change("delete source", tenant, async |tx| delete(tx, tenant, id, version).await).await
    }

    async fn owner_of_source(&self, id: SourceId) -> Result<Option<TenantId>, Fault> {
        retried("find the owner of a source", async || {
            let link = self.database.read().await?;
            let row = link.query_opt(OWNER, &[&Uuid(id.number())]).await?;
            row.map(|row| parsed(&row, 0, "tenant id")).transpose()
        })
        .await
    }
}

pub(crate) const OWNER: &str = "SELECT t.id FROM sources AS s, LATERAL (
        SELECT tenants.id FROM tenants
        WHERE tenants.number = s.tenant AND tenants.deleted_at IS NULL OFFSET 0) AS t
    WHERE s.id = $1";

pub(crate) const COUNT: &str = "SELECT count(*) FROM sources WHERE tenant = $1";

impl PostgresStore {
    async fn create_source_in(
        &self,
        tx: Tx,
        source: &Source,
        sources_max: usize,
    ) -> Result<Changed<Source>, Trouble> {
        let Some(tenant) = lock_tenant(&tx, &source.tenant_id).await? else {
            return Ok(Changed::not(Change::Missing));
        };
        let count = tx.query_opt(COUNT, &[&tenant]).await?;
        let count: usize = whole(&count.expect("a count is one row"), 0, "count of sources")?;
        if count >= sources_max {
            return Ok(Changed::not(Change::TooMany));
        }
        if find_version(&tx, tenant, source.id).await?.is_some() {
            return Ok(Changed::not(Change::Exists));
        }
        let insert = "INSERT INTO sources
                (tenant, id, settings, secrets, version, created_at, updated_at, rejected_count)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 0) RETURNING rejected_count";
        let rejected_count = self.write_source(&tx, insert, tenant, source).await?;
        done(tx, tenant, Source { rejected_count, ..source.clone() }).await
    }

    async fn update_source_in(&self, tx: Tx, source: &Source) -> Result<Changed<Source>, Trouble> {
        let Some(tenant) = lock_tenant(&tx, &source.tenant_id).await? else {
            return Ok(Changed::not(Change::Missing));
        };
        match Guard::check(find_version(&tx, tenant, source.id).await?, Some(source.version)) {
            Guard::Missing => return Ok(Changed::not(Change::Missing)),
            Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
            Guard::Fits => {}
        }
        let next = Source { version: source.version + 1, ..source.clone() };
        let update = "UPDATE sources
            SET settings = $3, secrets = $4, version = $5, created_at = $6, updated_at = $7
            WHERE tenant = $1 AND id = $2 RETURNING rejected_count";
        let rejected_count = self.write_source(&tx, update, tenant, &next).await?;
        done(tx, tenant, Source { rejected_count, ..next }).await
    }

    /// Writes a source; answers how many requests it refused.
    async fn write_source(&self, tx: &Tx, sql: &str, tenant: i64, source: &Source) -> Result<u64, Trouble> {
        let key = data_key(tx, &self.keyring, tenant).await?;
        let place = Sealed::SourceSecrets.place(tenant, source.id);
        let secrets = key.seal(&secrets_of(source), &place, &*self.rng);
        let columns: [&(dyn ToSql + Sync); 7] = [
            &tenant,
            &Uuid(source.id.number()),
            &settings_of(source),
            &secrets,
            &bigint(source.version),
            &source.created_at.unix_ms(),
            &source.updated_at.unix_ms(),
        ];
        let row = tx.query_opt(sql, &columns).await?.expect("its tenant is locked");
        whole(&row, 0, "count of rejections")
    }
}

async fn delete(
    tx: Tx,
    tenant_id: &TenantId,
    id: SourceId,
    version: Option<u64>,
) -> Result<Changed<()>, Trouble> {
    let Some(tenant) = lock_tenant(&tx, tenant_id).await? else { return Ok(Changed::not(Change::Missing)) };
    match Guard::check(find_version(&tx, tenant, id).await?, version) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    // The source first, as whoever counts its rejections locks it.
    let delete = "DELETE FROM sources WHERE tenant = $1 AND id = $2";
    tx.execute(delete, &[&tenant, &Uuid(id.number())]).await?;
    let forget = "DELETE FROM rejections WHERE tenant = $1 AND source_id = $2";
    tx.execute(forget, &[&tenant, &Uuid(id.number())]).await?;
    done(tx, tenant, ()).await
}

pub(crate) const VERSION: &str = "SELECT version FROM sources WHERE tenant = $1 AND id = $2";

async fn find_version(tx: &Tx, tenant: i64, id: SourceId) -> Result<Option<u64>, Trouble> {
    let row = tx.query_opt(VERSION, &[&tenant, &Uuid(id.number())]).await?;
    row.map(|row| whole(&row, 0, "version")).transpose()
}

/// The columns that [`read_source`] reads, in its order.
const COLUMNS: &str = "id, settings, secrets, rejected_count, version, created_at, updated_at";

pub(crate) fn find_sql() -> String {
    format!("SELECT {COLUMNS} FROM sources WHERE tenant = $1 AND id = $2")
}

pub(crate) fn list_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM sources
         WHERE tenant = $1 AND id BETWEEN $2 AND $3 ORDER BY id DESC LIMIT $4"
    )
}

pub(crate) fn of_tenant_sql() -> String {
    format!("SELECT {COLUMNS} FROM sources WHERE tenant = $1")
}

fn read_source(row: &Row, key: &DataKey, tenant: i64, tenant_id: &TenantId) -> Result<Source, Trouble> {
    let id = SourceId::from_number(number(row, 0)?);
    let row = SourceRow {
        id,
        settings: value(row, 1)?,
        secrets: open(key, value(row, 2)?, &Sealed::SourceSecrets.place(tenant, id))?,
        rejected_count: whole(row, 3, "count of rejections")?,
        version: whole(row, 4, "version")?,
        created_at: time(row, 5)?,
        updated_at: time(row, 6)?,
    };
    Ok(row.into_source(tenant_id)?)
}

/// Every source of a tenant.
pub(super) async fn of_tenant(
    link: &Link,
    keyring: &Keyring,
    tenant: i64,
    tenant_id: &TenantId,
) -> Result<Vec<Source>, Trouble> {
    let key = data_key(link, keyring, tenant).await?;
    let rows = link.query(&of_tenant_sql(), &[&tenant]).await?;
    rows.iter().map(|row| read_source(row, &key, tenant, tenant_id)).collect()
}
