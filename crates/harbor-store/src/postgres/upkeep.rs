//! Clearing up in small batches: deliveries whose endpoint has gone, drains that are over, keys whose window
//! is. What is past its retention is in `sweep.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use harbor_model::delivery::Cause;
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::Timestamp;

use crate::ending::End;
use crate::pages::first_id_at;
use crate::postgres::database::{Link, retried};
use crate::postgres::ending;
use crate::postgres::registry::raise_directory_version;
use crate::postgres::rows::{bigint, number, parsed, time_if_any, value};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;
use crate::postgres::{PostgresStore, lanes};

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
        retried("forget that endpoints were disabled", async || {
            let link = self.database.browse().await?;
            link.execute(FORGET_ENABLED, &[&bigint(limit)]).await.map(drop)
        })
        .await?;
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

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        self.sweep_history(now, limit).await
    }

    async fn end_drains(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let drained = retried("look for drains that are over", async || {
            let link = self.database.browse().await?;
            let rows = link.query(DRAINED, &[&bigint(limit)]).await?;
            rows.iter().map(|row| Ok((value(row, 0)?, number(row, 1)?))).collect::<Result<Vec<_>, Trouble>>()
        })
        .await?;
        let mut count = 0;
        for endpoint in drained {
            let ended = retried("end a drain", async || self.end_drain(endpoint, now).await).await?;
            if let Some((tenant_id, version)) = ended {
                self.directory.observe(&tenant_id, version);
                count += 1;
            }
        }
        Ok(count)
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), Fault> {
        retried("maintain the database", async || self.maintenance.run(&self.database, now).await).await?;
        self.replace_old_weeks(now).await
    }
}

pub(crate) const FORGET_KEYS: &str = "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys WHERE expires_at <= $1
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Why open deliveries of the endpoint `e` end, if they do. One that is not there was deleted long ago. One
/// that was enabled again was disabled when it had those from before.
macro_rules! endpoint_end {
    () => {
        "CASE WHEN e.id IS NULL OR e.deleted_at IS NOT NULL THEN 'cancelled'
              WHEN e.disabled IS NOT NULL THEN 'dead'
              WHEN e.enabled_at IS NOT NULL THEN 'passed' END"
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
            SELECT id, deleted_at, disabled, CASE WHEN (
                       SELECT true FROM open_deliveries AS o
                       WHERE o.tenant = w.tenant AND o.endpoint_id = w.endpoint_id
                         AND o.id < ulid_floor(endpoints.enabled_at) LIMIT 1) THEN enabled_at END AS enabled_at
            FROM endpoints
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

/// How open deliveries of an endpoint end.
struct Ending {
    end: End,
    /// Those that were made before this, if not all.
    made_before: Option<Timestamp>,
}

pub(crate) const ENDPOINT_END: &str = concat!(
    "SELECT ",
    endpoint_end!(),
    ", e.enabled_at
    FROM tenants AS t LEFT JOIN endpoints AS e ON e.tenant = t.number AND e.id = $2 WHERE t.number = $1"
);

async fn find_end(link: &Link, (tenant, endpoint): (i64, u128)) -> Result<Option<Ending>, Trouble> {
    let Some(row) = link.query_opt(ENDPOINT_END, &[&tenant, &Uuid(endpoint)]).await? else { return Ok(None) };
    let dead = End::Dead(Cause::EndpointDisabled);
    Ok(match value::<Option<&str>>(&row, 0)? {
        Some("cancelled") => Some(Ending { end: End::Cancelled, made_before: None }),
        Some("dead") => Some(Ending { end: dead, made_before: None }),
        Some(_) => Some(Ending { end: dead, made_before: time_if_any(&row, 1)? }),
        None => None,
    })
}

/// Open deliveries of an endpoint that nobody holds, the oldest first.
pub(crate) const FIND_ORPHANS: &str = "SELECT d.id FROM open_deliveries AS d
    WHERE d.tenant = $1 AND d.endpoint_id = $2 AND d.id <= $3
      AND (SELECT true FROM leases AS l WHERE l.tenant = d.tenant AND l.delivery_id = d.id LIMIT 1) IS NULL
    ORDER BY d.id LIMIT $4";

/// Takes those of them that nobody else has, and keeps everybody from leasing them.
pub(crate) const LOCK_ORPHANS: &str = "SELECT o.id FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT d.id FROM open_deliveries AS d
        WHERE d.tenant = $1 AND d.id = asked.id FOR UPDATE SKIP LOCKED) AS o";

/// What was leased before the lock came is left to its holder; what remains of it then comes here again.
pub(crate) const STILL_FREE: &str = "SELECT asked.id FROM unnest($2::uuid[]) AS asked (id)
    WHERE (SELECT true FROM leases AS l WHERE l.tenant = $1 AND l.delivery_id = asked.id LIMIT 1) IS NULL";

/// What was open when these endpoints were enabled again has ended.
pub(crate) const FORGET_ENABLED: &str = "UPDATE endpoints SET enabled_at = NULL WHERE ctid = ANY(ARRAY(
    SELECT e.ctid FROM endpoints AS e
    WHERE e.enabled_at IS NOT NULL AND (
        SELECT true FROM open_deliveries AS o
        WHERE o.tenant = e.tenant AND o.endpoint_id = e.id AND o.id < ulid_floor(e.enabled_at) LIMIT 1) IS NULL
    ORDER BY e.tenant, e.id LIMIT $1))";

/// Whether the endpoint `e` drains, and nothing is left of what waited: nothing that was due before, and no head
/// of a lane that was not tried since. Those behind it become due one after the other, each later than the
/// drain began.
macro_rules! has_drained {
    () => {
        "e.drain_since IS NOT NULL AND e.deleted_at IS NULL AND (
            SELECT true FROM open_deliveries AS o
            WHERE o.tenant = e.tenant AND o.endpoint_id = e.id AND o.due_at <= e.drain_since LIMIT 1) IS NULL
          AND (
            SELECT true FROM lanes AS l,
            LATERAL (SELECT 1 FROM open_deliveries AS o
                     WHERE o.tenant = l.tenant AND o.id = l.head_id AND o.attempt_count = 0 OFFSET 0) AS head
            WHERE l.tenant = e.tenant AND l.endpoint_id = e.id AND l.held_at IS NULL
              AND l.head_id < ulid_floor(e.drain_since + 1) LIMIT 1) IS NULL"
    };
}

pub(crate) const DRAINED: &str = concat!(
    "SELECT e.tenant, e.id FROM endpoints AS e WHERE ",
    has_drained!(),
    " ORDER BY e.tenant, e.id LIMIT $1"
);

pub(crate) const END_DRAIN: &str = concat!(
    "UPDATE endpoints AS e
     SET drain_per_second = NULL, drain_since = NULL, version = version + 1, updated_at = $3
     WHERE e.tenant = $1 AND e.id = $2 AND ",
    has_drained!()
);

fn ids(rows: &[tokio_postgres::Row]) -> Result<Vec<Uuid>, Trouble> {
    rows.iter().map(|row| value(row, 0)).collect()
}

impl PostgresStore {
    async fn end_orphans_of(
        &self,
        (tenant, endpoint): (i64, u128),
        now: Timestamp,
        limit: usize,
    ) -> Result<usize, Fault> {
        let ended = retried("end orphans", async || {
            let tx = self.database.begin().await?;
            // The endpoint may have been enabled since it was walked past.
            let Some(Ending { end, made_before }) = find_end(&tx, (tenant, endpoint)).await? else {
                return Ok(None);
            };
            let last = match made_before {
                Some(made_before) => Uuid(first_id_at(made_before).saturating_sub(1)),
                None => Uuid(u128::MAX),
            };
            let found = tx.query(FIND_ORPHANS, &[&tenant, &Uuid(endpoint), &last, &bigint(limit)]).await?;
            let found = ids(&found)?;
            // Lanes come first, wherever anything is done to what is in them.
            lanes::lock(&tx, &lanes::lanes_of(&tx, tenant, &found).await?).await?;
            let taken = ids(&tx.query(LOCK_ORPHANS, &[&tenant, &found]).await?)?;
            let free = ids(&tx.query(STILL_FREE, &[&tenant, &taken]).await?)?;
            if free.is_empty() {
                return Ok(None);
            }
            let ended = ending::end(&tx, &*self.rng, tenant, &free, end, now).await?;
            tx.commit().await?;
            Ok(Some(ended))
        })
        .await?;
        let Some(ended) = ended else { return Ok(0) };
        if ended.lane_moved {
            self.hints.signal();
        }
        Ok(ended.ids.len())
    }

    /// Ends a drain, if it is over; answers the tenant and its directory's version.
    async fn end_drain(
        &self,
        (tenant, endpoint): (i64, u128),
        now: Timestamp,
    ) -> Result<Option<(TenantId, u64)>, Trouble> {
        let tx = self.database.begin().await?;
        let lock = "SELECT id FROM tenants WHERE number = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
        let Some(row) = tx.query_opt(lock, &[&tenant]).await? else { return Ok(None) };
        if tx.execute(END_DRAIN, &[&tenant, &Uuid(endpoint), &now.unix_ms()]).await? == 0 {
            return Ok(None);
        }
        let version = raise_directory_version(&tx, tenant).await?;
        tx.commit().await?;
        Ok(Some((parsed(&row, 0, "tenant id")?, version)))
    }
}
