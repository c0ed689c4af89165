//! Clearing up in small batches: deliveries whose endpoint has gone, drains that are over, keys whose window is
//! over. What retention removes is in `sweep.rs`.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use harbor_model::delivery::Cause;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::directory::DirectoryCache;
use crate::ending::End;
use crate::pages::first_id_at;
use crate::sqlite::SqliteStore;
use crate::sqlite::deliveries::{BEGINNING, next_open_endpoint};
use crate::sqlite::finish::end_open;
use crate::sqlite::leases::{LeaseTable, Seized};
use crate::sqlite::rows::{blob, number, parsed, value};
use crate::sqlite::sweep;
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// The most endpoints that one walk looks at. The next one goes on where it ended.
const ENDPOINTS_WALKED_MAX: usize = 10_000;

/// The most open deliveries that one walk looks at.
const DELIVERIES_WALKED_MAX: usize = 200_000;

/// Where the walk over endpoints with open deliveries goes on.
#[derive(Clone, Default)]
pub(crate) struct OrphanWalk(Arc<Mutex<Option<WalkPlace>>>);

/// A place in the index of what is due.
#[derive(Clone, Copy, Debug)]
struct WalkPlace {
    /// Behind this endpoint.
    endpoint: (i64, u128),
    /// Where it was left in the midst of the next endpoint: that one, and behind which due time and id.
    within: Option<Within>,
}

#[derive(Clone, Copy, Debug)]
struct Within {
    endpoint: (i64, u128),
    due_at: i64,
    id: u128,
    /// Whether an orphan was seen there before this.
    has_orphans: bool,
}

#[async_trait]
impl Upkeep for SqliteStore {
    async fn end_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let (walk, leases) = (self.orphan_walk.clone(), self.leases.clone());
        let found = self.database.read(move |conn| walk_for_orphans(conn, &walk, &leases, limit)).await?;
        if found.orphans.is_empty() && found.settled.is_empty() {
            return Ok(0);
        }
        let weight = Weight { items: found.orphans.len() + found.settled.len(), bytes: 0 };
        let work = EndOrphans { found, now, leases: self.leases.clone() };
        Ok(self.database.write(weight, work).await?.count)
    }

    async fn forget_keys(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let forget = move |tx: &mut Tx<'_>| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Ok(tx.conn.prepare_cached(FORGET_KEYS)?.execute((now.unix_ms(), limit))?)
        };
        self.database.change(forget, |_| ()).await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        sweep::sweep(self, now, limit).await
    }

    async fn end_drains(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let drained = self.database.read(move |conn| find_drained(conn, limit)).await?;
        if drained.is_empty() {
            return Ok(0);
        }
        let directory = self.directory.clone();
        let end = move |tx: &mut Tx<'_>| {
            let ended = drained.iter().filter_map(|one| end_drain(tx, one, now).transpose());
            ended.collect::<Result<Vec<_>, _>>()
        };
        let ended = self.database.change(end, move |ended| tell(&directory, ended)).await?;
        Ok(ended.len())
    }

    /// Nothing: pages of what is deleted are used again, and the log is copied by its own thread.
    async fn maintain(&self, _now: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

pub(crate) const FORGET_KEYS: &str = "DELETE FROM idempotency_keys WHERE (tenant, scope, key) IN (
        SELECT tenant, scope, key FROM idempotency_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";

/// An open delivery that nobody will make: its endpoint was deleted, or is or was disabled since.
struct Orphan {
    tenant: i64,
    tenant_id: TenantId,
    endpoint_id: u128,
    id: DeliveryId,
}

/// What a walk found.
#[derive(Default)]
struct FoundOrphans {
    orphans: Vec<Orphan>,
    /// Endpoints that were enabled, where nothing is open any more from before, with the time when they were.
    settled: Vec<(i64, u128, i64)>,
}

/// Walks the endpoints that have open deliveries, from where the last walk ended and round once, for
/// those that get none.
fn walk_for_orphans(
    conn: &Connection,
    walk: &OrphanWalk,
    leases: &LeaseTable,
    limit: usize,
) -> Result<FoundOrphans, Trouble> {
    let last = *walk.0.lock().expect("no holder panics");
    let began = last.unwrap_or(WalkPlace { endpoint: BEGINNING, within: None });
    let mut place = began;
    let mut endpoints_left = ENDPOINTS_WALKED_MAX;
    let mut deliveries_left = DELIVERIES_WALKED_MAX;
    let mut found = FoundOrphans::default();
    'walk: for (begin, end) in [(began.endpoint, None), (BEGINNING, Some(began.endpoint))] {
        place.endpoint = begin;
        while let Some(open) = next_open_endpoint(conn, place.endpoint)? {
            let here = (open.tenant, open.endpoint_id);
            if end.is_some_and(|end| here > end) {
                break;
            }
            if let Some(ending) = find_ending(conn, here)? {
                let within = place.within.take().filter(|within| within.endpoint == here);
                let mut taking = Taking { conn, leases, here, ending: &ending, found: &mut found };
                place.within = taking.take(within, limit, &mut deliveries_left)?;
                if place.within.is_some() {
                    // The next walk goes on in the midst of it.
                    break 'walk;
                }
            }
            endpoints_left -= 1;
            if found.orphans.len() >= limit || endpoints_left == 0 {
                // What was taken is seen again by the next walk, which begins just before it, if it is left.
                break 'walk;
            }
            place.endpoint = here;
        }
    }
    *walk.0.lock().expect("no holder panics") = Some(place);
    settle_empty(conn, &mut found)?;
    Ok(found)
}

/// Why an endpoint's open deliveries end, if they do, and when it was enabled, if all of them from before do. A
/// row that is not there was deleted long ago.
pub(crate) const ENDPOINT_END: &str = "SELECT t.id,
        CASE WHEN e.id IS NULL OR e.deleted_at IS NOT NULL THEN 'cancelled'
             WHEN e.disabled IS NOT NULL OR e.enabled_at IS NOT NULL THEN 'dead' END,
        CASE WHEN e.disabled IS NULL AND e.deleted_at IS NULL THEN e.enabled_at END
    FROM tenants AS t LEFT JOIN endpoints AS e ON e.tenant = t.number AND e.id = ?2
    WHERE t.number = ?1";

/// How the open deliveries of an endpoint end.
struct Ending {
    tenant_id: TenantId,
    end: End,
    /// Only those that were made before this.
    made_before: Option<i64>,
}

impl Ending {
    fn is_of(&self, id: u128) -> bool {
        let made_at = DeliveryId::from_number(id).made_at().unix_ms();
        self.made_before.is_none_or(|made_before| made_at < made_before)
    }
}

fn find_ending(conn: &Connection, endpoint: (i64, u128)) -> Result<Option<Ending>, Trouble> {
    let mut query = conn.prepare_cached(ENDPOINT_END)?;
    let mut rows = query.query((endpoint.0, blob(endpoint.1)))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let end = match value::<Option<String>>(row, 1)?.as_deref() {
        Some("cancelled") => End::Cancelled,
        Some(_) => End::Dead(Cause::EndpointDisabled),
        None => return Ok(None),
    };
    Ok(Some(Ending { tenant_id: parsed(row, 0, "tenant id")?, end, made_before: value(row, 2)? }))
}

pub(crate) const OPEN_OF_ENDPOINT: &str = "SELECT id, due_at FROM deliveries INDEXED BY deliveries_due
    WHERE tenant = ?1 AND endpoint_id = ?2 AND due_at IS NOT NULL AND (due_at, id) > (?3, ?4)
    ORDER BY due_at, id";

/// Takes the orphans of one endpoint.
struct Taking<'a> {
    conn: &'a Connection,
    leases: &'a LeaseTable,
    here: (i64, u128),
    ending: &'a Ending,
    found: &'a mut FoundOrphans,
}

impl Taking<'_> {
    /// Takes as many as may be, from where the last walk left it. Answers where it was left, if that was before
    /// the end.
    fn take(
        &mut self,
        within: Option<Within>,
        limit: usize,
        deliveries_left: &mut usize,
    ) -> Result<Option<Within>, Trouble> {
        let (tenant, endpoint_id) = self.here;
        let mut at =
            within.unwrap_or(Within { endpoint: self.here, due_at: i64::MIN, id: 0, has_orphans: false });
        let mut query = self.conn.prepare_cached(OPEN_OF_ENDPOINT)?;
        let mut rows = query.query((tenant, blob(endpoint_id), at.due_at, blob(at.id)))?;
        while let Some(row) = rows.next()? {
            if self.found.orphans.len() >= limit {
                // Those who are taken leave the index: the next walk begins with this endpoint anew.
                return Ok(None);
            }
            if *deliveries_left == 0 {
                return Ok(Some(at));
            }
            *deliveries_left -= 1;
            (at.id, at.due_at) = (number(row, 0)?, value(row, 1)?);
            if !self.ending.is_of(at.id) {
                continue;
            }
            at.has_orphans = true;
            let id = DeliveryId::from_number(at.id);
            // What is in flight is left to its holder; what remains of it then comes here.
            if !self.leases.is_leased(id) {
                let tenant_id = self.ending.tenant_id.clone();
                self.found.orphans.push(Orphan { tenant, tenant_id, endpoint_id, id });
            }
        }
        if let Some(enabled_at) = self.ending.made_before.filter(|_| !at.has_orphans) {
            self.found.settled.push((tenant, endpoint_id, enabled_at));
        }
        Ok(None)
    }
}

/// The most endpoints without anything open that are settled at a time.
const SETTLED_AT_ONCE: usize = 100;

pub(crate) const ENABLED: &str = "SELECT tenant, id, enabled_at FROM endpoints INDEXED BY endpoints_enabled
    WHERE enabled_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d WHERE d.tenant = endpoints.tenant AND d.endpoint_id = endpoints.id
        AND d.due_at IS NOT NULL)
    LIMIT ?1";

/// Finds the endpoints that were enabled and have nothing open: the walk does not come by them.
fn settle_empty(conn: &Connection, found: &mut FoundOrphans) -> Result<(), Trouble> {
    let mut query = conn.prepare_cached(ENABLED)?;
    let mut rows = query.query([SETTLED_AT_ONCE])?;
    while let Some(row) = rows.next()? {
        found.settled.push((value(row, 0)?, number(row, 1)?, value(row, 2)?));
    }
    Ok(())
}

struct EndOrphans {
    found: FoundOrphans,
    now: Timestamp,
    leases: Arc<LeaseTable>,
}

/// How many were ended, and what keeps others away from them until the commit is answered.
pub(crate) struct Ended {
    count: usize,
    _seized: Vec<Seized>,
}

pub(crate) const SETTLE: &str = "UPDATE endpoints SET enabled_at = NULL
    WHERE tenant = ?1 AND id = ?2 AND enabled_at = ?3";

impl EndOrphans {
    fn end_all(&self, tx: &mut Tx<'_>) -> Result<Ended, Trouble> {
        let mut count = 0;
        let mut seized = Vec::new();
        for orphan in &self.found.orphans {
            // The endpoint may have been enabled since it was walked past.
            let here = (orphan.tenant, orphan.endpoint_id);
            let Some(ending) = find_ending(tx.conn, here)? else { continue };
            if !ending.is_of(orphan.id.number()) {
                continue;
            }
            let Some(one) = self.leases.seize(&orphan.tenant_id, orphan.id) else { continue };
            seized.push(one);
            let is_ended = end_open(tx, orphan.tenant, orphan.id.number(), ending.end, self.now)?;
            count += usize::from(is_ended);
        }
        for (tenant, endpoint_id, enabled_at) in &self.found.settled {
            tx.conn.prepare_cached(SETTLE)?.execute((tenant, blob(*endpoint_id), enabled_at))?;
        }
        Ok(Ended { count, _seized: seized })
    }
}

impl Work for EndOrphans {
    type Answer = Ended;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Ended, Trouble> {
        self.end_all(tx)
    }
}

/// An endpoint where nothing waits any more from before it was resumed.
struct Drained {
    tenant_id: TenantId,
    tenant: i64,
    endpoint_id: u128,
    since: i64,
}

pub(crate) const DRAINED: &str = "SELECT t.id, e.tenant, e.id, e.drain_since
    FROM endpoints AS e INDEXED BY endpoints_draining CROSS JOIN tenants AS t ON t.number = e.tenant
    WHERE e.drain_since IS NOT NULL AND t.deleted_at IS NULL AND e.deleted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d
        WHERE d.tenant = e.tenant AND d.endpoint_id = e.id AND d.due_at <= e.drain_since)";

/// Whether an ordered lane has a head that waited before the id `?3` and was not tried since. Those behind it
/// become due one after the other, each later than the drain began.
pub(crate) const LANE_DRAINS: &str = "SELECT 1 FROM lanes AS l CROSS JOIN deliveries AS d
        ON d.tenant = l.tenant AND d.id = l.head_id
    WHERE l.tenant = ?1 AND l.endpoint_id = ?2 AND l.held_at IS NULL AND l.head_id < ?3
      AND d.attempt_count = 0 AND d.due_at IS NOT NULL LIMIT 1";

fn find_drained(conn: &Connection, limit: usize) -> Result<Vec<Drained>, Trouble> {
    let mut query = conn.prepare_cached(DRAINED)?;
    let mut lane_drains = conn.prepare_cached(LANE_DRAINS)?;
    let mut rows = query.query([])?;
    let mut drained = Vec::new();
    while drained.len() < limit
        && let Some(row) = rows.next()?
    {
        let one = Drained {
            tenant_id: parsed(row, 0, "tenant id")?,
            tenant: value(row, 1)?,
            endpoint_id: number(row, 2)?,
            since: value(row, 3)?,
        };
        let later = first_id_at(Timestamp::from_unix_ms(one.since + 1));
        if !lane_drains.exists((one.tenant, blob(one.endpoint_id), blob(later)))? {
            drained.push(one);
        }
    }
    Ok(drained)
}

pub(crate) const END_DRAIN: &str = "UPDATE endpoints
    SET drain_per_second = NULL, drain_since = NULL, version = version + 1, updated_at = ?4
    WHERE tenant = ?1 AND id = ?2 AND drain_since = ?3";

/// Ends a drain, unless somebody resumed the endpoint again. Answers the version of the tenant's directory.
fn end_drain(tx: &mut Tx<'_>, drained: &Drained, now: Timestamp) -> Result<Option<(TenantId, u64)>, Trouble> {
    let key = (drained.tenant, blob(drained.endpoint_id), drained.since, now.unix_ms());
    if tx.conn.prepare_cached(END_DRAIN)?.execute(key)? == 0 {
        return Ok(None);
    }
    let version = tx.raise_directory_version(&drained.tenant_id)?;
    Ok(Some((drained.tenant_id.clone(), version)))
}

fn tell(directory: &DirectoryCache, ended: &[(TenantId, u64)]) {
    for (tenant_id, version) in ended {
        directory.observe(tenant_id, *version);
    }
}
