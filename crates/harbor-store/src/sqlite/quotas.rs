//! What tenants with a quota published of a day.

use async_trait::async_trait;
use harbor_model::id::{TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::quotas::{Quotas, Usage};
use harbor_model::time::Timestamp;

use crate::sqlite::SqliteStore;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Quotas for SqliteStore {
    async fn count_usage(
        &self,
        _: WorkerId,
        taken: Vec<(TenantId, u64)>,
        now: Timestamp,
    ) -> Result<Usage, Fault> {
        let day = now.day();
        let count = move |tx: &mut Tx<'_>| {
            taken.iter().map(|(tenant_id, count)| count_of_day(tx, tenant_id, day, *count)).collect()
        };
        let of_day = self.database.change(count, |_: &Vec<u64>| ()).await?;
        // No other process works with this database.
        Ok(Usage { nodes: 1, of_day })
    }
}

pub(crate) const COUNT: &str = "INSERT INTO usage_days (tenant, day, count) VALUES (?1, ?2, ?3)
    ON CONFLICT (tenant, day) DO UPDATE SET count = count + ?3
    RETURNING count";

pub(crate) const FORGET: &str = "DELETE FROM usage_days WHERE tenant = ?1 AND day < ?2";

/// Adds to what a tenant has taken of a day, and answers it. An unknown tenant took nothing.
fn count_of_day(tx: &mut Tx<'_>, tenant_id: &TenantId, day: i64, taken: u64) -> Result<u64, Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok(0) };
    if taken == 0 {
        let sql = "SELECT coalesce(max(count), 0) FROM usage_days WHERE tenant = ?1 AND day = ?2";
        return Ok(tx.conn.prepare_cached(sql)?.query_row((tenant.number, day), |row| row.get(0))?);
    }
    let count = tx.conn.prepare_cached(COUNT)?.query_row((tenant.number, day, taken), |row| row.get(0))?;
    if count == taken {
        // A new day: the ones before count for nothing.
        tx.conn.prepare_cached(FORGET)?.execute((tenant.number, day))?;
    }
    Ok(count)
}
