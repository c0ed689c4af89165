//! What tenants with a quota have published today, counted over all processes that take events.

use std::collections::BTreeMap;

use async_trait::async_trait;
use harbor_model::id::{TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::quotas::{NODE_SILENT_MS, Quotas, Usage};
use harbor_model::time::Timestamp;

use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::rows::{bigint, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// How many days a count is kept after its own.
const DAYS_KEPT: i64 = 7;

#[async_trait]
impl Quotas for PostgresStore {
    async fn count_usage(
        &self,
        node: WorkerId,
        taken: Vec<(TenantId, u64)>,
        now: Timestamp,
    ) -> Result<Usage, Fault> {
        let ids: Vec<&str> = taken.iter().map(|(id, _)| id.as_str()).collect();
        let mut by_tenant: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, count) in taken.iter().filter(|(_, count)| *count > 0) {
            *by_tenant.entry(id.as_str()).or_default() += count;
        }
        let added: Vec<&str> = by_tenant.keys().copied().collect();
        let counts: Vec<i64> = by_tenant.values().map(|count| bigint(*count)).collect();
        let today = now.day();
        retried("count what was published", async || {
            let tx = self.database.begin_for_workers().await?;
            tx.execute(HEAR, &[&Uuid(node.number())]).await?;
            tx.execute(ADD, &[&added, &counts, &today]).await?;
            let rows = tx.query(READ, &[&ids, &today]).await?;
            let of_day = rows.iter().map(|row| whole(row, 0, "count of events")).collect::<Result<_, _>>()?;
            let row = tx.query_opt(NODES, &[&NODE_SILENT_MS]).await?;
            let nodes = whole(&row.expect("an aggregate has one row"), 0, "count of processes")?;
            tx.commit().await?;
            Ok(Usage { nodes, of_day })
        })
        .await
    }
}

pub(crate) const HEAR: &str = "INSERT INTO intake_nodes (id, heard_at) VALUES ($1, now())
    ON CONFLICT (id) DO UPDATE SET heard_at = now()";

/// In one order, so that processes that count at once do not wait for each other in a circle.
pub(crate) const ADD: &str = "INSERT INTO usage_days AS stored (tenant, day, count)
    SELECT t.number, $3, a.count
    FROM unnest($1::text[], $2::bigint[]) AS a (tenant_id, count),
    LATERAL (
        SELECT tenants.number FROM tenants
        WHERE tenants.id = a.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t
    ORDER BY t.number
    ON CONFLICT (tenant, day) DO UPDATE SET count = stored.count + EXCLUDED.count";

pub(crate) const READ: &str = "SELECT coalesce((
        SELECT u.count FROM tenants AS t, LATERAL (
            SELECT count FROM usage_days WHERE tenant = t.number AND day = $2 OFFSET 0) AS u
        WHERE t.id = a.tenant_id AND t.deleted_at IS NULL), 0)
    FROM unnest($1::text[]) WITH ORDINALITY AS a (tenant_id, place) ORDER BY a.place";

pub(crate) const NODES: &str =
    "SELECT count(*) FROM intake_nodes WHERE heard_at > now() - $1::bigint * interval '1 millisecond'";

/// Forgets the counts of days long gone, and processes that were not heard of for long. There is a row for
/// each tenant with a quota and each of a few days.
pub(crate) async fn forget_old(link: &Link, now: Timestamp) -> Result<(), Trouble> {
    link.execute("DELETE FROM usage_days WHERE day < $1", &[&(now.day() - DAYS_KEPT)]).await?;
    let gone = "DELETE FROM intake_nodes WHERE id = ANY(ARRAY(
        SELECT id FROM intake_nodes WHERE heard_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED))";
    link.execute(gone, &[]).await?;
    Ok(())
}
