//! Tenants.

use async_trait::async_trait;
use harbor_model::id::TenantId;
use harbor_model::job::{Job, Task};
use harbor_model::port::Fault;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Tenants};
use harbor_model::tenant::Tenant;
use tokio_postgres::Row;

use crate::layers::{tenant_policy_from_json, tenant_policy_to_json};
use crate::pages::{Filling, Seen};
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::keyring::make_data_key;
use crate::postgres::registry::{done, lock_tenant};
use crate::postgres::rows::{bigint, parsed, time, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::{PostgresStore, jobs};
use crate::registry::{Changed, Guard};

#[async_trait]
impl Tenants for PostgresStore {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        retried("create tenant", async || {
            let tx = self.database.begin().await?;
            // The id of one that is being purged is free again when that ends.
            let insert = "INSERT INTO tenants
                    (id, name, policy, version, directory_version, endpoint_count, created_at, updated_at)
                VALUES ($1, $2, $3, $4, 1, 0, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING number";
            let inserted = tx
                .query_opt(
                    insert,
                    &[
                        &tenant.id.as_str(),
                        &tenant.name,
                        &tenant_policy_to_json(&tenant.policy),
                        &bigint(tenant.version),
                        &tenant.created_at.unix_ms(),
                        &tenant.updated_at.unix_ms(),
                    ],
                )
                .await?;
            let Some(row) = inserted else { return Ok(Change::Exists) };
            make_data_key(&tx, &self.keyring, &*self.rng, value(&row, 0)?, tenant.created_at).await?;
            tx.commit().await?;
            Ok(Change::Done(tenant.clone()))
        })
        .await
    }

    async fn find_tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        retried("find tenant", async || {
            let found = find_with_directory(&self.database.browse().await?, id).await?;
            Ok(found.map(|(_, _, tenant)| tenant))
        })
        .await
    }

    async fn tenants(&self, ask: PageAsk) -> Result<Page<Tenant>, Fault> {
        // A tenant's id may be chosen, so the list goes by the order in which they were made.
        let sql = format!(
            "SELECT number, directory_version, {COLUMNS} FROM tenants
             WHERE number < $1 AND deleted_at IS NULL ORDER BY number DESC LIMIT $2"
        );
        let end = ask.after.map_or(i64::MAX, |after| bigint(after.0));
        retried("list tenants", async || {
            let link = self.database.browse().await?;
            let mut page = Filling::new(ask.limit);
            for row in link.query(&sql, &[&end, &bigint(ask.limit.saturating_add(1))]).await? {
                if page.is_over() {
                    return Ok(page.stop());
                }
                let number: i64 = value(&row, 0)?;
                page.add(Seen { position: u128::from(number.unsigned_abs()), item: Some(tenant(&row)?) });
            }
            Ok(page.end())
        })
        .await
    }

    async fn update_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        self.change("update tenant", &tenant.id, async |tx| update(tx, &tenant).await).await
    }

    async fn delete_tenant(&self, id: &TenantId, job: Job) -> Result<Change<Job>, Fault> {
        assert_eq!((&job.tenant_id, &job.task), (id, &Task::Purge), "a tenant is deleted by its purge");
        self.change("delete tenant", id, async |tx| delete(tx, id, &job).await).await
    }
}

async fn update(tx: Tx, tenant: &Tenant) -> Result<Changed<Tenant>, Trouble> {
    let stored = "SELECT number, version FROM tenants
                  WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
    let Some(row) = tx.query_opt(stored, &[&tenant.id.as_str()]).await? else {
        return Ok(Changed::not(Change::Missing));
    };
    match Guard::check(Some(whole(&row, 1, "version")?), Some(tenant.version)) {
        Guard::Missing => return Ok(Changed::not(Change::Missing)),
        Guard::Conflict => return Ok(Changed::not(Change::Conflict)),
        Guard::Fits => {}
    }
    let number: i64 = value(&row, 0)?;
    let next = Tenant { version: tenant.version + 1, ..tenant.clone() };
    let update = "UPDATE tenants SET name = $2, policy = $3, version = $4, updated_at = $5 WHERE number = $1";
    let policy = tenant_policy_to_json(&next.policy);
    let updated_at = next.updated_at.unix_ms();
    tx.execute(update, &[&number, &next.name, &policy, &bigint(next.version), &updated_at]).await?;
    done(tx, number, next).await
}

/// Ends all access of a tenant, and adds the job that removes the rest of it.
async fn delete(tx: Tx, id: &TenantId, job: &Job) -> Result<Changed<Job>, Trouble> {
    let Some(number) = lock_tenant(&tx, id).await? else { return Ok(Changed::not(Change::Missing)) };
    let now = job.created_at.unix_ms();
    let mark = "UPDATE tenants SET deleted_at = $2, updated_at = $2 WHERE number = $1";
    tx.execute(mark, &[&number, &now]).await?;
    let revoke = "UPDATE api_keys SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL";
    tx.execute(revoke, &[&number, &now]).await?;
    jobs::cancel_all(&tx, number, job.created_at).await?;
    jobs::insert(&tx, number, job).await?;
    done(tx, number, job.clone()).await
}

/// The columns that [`tenant`] reads, from the third on.
const COLUMNS: &str = "id, name, policy, version, created_at, updated_at";

fn tenant(row: &Row) -> Result<Tenant, Trouble> {
    let policy: &str = value(row, 4)?;
    Ok(Tenant {
        id: parsed(row, 2, "tenant id")?,
        name: value(row, 3)?,
        policy: tenant_policy_from_json(policy).map_err(|error| Trouble::damaged("policy", error))?,
        version: whole(row, 5, "version")?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

/// Finds a tenant with its number and its directory's version.
pub(super) async fn find_with_directory(
    link: &Link,
    id: &TenantId,
) -> Result<Option<(i64, u64, Tenant)>, Trouble> {
    let sql = format!(
        "SELECT number, directory_version, {COLUMNS} FROM tenants WHERE id = $1 AND deleted_at IS NULL"
    );
    let Some(row) = link.query_opt(&sql, &[&id.as_str()]).await? else { return Ok(None) };
    Ok(Some((value(&row, 0)?, whole(&row, 1, "directory version")?, tenant(&row)?)))
}
