//! API keys, by their hash alone.

use async_trait::async_trait;
use harbor_model::api_key::{ApiKey, ApiKeyHash, Role};
use harbor_model::id::{ApiKeyId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use rusqlite::{Connection, Row};

use crate::pages::{IdRange, Seen};
use crate::sqlite::SqliteStore;
use crate::sqlite::pages::page;
use crate::sqlite::rows::{blob, named, number, time, time_if_any, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn create_api_key(&self, key: ApiKey, hash: ApiKeyHash) -> Result<Change<ApiKey>, Fault> {
        let create = move |tx: &mut Tx<'_>| {
            let tenant = match &key.tenant_id {
                Some(id) => match tx.tenant(id)? {
                    Some(mark) => Some(mark.number),
                    None => return Ok(Change::Missing),
                },
                None => None,
            };
            if tx.conn.prepare_cached("SELECT 1 FROM api_keys WHERE hash = ?1")?.exists([hash])? {
                return Ok(Change::Exists);
            }
            let insert = "INSERT INTO api_keys (hash, id, tenant, role, name, created_at, expires_at)
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            tx.conn.prepare_cached(insert)?.execute((
                hash,
                blob(key.id.number()),
                tenant,
                key.role.as_str(),
                &key.name,
                key.created_at.unix_ms(),
                key.expires_at.map(|at| at.unix_ms()),
            ))?;
            Ok(Change::Done(key.clone()))
        };
        self.database.change(create, |_| ()).await
    }

    async fn find_api_key(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        let hash = *hash;
        let find = move |conn: &Connection| {
            // A key of a deleted tenant opens nothing.
            let sql = "SELECT k.id, k.role, k.name, k.created_at, k.expires_at, k.tenant, t.id
                       FROM api_keys AS k LEFT JOIN tenants AS t ON t.number = k.tenant AND t.deleted_at IS NULL
                       WHERE k.hash = ?1 AND k.revoked_at IS NULL AND (k.tenant IS NULL OR t.id IS NOT NULL)";
            let mut query = conn.prepare_cached(sql)?;
            let mut rows = query.query([hash])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let tenant_id = value::<Option<String>>(row, 6)?.map(|id| id.parse()).transpose();
            let tenant_id = tenant_id.map_err(|error| Trouble::damaged("tenant id", error))?;
            read_key(row, tenant_id).map(Some)
        };
        self.database.read(find).await
    }

    async fn api_keys(&self, owner: Option<&TenantId>, ask: PageAsk) -> Result<Page<ApiKey>, Fault> {
        let owner = owner.cloned();
        let list = move |conn: &Connection| {
            let Some(tenant) = owner_number(conn, owner.as_ref())? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let sql = "SELECT id, role, name, created_at, expires_at FROM api_keys
                       WHERE tenant IS ?1 AND id BETWEEN ?2 AND ?3 AND revoked_at IS NULL ORDER BY id DESC";
            let (first, last) = IdRange::new(ask.after, None, None).ends();
            let mut query = conn.prepare_cached(sql)?;
            page(query.query((tenant, blob(first), blob(last)))?, ask.limit, |row| {
                Ok(Seen { position: number(row, 0)?, item: Some(read_key(row, owner.clone())?) })
            })
        };
        self.database.browse(list).await
    }

    async fn delete_api_key(&self, owner: Option<&TenantId>, id: ApiKeyId) -> Result<bool, Fault> {
        let owner = owner.cloned();
        let now = self.clock.now();
        let revoke = move |tx: &mut Tx<'_>| {
            let Some(tenant) = owner_number(tx.conn, owner.as_ref())? else { return Ok(false) };
            let sql = "UPDATE api_keys SET revoked_at = ?3
                       WHERE tenant IS ?1 AND id = ?2 AND revoked_at IS NULL";
            let revoked = tx.conn.prepare_cached(sql)?.execute((tenant, blob(id.number()), now.unix_ms()))?;
            Ok(revoked == 1)
        };
        self.database.change(revoke, |_| ()).await
    }

    async fn has_no_api_key(&self) -> Result<bool, Fault> {
        self.database
            .read(|conn| Ok(!conn.prepare_cached("SELECT 1 FROM api_keys LIMIT 1")?.exists([])?))
            .await
    }
}

/// How an owner stands in the rows: `Some(None)` for the instance; none for an unknown tenant.
fn owner_number(conn: &Connection, owner: Option<&TenantId>) -> Result<Option<Option<i64>>, Trouble> {
    match owner {
        Some(id) => Ok(find_tenant_number(conn, id)?.map(Some)),
        None => Ok(Some(None)),
    }
}

fn read_key(row: &Row<'_>, tenant_id: Option<TenantId>) -> Result<ApiKey, Trouble> {
    Ok(ApiKey {
        id: ApiKeyId::from_number(number(row, 0)?),
        tenant_id,
        role: named(row, 1, "role", Role::from_name)?,
        name: value(row, 2)?,
        created_at: time(row, 3)?,
        expires_at: time_if_any(row, 4)?,
    })
}
