//! What people do to single deliveries and events while they are under way.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_model::id::{DeliveryId, EventId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::interventions::{Intervened, Interventions};
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::ending::End;
use crate::sqlite::SqliteStore;
use crate::sqlite::finish::end_open;
use crate::sqlite::history::find_delivery;
use crate::sqlite::lanes::{NEVER, make_due};
use crate::sqlite::leases::{LeaseTable, Seized};
use crate::sqlite::rows::{blob, named, number, value};
use crate::sqlite::transaction::Tx;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl Interventions for SqliteStore {
    async fn retry_now(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Intervened, Fault> {
        let (tenant_id, leases) = (tenant.clone(), self.leases.clone());
        let retry = move |tx: &mut Tx<'_>| retry_now(tx, &leases, &tenant_id, id, now);
        self.database.change_of(tenant.clone(), retry).await
    }

    async fn cancel(&self, tenant: &TenantId, id: DeliveryId, now: Timestamp) -> Result<Intervened, Fault> {
        let (tenant_id, leases) = (tenant.clone(), self.leases.clone());
        let cancel = move |tx: &mut Tx<'_>| cancel(tx, &leases, &tenant_id, id, now);
        let (intervened, _seized) = self.database.change_of(tenant.clone(), cancel).await?;
        Ok(intervened)
    }

    async fn expunge(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<bool, Fault> {
        let (tenant_id, leases) = (tenant.clone(), self.leases.clone());
        let expunge = move |tx: &mut Tx<'_>| expunge(tx, &leases, &tenant_id, id, now);
        let (is_known, _seized) = self.database.change_of(tenant.clone(), expunge).await?;
        Ok(is_known)
    }
}

/// How a delivery stands, as its row tells.
struct Standing {
    status: DeliveryStatus,
    due_at: Option<i64>,
}

pub(crate) const STANDING: &str = "SELECT status, due_at FROM deliveries WHERE tenant = ?1 AND id = ?2";

fn standing(conn: &Connection, tenant: i64, id: DeliveryId) -> Result<Option<Standing>, Trouble> {
    let mut query = conn.prepare_cached(STANDING)?;
    let mut rows = query.query((tenant, blob(id.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Standing { status: named(row, 0, "status", DeliveryStatus::from_name)?, due_at: value(row, 1)? }))
}

fn retry_now(
    tx: &mut Tx<'_>,
    leases: &LeaseTable,
    tenant_id: &TenantId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Intervened, Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok(Intervened::Missing) };
    let Some(standing) = standing(tx.conn, tenant.number, id)? else { return Ok(Intervened::Missing) };
    match standing.due_at {
        None => return Ok(Intervened::Final(standing.status)),
        Some(NEVER) => return Ok(Intervened::Behind),
        Some(_) => {}
    }
    let is_leased = leases.is_leased(id);
    if !is_leased {
        make_due(tx.conn, tenant.number, id, now)?;
    }
    shown(tx.conn, tenant.number, tenant_id, id, is_leased)
}

/// Cancels a delivery. What keeps others away from it must be kept until the commit is answered.
fn cancel(
    tx: &mut Tx<'_>,
    leases: &Arc<LeaseTable>,
    tenant_id: &TenantId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<(Intervened, Option<Seized>), Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok((Intervened::Missing, None)) };
    let Some(standing) = standing(tx.conn, tenant.number, id)? else {
        return Ok((Intervened::Missing, None));
    };
    if standing.due_at.is_none() {
        return Ok((Intervened::Final(standing.status), None));
    }
    let seized = leases.take_away(tenant_id, id);
    let is_ended = end_open(tx, tenant.number, id.number(), End::Cancelled, now)?;
    assert!(is_ended, "it was seen to be open in this transaction");
    Ok((shown(tx.conn, tenant.number, tenant_id, id, false)?, seized))
}

fn shown(
    conn: &Connection,
    tenant: i64,
    tenant_id: &TenantId,
    id: DeliveryId,
    is_leased: bool,
) -> Result<Intervened, Trouble> {
    let found = find_delivery(conn, tenant, tenant_id, id, is_leased)?;
    Ok(Intervened::Done(found.expect("its row was read in this transaction")))
}

pub(crate) const EXPUNGE: &str = "UPDATE events SET payload = NULL, headers = NULL, expunged_at = ?3
    WHERE tenant = ?1 AND id = ?2 AND expunged_at IS NULL";

pub(crate) const OPEN_OF_EVENT: &str = "SELECT id FROM deliveries INDEXED BY deliveries_by_event
    WHERE tenant = ?1 AND event_id = ?2 AND due_at IS NOT NULL";

/// Removes a payload and ends what is open of its event. Answers whether there is such an event, and what
/// must be kept until the commit is answered.
fn expunge(
    tx: &mut Tx<'_>,
    leases: &Arc<LeaseTable>,
    tenant_id: &TenantId,
    id: EventId,
    now: Timestamp,
) -> Result<(bool, Vec<Seized>), Trouble> {
    let Some(tenant) = tx.tenant(tenant_id)? else { return Ok((false, Vec::new())) };
    let key = (tenant.number, blob(id.number()));
    let expunged = tx.conn.prepare_cached(EXPUNGE)?.execute((key.0, key.1, now.unix_ms()))?;
    if expunged == 0 {
        let sql = "SELECT 1 FROM events WHERE tenant = ?1 AND id = ?2";
        return Ok((tx.conn.prepare_cached(sql)?.exists(key)?, Vec::new()));
    }
    // All are read before the first is ended: ending one changes what is read.
    let mut open = Vec::new();
    let mut query = tx.conn.prepare_cached(OPEN_OF_EVENT)?;
    let mut rows = query.query(key)?;
    while let Some(row) = rows.next()? {
        open.push(DeliveryId::from_number(number(row, 0)?));
    }
    drop(rows);
    drop(query);
    let mut seized = Vec::new();
    for id in open {
        seized.extend(leases.take_away(tenant_id, id));
        let end = End::Dead(Cause::EventExpired);
        let is_ended = end_open(tx, tenant.number, id.number(), end, now)?;
        assert!(is_ended, "it was seen to be open in this transaction");
    }
    Ok((true, seized))
}
