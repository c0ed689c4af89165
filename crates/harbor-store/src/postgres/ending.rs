//! Open deliveries that end without an attempt, whoever holds them.

use harbor_model::chance::Rng;
use harbor_model::port::Fault;
use harbor_model::time::Timestamp;

use crate::ending::{End, EndColumns};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::rows::value;
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::postgres::{lanes, notices, partitions};

/// What came of ending deliveries.
pub(crate) struct Ended {
    /// Those that were open until now.
    pub(crate) ids: Vec<Uuid>,
    /// Whether somebody behind them in a lane is due by it.
    pub(crate) lane_moved: bool,
}

pub(crate) const TAKE_LEASES: &str = "DELETE FROM leases WHERE ctid = ANY(ARRAY(
    SELECT l.ctid FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (SELECT ctid FROM leases WHERE tenant = $1 AND delivery_id = asked.id OFFSET 0) AS l))";

pub(crate) const LOCK_OPEN: &str = "SELECT o.id FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT d.id FROM open_deliveries AS d WHERE d.tenant = $1 AND d.id = asked.id FOR UPDATE) AS o";

/// Moves open deliveries, which this transaction has locked, to those that are final.
pub(crate) const END: &str = "WITH ended AS (
        DELETE FROM open_deliveries AS d WHERE d.ctid = ANY(ARRAY(
            SELECT o.ctid FROM unnest($2::uuid[]) AS asked (id),
            LATERAL (SELECT ctid FROM open_deliveries WHERE tenant = $1 AND id = asked.id OFFSET 0) AS o))
        RETURNING d.*)
    INSERT INTO deliveries_done (
        tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
        interrupted_count, updated_at, replay_of, new_webhook_id, replay_reason, replay_job, lane_key,
        lane_number, cause, dead_at, dlq_state)
    SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, $3::text, attempt_count,
        interrupted_count, $4::bigint, replay_of, new_webhook_id, replay_reason, replay_job, lane_key,
        lane_number, $5::text, $6::bigint, $7::text
    FROM ended";

/// Ends those of these deliveries of a tenant that are open, takes their leases away, writes notices of
/// the dead, and lets their lanes go on. A result that comes later finds no lease and is superseded; one that
/// came before has moved the delivery on, and is obeyed.
pub(crate) async fn end(
    tx: &Tx,
    rng: &dyn Rng,
    tenant: i64,
    ids: &[Uuid],
    end: End,
    now: Timestamp,
) -> Result<Ended, Trouble> {
    let left = lanes::lanes_of(tx, tenant, ids).await?;
    lanes::lock(tx, &left).await?;
    // The lease goes first, as whoever records a result has it, so that neither waits for the other.
    tx.execute(TAKE_LEASES, &[&tenant, &ids]).await?;
    let locked = tx.query(LOCK_OPEN, &[&tenant, &ids]).await?;
    let ids = locked.iter().map(|row| value(row, 0)).collect::<Result<Vec<Uuid>, _>>()?;
    if ids.is_empty() {
        return Ok(Ended { ids, lane_moved: false });
    }
    // What was lent until the lock came.
    tx.execute(TAKE_LEASES, &[&tenant, &ids]).await?;
    let at = now.unix_ms();
    let EndColumns { status, cause, dead_at, dlq_state } = end.columns(now);
    tx.execute(END, &[&tenant, &ids, &status, &at, &cause, &dead_at, &dlq_state]).await?;
    if matches!(end, End::Dead(_)) {
        notices::tell_of_dead(tx, rng, tenant, &ids, now).await?;
    }
    let lane_moved = lanes::settle(tx, &left, now).await?;
    Ok(Ended { ids, lane_moved })
}

impl PostgresStore {
    /// Does a whole transaction that ends deliveries, which were made at these instants: where the partitions
    /// of their weeks are missing, once more with them.
    pub(crate) async fn retried_with_partitions<T, F>(
        &self,
        doing: &'static str,
        made_at: &[Timestamp],
        attempt: impl Fn() -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let outcome = retried(doing, async || match attempt().await {
            Err(trouble) if trouble.is_missing_partition() => Ok(None),
            outcome => outcome.map(Some),
        });
        if let Some(done) = outcome.await? {
            return Ok(done);
        }
        let made = partitions::make_for(&self.database, made_at.iter().copied()).await;
        made.map_err(|trouble| trouble.into_fault(doing))?;
        retried(doing, attempt).await
    }
}
