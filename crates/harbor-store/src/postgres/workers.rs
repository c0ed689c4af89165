//! Who is at work, and what becomes of the work of the dead.

use async_trait::async_trait;
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::workers::{Leader, Roll, Workers};
use harbor_model::time::Timestamp;
use tokio_postgres::types::ToSql;

use crate::postgres::PostgresStore;
use crate::postgres::database::retried;
use crate::postgres::rows::{bigint, number, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Workers for PostgresStore {
    async fn enlist(&self, worker: WorkerId, now: Timestamp) -> Result<(), Fault> {
        retried("enlist", async || {
            let link = self.database.beat().await?;
            link.execute(ENLIST, &[&Uuid(worker.number()), &now.unix_ms()]).await.map(drop)
        })
        .await
    }

    async fn beat(&self, worker: WorkerId, _: Timestamp) -> Result<Roll, Fault> {
        let roll = retried("beat", async || {
            let link = self.database.beat().await?;
            let rows = link.query(BEAT, &[&Uuid(worker.number())]).await?;
            let entry = |row| Ok((WorkerId::from_number(number(row, 0)?), whole(row, 1, "counter")?));
            let mut counts = rows.iter().map(entry).collect::<Result<Vec<(WorkerId, u64)>, Trouble>>()?;
            counts.sort_unstable();
            let is_enlisted = counts.iter().any(|(enlisted, _)| *enlisted == worker);
            // A lease that was on its way while its worker was buried.
            if link.execute(FREE_STRAYS, &[]).await? > 0 {
                self.hints.signal();
            }
            Ok(Roll { is_enlisted, counts })
        });
        roll.await
    }

    async fn bury(&self, worker: WorkerId, count: u64, now: Timestamp) -> Result<Option<usize>, Fault> {
        self.leases.settled().await;
        let freed = retried("bury", async || {
            let tx = self.database.begin_for_workers().await?;
            if tx.execute(STRIKE_OFF_AT, &[&Uuid(worker.number()), &bigint(count)]).await? == 0 {
                return Ok(None);
            }
            let row = tx.query_opt(FREE_OF_DEAD, &[&Uuid(worker.number()), &now.unix_ms()]).await?;
            let freed = whole(&row.expect("a count is one row"), 0, "count of leases")?;
            tx.commit().await?;
            Ok(Some(freed))
        });
        let freed = freed.await?;
        if freed.is_some_and(|freed| freed > 0) {
            self.hints.signal();
        }
        Ok(freed)
    }

    async fn discharge(&self, worker: WorkerId) -> Result<(), Fault> {
        self.leases.settled().await;
        retried("discharge", async || {
            let tx = self.database.begin_for_workers().await?;
            tx.execute(STRIKE_OFF, &[&Uuid(worker.number())]).await?;
            tx.execute(FREE_OF_WORKER, &[&Uuid(worker.number())]).await?;
            tx.commit().await
        })
        .await?;
        self.hints.signal();
        Ok(())
    }

    async fn reconcile(&self, worker: WorkerId) -> Result<usize, Fault> {
        self.reconcile_leases(worker).await
    }

    async fn lead(
        &self,
        task: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault> {
        retried("lead", async || {
            let link = self.database.beat().await?;
            let outlived_worker = outlived.map(|leader| Uuid(leader.worker.number()));
            let outlived_count = outlived.map(|leader| bigint(leader.count));
            let asked: [&(dyn ToSql + Sync); 4] =
                [&task, &Uuid(candidate.number()), &outlived_worker, &outlived_count];
            // Where another has it, the row is read by a statement of its own, which sees what was committed
            // meanwhile.
            let row = match link.query_opt(LEAD, &asked).await? {
                Some(row) => Some(row),
                None => link.query_opt(FIND_LEADER, &[&task]).await?,
            };
            let row = row.ok_or_else(|| Trouble::damaged("leader", "its row went while it was looked at"))?;
            let worker = WorkerId::from_number(number(&row, 0)?);
            Ok(Leader { worker, count: whole(&row, 1, "counter")? })
        })
        .await
    }
}

pub(crate) const ENLIST: &str = "INSERT INTO workers (id, count, enlisted_at) VALUES ($1, 0, $2)
    ON CONFLICT (id) DO NOTHING";

pub(crate) const BEAT: &str = "WITH beaten AS (
        UPDATE workers SET count = count + 1 WHERE id = $1 RETURNING id, count
    )
    SELECT id, count FROM beaten
    UNION ALL
    SELECT id, count FROM workers WHERE id <> $1";

/// Frees the leases of workers that are not at work: walks the workers that hold any, one seek each.
pub(crate) const FREE_STRAYS: &str = "WITH RECURSIVE holders AS (
        (SELECT l.worker FROM leases AS l ORDER BY l.worker LIMIT 1)
        UNION ALL
        SELECT n.worker FROM holders,
        LATERAL (
            SELECT l.worker FROM leases AS l WHERE l.worker > holders.worker
            ORDER BY l.worker LIMIT 1) AS n
    )
    DELETE FROM leases WHERE leases.worker = ANY(ARRAY(
        SELECT holders.worker FROM holders
        WHERE (SELECT true FROM workers AS w WHERE w.id = holders.worker) IS NULL))";

pub(crate) const STRIKE_OFF_AT: &str = "DELETE FROM workers WHERE id = $1 AND count = $2";

pub(crate) const STRIKE_OFF: &str = "DELETE FROM workers WHERE id = $1";

pub(crate) const FREE_OF_WORKER: &str = "DELETE FROM leases WHERE worker = $1";

/// Frees what a dead worker held, and counts interruptions: a first one on suspicion; a further one only
/// where its attempt is known to have begun, so that it hits those that were at it. Who was interrupted
/// too often is left to whoever leases it next.
///
/// A row that is written over itself is locked, so that it stands.
pub(crate) const FREE_OF_DEAD: &str = "WITH freed AS (
        DELETE FROM leases WHERE worker = $1 RETURNING tenant, delivery_id, is_started
    ), hit AS MATERIALIZED (
        SELECT d.*
        FROM freed,
        LATERAL (
            SELECT o.tenant, o.id, o.event_id, o.endpoint_id, o.event_type, o.payload_bytes,
                   o.status, o.attempt_count, o.interrupted_count, o.new_webhook_id
            FROM open_deliveries AS o
            WHERE o.tenant = freed.tenant AND o.id = freed.delivery_id
              AND (o.interrupted_count = 0 OR freed.is_started) FOR UPDATE) AS d
    ), interrupted AS (
        INSERT INTO open_deliveries
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, updated_at, new_webhook_id)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
               interrupted_count + 1, $2, new_webhook_id
        FROM hit
        ON CONFLICT (tenant, id) DO UPDATE
        SET interrupted_count = EXCLUDED.interrupted_count, updated_at = EXCLUDED.updated_at
    )
    SELECT count(*) FROM freed";

pub(crate) const LEAD: &str = "INSERT INTO leaders AS held (task, worker, count) VALUES ($1, $2, 1)
    ON CONFLICT (task) DO UPDATE SET worker = EXCLUDED.worker, count = held.count + 1
    WHERE held.worker = $2 OR (held.worker = $3 AND held.count = $4)
    RETURNING worker, count";

pub(crate) const FIND_LEADER: &str = "SELECT worker, count FROM leaders WHERE task = $1";
