//! Clearing up in small batches: deliveries whose endpoint has gone, keys whose window is over.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use harbor_model::delivery::Cause;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::sqlite::SqliteStore;
use crate::sqlite::deliveries::{BEGINNING, next_open_endpoint};
use crate::sqlite::finish::{End, end_open};
use crate::sqlite::leases::{LeaseTable, Seized};
use crate::sqlite::rows::{blob, number, parsed, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Weight, Work};

/// The most endpoints that one walk looks at. The next one goes on where it ended.
const ENDPOINTS_WALKED_MAX: usize = 10_000;

/// Where the walk over endpoints with open deliveries goes on.
#[derive(Clone, Default)]
pub(crate) struct OrphanWalk(Arc<Mutex<Option<(i64, u128)>>>);

#[async_trait]
impl Upkeep for SqliteStore {
    async fn end_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let (walk, leases) = (self.orphan_walk.clone(), self.leases.clone());
        let orphans = self.database.read(move |conn| walk_for_orphans(conn, &walk, &leases, limit)).await?;
        if orphans.is_empty() {
            return Ok(0);
        }
        let weight = Weight { items: orphans.len(), bytes: 0 };
        let work = EndOrphans { orphans, now, leases: self.leases.clone() };
        Ok(self.database.write(weight, work).await?.count)
    }

    async fn forget_keys(&self, now: Timestamp, limit: usize) -> Result<usize, Fault> {
        let forget = move |tx: &mut Tx<'_>| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Ok(tx.conn.prepare_cached(FORGET_KEYS)?.execute((now.unix_ms(), limit))?)
        };
        self.database.change(forget, |_| ()).await
    }

    /// Nothing: pages of what is deleted are used again, and the log is copied by its own thread.
    async fn maintain(&self, _now: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

pub(crate) const FORGET_KEYS: &str = "DELETE FROM idempotency_keys WHERE (tenant, scope, key) IN (
        SELECT tenant, scope, key FROM idempotency_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";

/// An open delivery that nobody will make: its endpoint was deleted or is disabled.
struct Orphan {
    tenant: i64,
    tenant_id: TenantId,
    endpoint_id: u128,
    id: DeliveryId,
}

/// Walks the endpoints that have open deliveries, from where the last walk ended and round once, for
/// those that get none.
fn walk_for_orphans(
    conn: &Connection,
    walk: &OrphanWalk,
    leases: &LeaseTable,
    limit: usize,
) -> Result<Vec<Orphan>, Trouble> {
    let began_at = walk.0.lock().expect("no holder panics").unwrap_or(BEGINNING);
    let mut place = began_at;
    let mut looked_at = 0;
    let mut orphans = Vec::new();
    'walk: for (begin, end) in [(began_at, None), (BEGINNING, Some(began_at))] {
        place = begin;
        while let Some(open) = next_open_endpoint(conn, place)? {
            let here = (open.tenant, open.endpoint_id);
            if end.is_some_and(|end| here > end) {
                break;
            }
            if let Some((tenant_id, _)) = find_end(conn, here)? {
                take_open(conn, here, &tenant_id, leases, limit, &mut orphans)?;
            }
            looked_at += 1;
            if orphans.len() >= limit || looked_at >= ENDPOINTS_WALKED_MAX {
                // More may be left of this endpoint: the next walk begins just before it.
                break 'walk;
            }
            place = here;
        }
    }
    *walk.0.lock().expect("no holder panics") = Some(place);
    Ok(orphans)
}

/// Why an endpoint's open deliveries end, if they do. A row that is not there was deleted long ago.
pub(crate) const ENDPOINT_END: &str = "SELECT t.id,
        CASE WHEN e.id IS NULL OR e.deleted_at IS NOT NULL THEN 'cancelled'
             WHEN e.disabled IS NOT NULL THEN 'dead' END
    FROM tenants AS t LEFT JOIN endpoints AS e ON e.tenant = t.number AND e.id = ?2
    WHERE t.number = ?1";

fn find_end(conn: &Connection, endpoint: (i64, u128)) -> Result<Option<(TenantId, End)>, Trouble> {
    let mut query = conn.prepare_cached(ENDPOINT_END)?;
    let mut rows = query.query((endpoint.0, blob(endpoint.1)))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let end = match value::<Option<String>>(row, 1)?.as_deref() {
        Some("cancelled") => End::Cancelled,
        Some(_) => End::Dead(Cause::EndpointDisabled),
        None => return Ok(None),
    };
    Ok(Some((parsed(row, 0, "tenant id")?, end)))
}

pub(crate) const OPEN_OF_ENDPOINT: &str = "SELECT id FROM deliveries
    WHERE tenant = ?1 AND endpoint_id = ?2 AND due_at IS NOT NULL ORDER BY due_at, id";

fn take_open(
    conn: &Connection,
    endpoint: (i64, u128),
    tenant_id: &TenantId,
    leases: &LeaseTable,
    limit: usize,
    orphans: &mut Vec<Orphan>,
) -> Result<(), Trouble> {
    let mut query = conn.prepare_cached(OPEN_OF_ENDPOINT)?;
    let mut rows = query.query((endpoint.0, blob(endpoint.1)))?;
    while orphans.len() < limit
        && let Some(row) = rows.next()?
    {
        let id = DeliveryId::from_number(number(row, 0)?);
        // What is in flight is left to its holder; what remains of it then comes here.
        if !leases.is_leased(id) {
            let (tenant, endpoint_id) = endpoint;
            orphans.push(Orphan { tenant, tenant_id: tenant_id.clone(), endpoint_id, id });
        }
    }
    Ok(())
}

struct EndOrphans {
    orphans: Vec<Orphan>,
    now: Timestamp,
    leases: Arc<LeaseTable>,
}

/// How many were ended, and what keeps others away from them until the commit is answered.
pub(crate) struct Ended {
    count: usize,
    _seized: Vec<Seized>,
}

impl EndOrphans {
    fn end_all(&self, tx: &mut Tx<'_>) -> Result<Ended, Trouble> {
        let mut count = 0;
        let mut seized = Vec::new();
        for orphan in &self.orphans {
            // The endpoint may have been enabled since it was walked past.
            let Some((_, end)) = find_end(tx.conn, (orphan.tenant, orphan.endpoint_id))? else { continue };
            let Some(one) = self.leases.seize(&orphan.tenant_id, orphan.id) else { continue };
            seized.push(one);
            count += usize::from(end_open(tx.conn, orphan.tenant, orphan.id.number(), end, self.now)?);
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
