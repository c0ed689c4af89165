//! Ordered lanes: who joins one, who is next in it, and how people release one.
//!
//! A lane has a row while somebody is in it or its dead head holds it. Only its head is due; those behind
//! wait for [`NEVER`], so that whoever looks for what is due need not know of lanes.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::lane::{LANE_COUNTED_MAX, LaneHead, LaneKey, OrderedLane, Release, Released};
use harbor_model::port::Fault;
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::Timestamp;
use rusqlite::Connection;

use crate::ending::End;
use crate::pages::{IdRange, Seen};
use crate::sqlite::SqliteStore;
use crate::sqlite::finish::end_open;
use crate::sqlite::history::find_delivery;
use crate::sqlite::leases::{LeaseTable, Seized};
use crate::sqlite::pages::page;
use crate::sqlite::publish::DeliveryRow;
use crate::sqlite::replay::{self, takes_events};
use crate::sqlite::rows::{blob, number, time_if_any, value};
use crate::sqlite::transaction::{Tx, find_tenant_number};
use crate::sqlite::trouble::Trouble;

/// The due time of a delivery that waits behind the head of its lane: the end of time. It is open, and shown
/// without a next attempt.
pub(crate) const NEVER: i64 = i64::MAX;

/// Which lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) tenant: i64,
    pub(crate) endpoint_id: u128,
    /// Empty for the one lane of an endpoint that orders everything.
    pub(crate) key: &'a str,
}

/// A place in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    pub(crate) lane_number: i64,
    pub(crate) is_head: bool,
}

impl Joined {
    /// When the delivery is due that would be due at `due_at` by itself.
    pub(crate) fn due_at(self, due_at: i64) -> i64 {
        if self.is_head { due_at } else { NEVER }
    }
}

pub(crate) const JOIN: &str = "INSERT INTO lanes (tenant, endpoint_id, lane_key, id, last_number, head_id)
    VALUES (?1, ?2, ?3, ?4, 1, ?4)
    ON CONFLICT (tenant, endpoint_id, lane_key) DO UPDATE SET last_number = last_number + 1
    RETURNING last_number, head_id = ?4";

/// Lets a delivery that is being made join the end of a lane.
pub(crate) fn join(conn: &Connection, lane: Lane<'_>, id: u128) -> Result<Joined, Trouble> {
    let key = (lane.tenant, blob(lane.endpoint_id), lane.key, blob(id));
    let joined = conn
        .prepare_cached(JOIN)?
        .query_row(key, |row| Ok(Joined { lane_number: row.get(0)?, is_head: row.get(1)? }))?;
    Ok(joined)
}

/// Lets a delivery leave that has just become final. Where it was the head, the next one goes: answers
/// whether there is one, which is due now.
pub(crate) fn leave(conn: &Connection, lane: Lane<'_>, id: u128, now: Timestamp) -> Result<bool, Trouble> {
    let Some(stored) = find(conn, lane)? else { return Ok(false) };
    if stored.head_id == id {
        return move_on(conn, lane, now);
    }
    // A dead head holds nobody any more who could come: the lane goes with the last who waited.
    if stored.is_held
        && find_first(conn, lane)?.is_none()
        && !takes_events(conn, lane.tenant, lane.endpoint_id)?
    {
        remove(conn, lane)?;
    }
    Ok(false)
}

pub(crate) const HOLD: &str = "UPDATE lanes SET held_at = ?5
    WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3 AND head_id = ?4";

/// Leaves the lane to its head, which is dead: nothing moves until somebody releases it.
pub(crate) fn hold(conn: &Connection, lane: Lane<'_>, head: u128, now: Timestamp) -> Result<(), Trouble> {
    let key = (lane.tenant, blob(lane.endpoint_id), lane.key, blob(head), now.unix_ms());
    conn.prepare_cached(HOLD)?.execute(key)?;
    Ok(())
}

/// The row of a lane.
struct Stored {
    head_id: u128,
    is_held: bool,
}

pub(crate) const FIND: &str =
    "SELECT head_id, held_at IS NOT NULL FROM lanes WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3";

fn find(conn: &Connection, lane: Lane<'_>) -> Result<Option<Stored>, Trouble> {
    let mut query = conn.prepare_cached(FIND)?;
    let mut rows = query.query((lane.tenant, blob(lane.endpoint_id), lane.key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Stored { head_id: number(row, 0)?, is_held: value(row, 1)? }))
}

pub(crate) const FIRST: &str = "SELECT id FROM deliveries INDEXED BY deliveries_in_lane
    WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3 AND due_at IS NOT NULL
    ORDER BY lane_number LIMIT 1";

/// The first who is open.
fn find_first(conn: &Connection, lane: Lane<'_>) -> Result<Option<u128>, Trouble> {
    let mut query = conn.prepare_cached(FIRST)?;
    let mut rows = query.query((lane.tenant, blob(lane.endpoint_id), lane.key))?;
    rows.next()?.map(|row| number(row, 0)).transpose()
}

pub(crate) const PROMOTE: &str = "UPDATE deliveries SET due_at = ?3, updated_at = ?3
    WHERE tenant = ?1 AND id = ?2 AND due_at IS NOT NULL";

pub(crate) const SET_HEAD: &str = "UPDATE lanes SET head_id = ?4, held_at = NULL
    WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3";

/// Makes the first who is open the head, due now; where nobody is, the lane goes. Answers whether somebody is.
fn move_on(conn: &Connection, lane: Lane<'_>, now: Timestamp) -> Result<bool, Trouble> {
    let Some(next) = find_first(conn, lane)? else {
        remove(conn, lane)?;
        return Ok(false);
    };
    promote(conn, lane, next, now)?;
    Ok(true)
}

/// Makes one who is open the head, due now.
fn promote(conn: &Connection, lane: Lane<'_>, id: u128, now: Timestamp) -> Result<(), Trouble> {
    let promoted = conn.prepare_cached(PROMOTE)?.execute((lane.tenant, blob(id), now.unix_ms()))?;
    assert_eq!(promoted, 1, "it was seen to be open in this transaction");
    set_head(conn, lane, id)
}

fn set_head(conn: &Connection, lane: Lane<'_>, head: u128) -> Result<(), Trouble> {
    let key = (lane.tenant, blob(lane.endpoint_id), lane.key, blob(head));
    conn.prepare_cached(SET_HEAD)?.execute(key)?;
    Ok(())
}

pub(crate) const REMOVE: &str = "DELETE FROM lanes WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3";

fn remove(conn: &Connection, lane: Lane<'_>) -> Result<(), Trouble> {
    conn.prepare_cached(REMOVE)?.execute((lane.tenant, blob(lane.endpoint_id), lane.key))?;
    Ok(())
}

pub(crate) const FORGET_HELD: &str = "DELETE FROM lanes
    WHERE tenant = ?1 AND endpoint_id = ?2 AND held_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d INDEXED BY deliveries_in_lane
        WHERE d.tenant = lanes.tenant AND d.endpoint_id = lanes.endpoint_id AND d.lane_key = lanes.lane_key
          AND d.due_at IS NOT NULL)";

/// Removes the lanes of a deleted endpoint which dead heads hold and nobody waits in. Others go with the last
/// who waits in them.
pub(crate) fn forget_held(conn: &Connection, tenant: i64, endpoint: EndpointId) -> Result<(), Trouble> {
    conn.prepare_cached(FORGET_HELD)?.execute((tenant, blob(endpoint.number())))?;
    Ok(())
}

#[async_trait]
impl OrderedLanes for SqliteStore {
    async fn lanes(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        ask: PageAsk,
    ) -> Result<Page<OrderedLane>, Fault> {
        let (tenant_id, leases) = (tenant.clone(), self.leases.clone());
        let list = move |conn: &Connection| {
            let Some(tenant) = find_tenant_number(conn, &tenant_id)? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            lanes(conn, &leases, tenant, &tenant_id, endpoint, ask)
        };
        self.database.browse(list).await
    }

    async fn release_lane(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
        release: Release,
        now: Timestamp,
    ) -> Result<Released, Fault> {
        let (tenant_id, key, leases) = (tenant.clone(), key.clone(), self.leases.clone());
        let release = move |tx: &mut Tx<'_>| {
            let Some(tenant) = tx.tenant(&tenant_id)? else { return Ok((Released::Missing, None)) };
            let lane = Lane { tenant: tenant.number, endpoint_id: endpoint.number(), key: key.as_str() };
            if !takes_events(tx.conn, lane.tenant, lane.endpoint_id)? {
                return Ok((Released::NoEndpoint, None));
            }
            let Some(stored) = find(tx.conn, lane)? else { return Ok((Released::Missing, None)) };
            match release {
                Release::Skip => skip(tx, &leases, &tenant_id, lane, &stored, now),
                Release::Retry(id) => Ok((retry(tx, &leases, lane, &stored, id, now)?, None)),
            }
        };
        let (released, _seized) = self.database.change_of(tenant.clone(), release).await?;
        Ok(released)
    }
}

pub(crate) const LIST: &str = "SELECT id, lane_key, head_id, held_at FROM lanes INDEXED BY lanes_by_id
    WHERE tenant = ?1 AND endpoint_id = ?2 AND id BETWEEN ?3 AND ?4 ORDER BY id DESC";

fn lanes(
    conn: &Connection,
    leases: &LeaseTable,
    tenant: i64,
    tenant_id: &TenantId,
    endpoint: EndpointId,
    ask: PageAsk,
) -> Result<Page<OrderedLane>, Trouble> {
    let (first, last) = IdRange::new(ask.after, None, None).ends();
    let mut query = conn.prepare_cached(LIST)?;
    let key = (tenant, blob(endpoint.number()), blob(first), blob(last));
    page(query.query(key)?, ask.limit, |row| {
        let key: String = value(row, 1)?;
        let head_id = DeliveryId::from_number(number(row, 2)?);
        let lane = Lane { tenant, endpoint_id: endpoint.number(), key: &key };
        let head = find_delivery(conn, tenant, tenant_id, head_id, leases.is_leased(head_id))?;
        let head = head.map(|head| LaneHead {
            delivery_id: head.id,
            status: head.status,
            attempt_count: head.attempt_count,
            next_attempt_at: head.next_attempt_at,
        });
        let item = OrderedLane {
            key: LaneKey::new(&key),
            head,
            waiting_count: count_waiting(conn, lane, head_id.number())?,
            held_at: time_if_any(row, 3)?,
        };
        Ok(Seen { position: number(row, 0)?, item: Some(item) })
    })
}

pub(crate) const COUNT_WAITING: &str = "SELECT count(*) FROM (
        SELECT 1 FROM deliveries INDEXED BY deliveries_in_lane
        WHERE tenant = ?1 AND endpoint_id = ?2 AND lane_key = ?3 AND due_at IS NOT NULL AND id <> ?4 LIMIT ?5)";

fn count_waiting(conn: &Connection, lane: Lane<'_>, head: u128) -> Result<u64, Trouble> {
    let key = (lane.tenant, blob(lane.endpoint_id), lane.key, blob(head), LANE_COUNTED_MAX);
    Ok(conn.prepare_cached(COUNT_WAITING)?.query_row(key, |row| row.get(0))?)
}

/// What of the head a release needs.
struct Head {
    event_id: u128,
    event_type: String,
    is_open: bool,
    lane_number: i64,
}

pub(crate) const FIND_HEAD: &str =
    "SELECT event_id, event_type, due_at IS NOT NULL, lane_number FROM deliveries
    WHERE tenant = ?1 AND id = ?2";

/// The head's row; none where it is no longer kept.
fn find_head(conn: &Connection, tenant: i64, id: u128) -> Result<Option<Head>, Trouble> {
    let mut query = conn.prepare_cached(FIND_HEAD)?;
    let mut rows = query.query((tenant, blob(id)))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Head {
        event_id: number(row, 0)?,
        event_type: value(row, 1)?,
        is_open: value(row, 2)?,
        lane_number: value(row, 3)?,
    }))
}

/// Passes over the head. What keeps others away from it must be kept until the commit is answered.
fn skip(
    tx: &mut Tx<'_>,
    leases: &Arc<LeaseTable>,
    tenant_id: &TenantId,
    lane: Lane<'_>,
    stored: &Stored,
    now: Timestamp,
) -> Result<(Released, Option<Seized>), Trouble> {
    let id = DeliveryId::from_number(stored.head_id);
    let head = find_head(tx.conn, lane.tenant, stored.head_id)?;
    if head.as_ref().is_some_and(|head| head.is_open) {
        let seized = leases.take_away(tenant_id, id);
        let is_ended = end_open(tx, lane.tenant, stored.head_id, End::Cancelled, now)?;
        assert!(is_ended, "it was seen to be open in this transaction");
        return Ok((Released::Done(Some(id)), seized));
    }
    move_on(tx.conn, lane, now)?;
    Ok((Released::Done(head.map(|_| id)), None))
}

/// Tries the head now, or a replay in its place.
fn retry(
    tx: &mut Tx<'_>,
    leases: &LeaseTable,
    lane: Lane<'_>,
    stored: &Stored,
    replay_id: DeliveryId,
    now: Timestamp,
) -> Result<Released, Trouble> {
    let head_id = DeliveryId::from_number(stored.head_id);
    let Some(head) = find_head(tx.conn, lane.tenant, stored.head_id)? else { return Ok(Released::Expired) };
    if head.is_open {
        if !leases.is_leased(head_id) {
            make_due(tx.conn, lane.tenant, head_id, now)?;
        }
        return Ok(Released::Done(Some(head_id)));
    }
    // A replay that somebody made of it waits at the end of this lane: it comes before all others.
    if let Some(waiting) = find_waiting_replay(tx.conn, lane, head_id)? {
        let place = (lane.tenant, blob(waiting.number()), head.lane_number);
        tx.conn.prepare_cached(TAKE_PLACE)?.execute(place)?;
        promote(tx.conn, lane, waiting.number(), now)?;
        return Ok(Released::Done(Some(waiting)));
    }
    let event_id = EventId::from_number(head.event_id);
    let Some(payload_bytes) = replay::find_payload_bytes(tx.conn, lane.tenant, event_id)? else {
        return Ok(Released::Expired);
    };
    let row = DeliveryRow {
        id: replay_id.number(),
        event_id: head.event_id,
        endpoint_id: lane.endpoint_id,
        event_type: &head.event_type,
        payload_bytes,
        due_at: now.unix_ms(),
        updated_at: now.unix_ms(),
        replay_of: Some(stored.head_id),
        new_webhook_id: false,
        replay_reason: None,
        replay_job: None,
        lane_key: Some(lane.key),
    };
    row.insert_at(tx.conn, lane.tenant, head.lane_number)?;
    replay::mark_replayed(tx.conn, lane.tenant, head_id, replay_id, now)?;
    set_head(tx.conn, lane, replay_id.number())?;
    Ok(Released::Done(Some(replay_id)))
}

pub(crate) const TAKE_PLACE: &str =
    "UPDATE deliveries SET lane_number = ?3 WHERE tenant = ?1 AND id = ?2 AND due_at IS NOT NULL";

pub(crate) const MAKE_DUE: &str = "UPDATE deliveries SET due_at = ?3, updated_at = ?3
    WHERE tenant = ?1 AND id = ?2 AND due_at > ?3";

/// Makes an open delivery that is due later, and not behind another one in a lane, due now.
pub(crate) fn make_due(
    conn: &Connection,
    tenant: i64,
    id: DeliveryId,
    now: Timestamp,
) -> Result<(), Trouble> {
    conn.prepare_cached(MAKE_DUE)?.execute((tenant, blob(id.number()), now.unix_ms()))?;
    Ok(())
}

pub(crate) const WAITING_REPLAY: &str = "SELECT id FROM deliveries INDEXED BY deliveries_by_original
    WHERE tenant = ?1 AND replay_of = ?2 AND endpoint_id = ?3 AND lane_key = ?4 AND due_at IS NOT NULL LIMIT 1";

fn find_waiting_replay(
    conn: &Connection,
    lane: Lane<'_>,
    of: DeliveryId,
) -> Result<Option<DeliveryId>, Trouble> {
    let mut query = conn.prepare_cached(WAITING_REPLAY)?;
    let key = (lane.tenant, blob(of.number()), blob(lane.endpoint_id), lane.key);
    let mut rows = query.query(key)?;
    rows.next()?.map(|row| Ok(DeliveryId::from_number(number(row, 0)?))).transpose()
}
