//! API keys, by their hash alone.

use async_trait::async_trait;
use harbor_model::api_key::{ApiKey, ApiKeyHash, Role};
use harbor_model::id::{ApiKeyId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use tokio_postgres::Row;

use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::pages::List;
use crate::postgres::registry::{find_tenant_number, lock_tenant};
use crate::postgres::rows::{named, number, time, time_if_any, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl ApiKeys for PostgresStore {
    async fn create_api_key(&self, key: ApiKey, hash: ApiKeyHash) -> Result<Change<ApiKey>, Fault> {
        retried("create API key", async || {
            let tx = self.database.begin().await?;
            let tenant = match &key.tenant_id {
                Some(id) => match lock_tenant(&tx, id).await? {
                    Some(number) => Some(number),
                    None => return Ok(Change::Missing),
                },
                None => None,
            };
            let insert = "INSERT INTO api_keys (hash, id, tenant, role, name, created_at, expires_at)
                          VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (hash) DO NOTHING";
            let inserted = tx
                .execute(
                    insert,
                    &[
                        &hash.as_slice(),
                        &Uuid(key.id.number()),
                        &tenant,
                        &key.role.as_str(),
                        &key.name,
                        &key.created_at.unix_ms(),
                        &key.expires_at.map(|at| at.unix_ms()),
                    ],
                )
                .await?;
            if inserted == 0 {
                return Ok(Change::Exists);
            }
            tx.commit().await?;
            Ok(Change::Done(key.clone()))
        })
        .await
    }

    async fn find_api_key(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        retried("find API key", async || {
            let link = self.database.read().await?;
            let Some(row) = link.query_opt(FIND_API_KEY, &[&hash.as_slice()]).await? else { return Ok(None) };
            let tenant_id = value::<Option<&str>>(&row, 6)?.map(str::parse).transpose();
            let tenant_id = tenant_id.map_err(|error| Trouble::damaged("tenant id", error))?;
            api_key(&row, tenant_id).map(Some)
        })
        .await
    }

    async fn api_keys(&self, owner: Option<&TenantId>, ask: PageAsk) -> Result<Page<ApiKey>, Fault> {
        retried("list API keys", async || {
            let link = self.database.browse().await?;
            let Some(tenant) = owner_number(&link, owner).await? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let list = List {
                sql: &list_api_keys(owner.is_some()),
                tenant: &tenant,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[],
                limit: ask.limit,
            };
            list.page(&link, |row| {
                Ok(Seen { position: number(row, 0)?, item: Some(api_key(row, owner.cloned())?) })
            })
            .await
        })
        .await
    }

    async fn delete_api_key(&self, owner: Option<&TenantId>, id: ApiKeyId) -> Result<bool, Fault> {
        let now = self.clock.now();
        retried("delete API key", async || {
            let link = self.database.browse().await?;
            let Some(tenant) = owner_number(&link, owner).await? else { return Ok(false) };
            let sql = format!(
                "UPDATE api_keys SET revoked_at = $3 WHERE {} AND id = $2 AND revoked_at IS NULL",
                owned(owner.is_some())
            );
            let revoked = link.execute(&sql, &[&tenant, &Uuid(id.number()), &now.unix_ms()]).await?;
            Ok(revoked == 1)
        })
        .await
    }

    async fn has_no_api_key(&self) -> Result<bool, Fault> {
        retried("look for API keys", async || {
            let link = self.database.browse().await?;
            Ok(link.query_opt("SELECT 1 FROM api_keys LIMIT 1", &[]).await?.is_none())
        })
        .await
    }
}

/// A key of a deleted tenant opens nothing.
pub(crate) const FIND_API_KEY: &str =
    "SELECT k.id, k.role, k.name, k.created_at, k.expires_at, k.tenant, t.id
    FROM api_keys AS k LEFT JOIN tenants AS t ON t.number = k.tenant AND t.deleted_at IS NULL
    WHERE k.hash = $1 AND k.revoked_at IS NULL AND (k.tenant IS NULL OR t.id IS NOT NULL)";

/// Lists the keys of a tenant, or of the instance.
pub(crate) fn list_api_keys(is_of_tenant: bool) -> String {
    format!(
        "SELECT id, role, name, created_at, expires_at FROM api_keys
         WHERE {} AND id BETWEEN $2 AND $3 AND revoked_at IS NULL ORDER BY id DESC LIMIT $4",
        owned(is_of_tenant)
    )
}

/// Keys of the tenant `$1`, or those of the instance, where it is null. No index finds both in one way.
fn owned(is_of_tenant: bool) -> &'static str {
    if is_of_tenant { "tenant = $1" } else { "tenant IS NULL AND $1::bigint IS NULL" }
}

/// How an owner stands in the rows: `Some(None)` for the instance; none for an unknown tenant.
async fn owner_number(link: &Link, owner: Option<&TenantId>) -> Result<Option<Option<i64>>, Trouble> {
    match owner {
        Some(id) => Ok(find_tenant_number(link, id).await?.map(Some)),
        None => Ok(Some(None)),
    }
}

fn api_key(row: &Row, tenant_id: Option<TenantId>) -> Result<ApiKey, Trouble> {
    Ok(ApiKey {
        id: ApiKeyId::from_number(number(row, 0)?),
        tenant_id,
        role: named(row, 1, "role", Role::from_name)?,
        name: value(row, 2)?,
        created_at: time(row, 3)?,
        expires_at: time_if_any(row, 4)?,
    })
}
