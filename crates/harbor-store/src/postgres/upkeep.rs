//! Clearing up in small batches: deliveries whose endpoint has gone, keys whose window is over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::port::Fault;
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, Tx, retried};
use crate::postgres::rows::{bigint, number, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// The most endpoints that one walk looks at. The next one goes on where it ended.
const ENDPOINTS_WALKED_MAX: i64 = 10_000;

/// Before the first endpoint of the first tenant.
const BEGINNING: (i64, u128) = (0, 0);

/// Where the walk over endpoints with open deliveries goes on: the tenant's number and the endpoint.
#[derive(Default)]
pub(crate) struct OrphanWalk(Mutex<(i64, u128)>);

impl OrphanWalk {
    fn place(&self) -> MutexGuard<'_, (i64, u128)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn end_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        self.leases.settled().await;
        let mut count = 0;
        let begun_at = *self.orphan_walk.place();
        // From where the last walk ended, and round once.
        for begin in [begun_at, BEGINNING] {
            let walked = retried("look for orphans", async || {
                walk(&self.database.browse().await?, begin, limit - count).await
            })
            .await?;
            for endpoint in walked.endpoints {
                count += self.end_orphans_of(endpoint, now, limit - count).await?;
                if count >= limit {
                    // More may be left of this endpoint.
                    *self.orphan_walk.place() = endpoint;
                    return Ok(count);
                }
            }
            *self.orphan_walk.place() = walked.next.unwrap_or(BEGINNING);
            if walked.next.is_some() || begun_at == BEGINNING {
                break;
            }
        }
        Ok(count)
    }

    async fn forget_keys(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let forgotten = retried("forget idempotency keys", async || {
            let link = self.database.browse().await?;
            link.execute(FORGET_KEYS, &[&now.unix_ms(), &bigint(limit)]).await
        })
        .await?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), Fault> {
        retried("maintain the database", async || self.maintenance.run(&self.database, now).await).await
    }
}

pub(crate) const FORGET_KEYS: &str = "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys WHERE expires_at <= $1
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Why the open deliveries of the endpoint `e` end, if they do. One that is not there was deleted long ago.
macro_rules! endpoint_end {
    () => {
        "CASE WHEN e.id IS NULL OR e.deleted_at IS NOT NULL THEN 'cancelled'
              WHEN e.disabled IS NOT NULL THEN 'dead' END"
    };
}

/// Walks the endpoints that have open deliveries, each found with one seek, however many deliveries lie
/// between. Answers those whose deliveries end, and the last one, whatever becomes of it.
pub(crate) const WALK: &str = concat!(
    "WITH RECURSIVE walked AS (
        (SELECT tenant, endpoint_id, 1::bigint AS step FROM open_deliveries
         WHERE (tenant, endpoint_id) >= ($1, $2) ORDER BY tenant, endpoint_id LIMIT 1)
        UNION ALL
        SELECT following.tenant, following.endpoint_id, walked.step + 1
        FROM walked CROSS JOIN LATERAL (
            SELECT tenant, endpoint_id FROM open_deliveries AS d
            WHERE (d.tenant, d.endpoint_id) > (walked.tenant, walked.endpoint_id)
            ORDER BY d.tenant, d.endpoint_id LIMIT 1) AS following
        WHERE walked.step < $3),
    judged AS (
        SELECT w.tenant, w.endpoint_id, w.step, ",
    endpoint_end!(),
    " AS ended_as
        FROM walked AS w LEFT JOIN LATERAL (
            SELECT id, deleted_at, disabled FROM endpoints
            WHERE tenant = w.tenant AND id = w.endpoint_id LIMIT 1) AS e ON true)
    SELECT tenant, endpoint_id, ended_as IS NOT NULL, step = $3 FROM judged
    WHERE ended_as IS NOT NULL OR step = $3
    ORDER BY step LIMIT $4"
);

/// What one walk found.
struct Walked {
    /// Endpoints with open deliveries that nobody will make.
    endpoints: Vec<(i64, u128)>,
    /// Where the next walk begins; none where this one came to the end.
    next: Option<(i64, u128)>,
}

async fn walk(link: &Link, begin: (i64, u128), limit: usize) -> Result<Walked, Trouble> {
    let limit = bigint(limit).saturating_add(1);
    let rows = link.query(WALK, &[&begin.0, &Uuid(begin.1), &ENDPOINTS_WALKED_MAX, &limit]).await?;
    let mut walked = Walked { endpoints: Vec::new(), next: None };
    for row in &rows {
        let endpoint = (value(row, 0)?, number(row, 1)?);
        if value(row, 2)? {
            walked.endpoints.push(endpoint);
        }
        if value(row, 3)? {
            walked.next = Some(endpoint);
        }
    }
    if bigint(rows.len()) == limit {
        walked.next = walked.endpoints.last().copied();
    }
    Ok(walked)
}

/// How an open delivery ends without an attempt.
#[derive(Clone, Copy, Debug)]
enum End {
    Cancelled,
    Dead(Cause),
}

pub(crate) const ENDPOINT_END: &str = concat!(
    "SELECT ",
    endpoint_end!(),
    " FROM tenants AS t LEFT JOIN endpoints AS e ON e.tenant = t.number AND e.id = $2 WHERE t.number = $1"
);

async fn find_end(link: &Link, (tenant, endpoint): (i64, u128)) -> Result<Option<End>, Trouble> {
    let Some(row) = link.query_opt(ENDPOINT_END, &[&tenant, &Uuid(endpoint)]).await? else { return Ok(None) };
    Ok(match value::<Option<&str>>(&row, 0)? {
        Some("cancelled") => Some(End::Cancelled),
        Some(_) => Some(End::Dead(Cause::EndpointDisabled)),
        None => None,
    })
}

/// Takes open deliveries of an endpoint that nobody holds, and keeps everybody from leasing them.
pub(crate) const LOCK_ORPHANS: &str = "SELECT d.id FROM open_deliveries AS d
    WHERE d.tenant = $1 AND d.endpoint_id = $2
      AND (SELECT true FROM leases AS l WHERE l.tenant = d.tenant AND l.delivery_id = d.id LIMIT 1) IS NULL
    ORDER BY d.id LIMIT $3 FOR UPDATE SKIP LOCKED";

/// Ends open deliveries, and keeps them as final. What was leased before the lock came is left to its
/// holder; what remains of it then comes here again.
pub(crate) const END_ORPHANS: &str = "WITH ended AS (
        DELETE FROM open_deliveries AS d WHERE d.ctid = ANY(ARRAY(
            SELECT free.ctid FROM unnest($2::uuid[]) AS asked (id),
            LATERAL (
                SELECT o.ctid FROM open_deliveries AS o
                WHERE o.tenant = $1 AND o.id = asked.id AND (
                    SELECT true FROM leases AS l WHERE l.tenant = o.tenant AND l.delivery_id = o.id LIMIT 1) IS NULL
                OFFSET 0) AS free))
        RETURNING d.*)
    INSERT INTO deliveries_done (
        tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
        interrupted_count, updated_at, replay_of, new_webhook_id, replay_reason, lane_key, lane_number,
        cause, dead_at, dlq_state)
    SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, $3::text, attempt_count,
        interrupted_count, $4::bigint, replay_of, new_webhook_id, replay_reason, lane_key, lane_number,
        $5::text, $6::bigint, $7::text
    FROM ended";

impl PostgresStore {
    async fn end_orphans_of(
        &self,
        endpoint: (i64, u128),
        now: Timestamp,
        limit: usize,
    ) -> Result<usize, Fault> {
        retried("end orphans", async || {
            let tx = self.database.begin().await?;
            // The endpoint may have been enabled since it was walked past.
            let Some(end) = find_end(&tx, endpoint).await? else { return Ok(0) };
            let locked = tx.query(LOCK_ORPHANS, &[&endpoint.0, &Uuid(endpoint.1), &bigint(limit)]).await?;
            let ids = locked.iter().map(|row: &Row| value(row, 0)).collect::<Result<Vec<Uuid>, _>>()?;
            if ids.is_empty() {
                return Ok(0);
            }
            let count = end_all(&tx, endpoint.0, &ids, end, now).await?;
            tx.commit().await?;
            Ok(count)
        })
        .await
    }
}

async fn end_all(tx: &Tx, tenant: i64, ids: &[Uuid], end: End, now: Timestamp) -> Result<usize, Trouble> {
    let now = now.unix_ms();
    let (status, cause, dead_at, state) = match end {
        End::Cancelled => (DeliveryStatus::Cancelled, None, None, None),
        End::Dead(cause) => {
            let state = DeadLetterState::Open.as_str();
            (DeliveryStatus::Dead, Some(cause.as_str()), Some(now), Some(state))
        }
    };
    let ended =
        tx.execute(END_ORPHANS, &[&tenant, &ids, &status.as_str(), &now, &cause, &dead_at, &state]).await?;
    Ok(usize::try_from(ended).unwrap_or(usize::MAX))
}
