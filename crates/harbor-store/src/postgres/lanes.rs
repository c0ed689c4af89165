//! Ordered lanes: a row for each that has somebody in it or is held by its dead head.
//!
//! Whoever takes somebody out of lanes locks their rows first, all in one order, and looks for who is next
//! by a later statement, which sees what joined until the lock came. Whoever joins writes the row, which
//! waits for that lock. So a lane has one head, and only the head is ever due.
//!
//! Locks are taken in this order: keys, tenants, what is replayed, events, lanes, leases, open deliveries.

use std::collections::HashSet;

use async_trait::async_trait;
use harbor_model::delivery::DeadLetterState;
use harbor_model::id::{DeliveryId, EndpointId, TenantId};
use harbor_model::lane::{LANE_COUNTED_MAX, LaneHead, LaneKey, OrderedLane, Release, Released};
use harbor_model::port::Fault;
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::ending::End;
use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Tx, retried};
use crate::postgres::ending;
use crate::postgres::interventions::{self, Waits};
use crate::postgres::pages::List;
use crate::postgres::registry::find_tenant_number;
use crate::postgres::replay::MARK_REPLAYED;
use crate::postgres::rows::{
    DONE_COLUMNS, OPEN_COLUMNS, bigint, delivery, number, number_if_any, time_if_any, value, whole,
};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// Names the row of a lane.
///
/// Their order is the one in which lanes are locked, as the server has it: texts by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneAt {
    /// The tenant's number.
    pub(crate) tenant: i64,
    pub(crate) endpoint: Uuid,
    /// See [`LaneKey`].
    pub(crate) key: String,
}

/// Lanes, column by column, in the order in which they are locked.
struct Columns<'a> {
    tenants: Vec<i64>,
    endpoints: Vec<Uuid>,
    keys: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(lanes: &'a [LaneAt]) -> Self {
        let mut lanes: Vec<&LaneAt> = lanes.iter().collect();
        lanes.sort_unstable();
        lanes.dedup();
        Self {
            tenants: lanes.iter().map(|lane| lane.tenant).collect(),
            endpoints: lanes.iter().map(|lane| lane.endpoint).collect(),
            keys: lanes.iter().map(|lane| lane.key.as_str()).collect(),
        }
    }
}

/// Reads the name of a lane from this column on.
pub(crate) fn lane_at(row: &Row, first: usize) -> Result<LaneAt, Trouble> {
    Ok(LaneAt { tenant: value(row, first)?, endpoint: value(row, first + 1)?, key: value(row, first + 2)? })
}

pub(crate) const LOCK: &str =
    "SELECT 1 FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS a (tenant, endpoint_id, lane_key),
    LATERAL (
        SELECT 1 FROM lanes AS l
        WHERE l.tenant = a.tenant AND l.endpoint_id = a.endpoint_id AND l.lane_key = a.lane_key
        FOR UPDATE) AS l";

/// Keeps others from joining and leaving these lanes until the end of the transaction. Comes before anything
/// is done to deliveries of them.
pub(crate) async fn lock(tx: &Tx, lanes: &[LaneAt]) -> Result<(), Trouble> {
    if lanes.is_empty() {
        return Ok(());
    }
    let Columns { tenants, endpoints, keys } = Columns::of(lanes);
    tx.query(LOCK, &[&tenants, &endpoints, &keys]).await?;
    Ok(())
}

pub(crate) const LANES_OF: &str = "SELECT o.tenant, o.endpoint_id, o.lane_key
    FROM unnest($2::uuid[]) AS asked (id),
    LATERAL (
        SELECT d.tenant, d.endpoint_id, d.lane_key FROM open_deliveries AS d
        WHERE d.tenant = $1 AND d.id = asked.id AND d.lane_key IS NOT NULL OFFSET 0) AS o";

/// The lanes that open deliveries of a tenant stand in, to be locked. They never change.
pub(crate) async fn lanes_of(tx: &Tx, tenant: i64, ids: &[Uuid]) -> Result<Vec<LaneAt>, Trouble> {
    let rows = tx.query(LANES_OF, &[&tenant, &ids]).await?;
    rows.iter().map(|row| lane_at(row, 0)).collect()
}

/// Lets those of these lanes go on whose head has ended: the next one is due at `now`; a lane without
/// one goes. One that is held stays so, unless its endpoint is disabled or deleted. Answers whether anybody is
/// due by it.
///
/// Locks them, which is nothing new where they were [locked](lock) before, as they should be.
pub(crate) async fn settle(tx: &Tx, lanes: &[LaneAt], now: Timestamp) -> Result<bool, Trouble> {
    lock(tx, lanes).await?;
    Ok(!advance(tx, lanes, &[], now).await?.is_empty())
}

/// Moves on lanes that are locked and whose head is not open any more. One whose head is among `holding` is
/// held from now on. Followers are looked for from the head's place on, past all that went before it.
///
/// A row that is written over itself was locked by this transaction, so that it stands.
pub(crate) const ADVANCE: &str = "WITH ended AS MATERIALIZED (
        SELECT l.*, l.is_wanted AND (l.held_at IS NOT NULL OR l.head_id = ANY($4::uuid[])) AS is_holding
        FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS a (tenant, endpoint_id, lane_key),
        LATERAL (
            SELECT lanes.ctid AS row_place, lanes.*,
                   (SELECT true FROM open_deliveries AS o
                    WHERE o.tenant = lanes.tenant AND o.id = lanes.head_id) IS NOT NULL AS is_open,
                   (SELECT true FROM endpoints AS e
                    WHERE e.tenant = lanes.tenant AND e.id = lanes.endpoint_id
                      AND e.disabled IS NULL AND e.deleted_at IS NULL) IS NOT NULL AS is_wanted
            FROM lanes
            WHERE lanes.tenant = a.tenant AND lanes.endpoint_id = a.endpoint_id
              AND lanes.lane_key = a.lane_key OFFSET 0) AS l
        WHERE NOT l.is_open
    ), held AS (
        UPDATE lanes SET held_at = $5
        WHERE ctid = ANY(ARRAY(SELECT row_place FROM ended WHERE is_holding AND held_at IS NULL))
    ), followed AS MATERIALIZED (
        SELECT ended.*, next.id AS next_id, next.lane_number AS next_number, next.row_place AS next_place
        FROM ended LEFT JOIN LATERAL (
            SELECT o.ctid AS row_place, o.id, o.lane_number FROM open_deliveries AS o
            WHERE o.tenant = ended.tenant AND o.endpoint_id = ended.endpoint_id AND o.lane_key = ended.lane_key
              AND o.lane_number >= ended.head_number
            ORDER BY o.lane_number LIMIT 1 FOR UPDATE) AS next ON true
        WHERE NOT ended.is_holding
    ), emptied AS (
        DELETE FROM lanes WHERE ctid = ANY(ARRAY(SELECT row_place FROM followed WHERE next_id IS NULL))
    ), headed AS (
        INSERT INTO lanes (tenant, endpoint_id, lane_key, id, last_number, head_id, head_number)
        SELECT tenant, endpoint_id, lane_key, id, last_number, next_id, next_number
        FROM followed WHERE next_id IS NOT NULL
        ON CONFLICT (tenant, endpoint_id, lane_key) DO UPDATE
        SET head_id = EXCLUDED.head_id, head_number = EXCLUDED.head_number, held_at = NULL
    ), due AS (
        UPDATE open_deliveries SET due_at = $5, updated_at = $5
        WHERE ctid = ANY(ARRAY(SELECT next_place FROM followed WHERE next_id IS NOT NULL))
    )
    SELECT tenant, endpoint_id, lane_key FROM followed WHERE next_id IS NOT NULL";

/// Runs [`ADVANCE`]; answers the lanes of which somebody is due by it.
pub(crate) async fn advance(
    tx: &Tx,
    lanes: &[LaneAt],
    holding: &[Uuid],
    now: Timestamp,
) -> Result<HashSet<LaneAt>, Trouble> {
    if lanes.is_empty() {
        return Ok(HashSet::new());
    }
    let Columns { tenants, endpoints, keys } = Columns::of(lanes);
    let rows = tx.query(ADVANCE, &[&tenants, &endpoints, &keys, &holding, &now.unix_ms()]).await?;
    rows.iter().map(|row| lane_at(row, 0)).collect()
}

/// Somebody who is to join a lane.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    pub(crate) lane: LaneAt,
    pub(crate) id: Uuid,
}

/// A place in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What the delivery keeps as its `lane_number`.
    pub(crate) number: i64,
    /// Whether it is the head, and due; what is behind has no `due_at`.
    pub(crate) is_head: bool,
}

/// Lets deliveries join lanes, and writes nothing of the deliveries. The rows that are written come back in
/// the order in which lanes are locked, by which each joiner finds its own.
pub(crate) const JOIN: &str = "WITH joining AS MATERIALIZED (
        SELECT j.*, dense_rank() OVER (ORDER BY tenant, endpoint_id, lane_key COLLATE \"C\") AS lane,
               row_number() OVER lane AS turn, count(*) OVER lane_whole AS size
        FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::uuid[]) WITH ORDINALITY
             AS j (tenant, endpoint_id, lane_key, id, place)
        WINDOW lane AS (PARTITION BY tenant, endpoint_id, lane_key COLLATE \"C\" ORDER BY place),
               lane_whole AS (PARTITION BY tenant, endpoint_id, lane_key COLLATE \"C\")
    ), joined AS (
        INSERT INTO lanes AS l (tenant, endpoint_id, lane_key, id, last_number, head_id)
        SELECT tenant, endpoint_id, lane_key, id, size, id FROM joining WHERE turn = 1
        ORDER BY tenant, endpoint_id, lane_key COLLATE \"C\"
        ON CONFLICT (tenant, endpoint_id, lane_key) DO UPDATE SET last_number = l.last_number + EXCLUDED.last_number
        RETURNING tenant, endpoint_id, lane_key, last_number, head_id
    )
    SELECT (SELECT array_agg(last_number ORDER BY tenant, endpoint_id, lane_key) FROM joined)[lane] - size + turn,
           (SELECT array_agg(head_id ORDER BY tenant, endpoint_id, lane_key) FROM joined)[lane] = id
    FROM joining ORDER BY place";

/// Gives each a place at the tail of its lane, in their order. Who joins must be stored, open, in the same
/// transaction.
pub(crate) async fn join(tx: &Tx, joiners: &[Joiner]) -> Result<Vec<Place>, Trouble> {
    if joiners.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<i64> = joiners.iter().map(|joiner| joiner.lane.tenant).collect();
    let endpoints: Vec<Uuid> = joiners.iter().map(|joiner| joiner.lane.endpoint).collect();
    let keys: Vec<&str> = joiners.iter().map(|joiner| joiner.lane.key.as_str()).collect();
    let ids: Vec<Uuid> = joiners.iter().map(|joiner| joiner.id).collect();
    let rows = tx.query(JOIN, &[&tenants, &endpoints, &keys, &ids]).await?;
    rows.iter().map(|row| Ok(Place { number: value(row, 0)?, is_head: value(row, 1)? })).collect()
}

#[async_trait]
impl OrderedLanes for PostgresStore {
    async fn lanes(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        ask: PageAsk,
    ) -> Result<Page<OrderedLane>, Fault> {
        self.leases.settled().await;
        retried("list lanes", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else {
                return Ok(Page { items: Vec::new(), next: None });
            };
            let (counted_max, endpoint) = (bigint(LANE_COUNTED_MAX), Uuid(endpoint.number()));
            let list = List {
                sql: &list_sql(),
                tenant: &number,
                range: IdRange::new(ask.after, None, None),
                narrowed_by: &[&endpoint, &counted_max],
                limit: ask.limit,
            };
            list.page(&link, |row| read_lane(row, tenant)).await
        })
        .await
    }

    async fn release_lane(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
        release: Release,
        now: Timestamp,
    ) -> Result<Released, Fault> {
        self.leases.settled().await;
        let head = self.find_head(tenant, endpoint, key).await?;
        let weeks: Vec<Timestamp> = head.iter().map(|head| head.made_at()).collect();
        let released = self
            .retried_with_partitions("release a lane", &weeks, async || {
                let tx = self.database.begin().await?;
                let Some(number) = find_tenant_number(&tx, tenant).await? else {
                    return Ok(Released::Missing);
                };
                let lane = LaneAt {
                    tenant: number,
                    endpoint: Uuid(endpoint.number()),
                    key: key.as_str().to_owned(),
                };
                if let (Some(head), Release::Retry(_)) = (head, release) {
                    // Whoever replays a delivery has it before its lane.
                    tx.query_opt(LOCK_DEAD, &[&number, &Uuid(head.number())]).await?;
                }
                let released = self.release(&tx, &lane, release, now).await?;
                if matches!(released, Released::Done(_)) {
                    tx.commit().await?;
                }
                Ok(released)
            })
            .await?;
        if matches!(released, Released::Done(_)) {
            self.hints.signal();
        }
        Ok(released)
    }
}

/// Lists the lanes of the endpoint `$5`: the head as [`delivery`] reads it, the lane, and how many wait
/// behind the head, counted up to `$6`.
pub(crate) fn list_sql() -> String {
    format!(
        "SELECT head.*, l.id, l.lane_key, l.held_at, (
             SELECT count(*) FROM (
                 SELECT 1 FROM open_deliveries AS o
                 WHERE o.tenant = l.tenant AND o.endpoint_id = l.endpoint_id AND o.lane_key = l.lane_key
                   AND o.id <> l.head_id
                 LIMIT $6) AS waiting)
         FROM (
             SELECT * FROM lanes WHERE tenant = $1 AND endpoint_id = $5 AND id BETWEEN $2 AND $3
             ORDER BY id DESC LIMIT $4) AS l
         LEFT JOIN LATERAL (
             SELECT {OPEN_COLUMNS} FROM open_deliveries AS d WHERE d.tenant = l.tenant AND d.id = l.head_id
             UNION ALL
             SELECT {DONE_COLUMNS} FROM deliveries_done AS d WHERE d.tenant = l.tenant AND d.id = l.head_id
             OFFSET 0) AS head ON true"
    )
}

fn read_lane(row: &Row, tenant_id: &TenantId) -> Result<Seen<OrderedLane>, Trouble> {
    let head = match number_if_any(row, 0)? {
        Some(_) => Some(delivery(row, tenant_id)?),
        None => None,
    };
    let head = head.map(|head| LaneHead {
        delivery_id: head.id,
        status: head.status,
        attempt_count: head.attempt_count,
        next_attempt_at: head.next_attempt_at,
    });
    let lane = OrderedLane {
        key: LaneKey::new(value(row, 16)?),
        head,
        waiting_count: whole(row, 18, "count of who waits")?,
        held_at: time_if_any(row, 17)?,
    };
    Ok(Seen { position: number(row, 15)?, item: Some(lane) })
}

pub(crate) const FIND_HEAD: &str =
    "SELECT head_id FROM lanes WHERE tenant = $1 AND endpoint_id = $2 AND lane_key = $3";

pub(crate) const TAKES_EVENTS: &str =
    "SELECT 1 FROM endpoints WHERE tenant = $1 AND id = $2 AND disabled IS NULL AND deleted_at IS NULL";

pub(crate) const MAKE_DUE: &str = "UPDATE open_deliveries SET due_at = $3, updated_at = $3, lane_number = $4
    WHERE tenant = $1 AND id = $2";

pub(crate) const WAITING_REPLAY: &str = "SELECT id FROM open_deliveries
    WHERE tenant = $1 AND replay_of = $2 AND endpoint_id = $3 AND lane_key = $4 LIMIT 1";

pub(crate) const END_HOLD: &str =
    "UPDATE lanes SET held_at = NULL WHERE tenant = $1 AND endpoint_id = $2 AND lane_key = $3";

pub(crate) const SET_HEAD: &str = "UPDATE lanes SET head_id = $4, held_at = NULL
    WHERE tenant = $1 AND endpoint_id = $2 AND lane_key = $3";

pub(crate) const LOCK_DEAD: &str =
    "SELECT lane_number FROM deliveries_done WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE";

/// Makes a replay of the dead `$2` in its own place, where the payload is still kept.
pub(crate) const REPLAY_HEAD: &str = "INSERT INTO open_deliveries (
        tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
        interrupted_count, due_at, updated_at, replay_of, new_webhook_id, lane_key, lane_number)
    SELECT d.tenant, $3, d.event_id, d.endpoint_id, d.event_type, e.bytes, 'queued', 0,
        0, $4, $4, d.id, false, d.lane_key, d.lane_number
    FROM (SELECT * FROM deliveries_done WHERE tenant = $1 AND id = $2 OFFSET 0) AS d,
    LATERAL (
        SELECT octet_length(payload) AS bytes FROM events
        WHERE events.tenant = d.tenant AND events.id = d.event_id AND payload IS NOT NULL OFFSET 0) AS e";

impl PostgresStore {
    async fn find_head(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        key: &LaneKey,
    ) -> Result<Option<DeliveryId>, Fault> {
        retried("release a lane", async || {
            let link = self.database.browse().await?;
            let Some(tenant) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            let row = link.query_opt(FIND_HEAD, &[&tenant, &Uuid(endpoint.number()), &key.as_str()]).await?;
            row.map(|row| number(&row, 0).map(DeliveryId::from_number)).transpose()
        })
        .await
    }

    async fn release(
        &self,
        tx: &Tx,
        lane: &LaneAt,
        release: Release,
        now: Timestamp,
    ) -> Result<Released, Trouble> {
        if tx.query_opt(TAKES_EVENTS, &[&lane.tenant, &lane.endpoint]).await?.is_none() {
            return Ok(Released::NoEndpoint);
        }
        lock(tx, std::slice::from_ref(lane)).await?;
        let row = tx.query_opt(FIND_HEAD, &[&lane.tenant, &lane.endpoint, &lane.key]).await?;
        let Some(row) = row else { return Ok(Released::Missing) };
        let head = DeliveryId::from_number(number(&row, 0)?);
        match release {
            Release::Skip => self.skip(tx, lane, head, now).await,
            Release::Retry(id) => retry(tx, lane, head, id, now).await,
        }
    }

    /// Passes over the head of a lane that is locked.
    async fn skip(
        &self,
        tx: &Tx,
        lane: &LaneAt,
        head: DeliveryId,
        now: Timestamp,
    ) -> Result<Released, Trouble> {
        let ids = [Uuid(head.number())];
        let ended = ending::end(tx, &*self.rng, lane.tenant, &ids, End::Cancelled, now).await?;
        if !ended.ids.is_empty() {
            return Ok(Released::Done(Some(head)));
        }
        let is_kept = tx.query_opt(LOCK_DEAD, &[&lane.tenant, &ids[0]]).await?.is_some();
        tx.execute(END_HOLD, &[&lane.tenant, &lane.endpoint, &lane.key]).await?;
        settle(tx, std::slice::from_ref(lane), now).await?;
        Ok(Released::Done(is_kept.then_some(head)))
    }
}

/// Tries the head of a lane that is locked now, or a replay in its place.
async fn retry(
    tx: &Tx,
    lane: &LaneAt,
    head: DeliveryId,
    replay: DeliveryId,
    now: Timestamp,
) -> Result<Released, Trouble> {
    let (tenant, head_id) = (lane.tenant, Uuid(head.number()));
    match interventions::lock_waiting(tx, tenant, head).await? {
        Waits::InFlight => return Ok(Released::Done(Some(head))),
        // The head of a lane is never behind another one.
        Waits::ForItsTime | Waits::Behind => {
            tx.execute(interventions::RETRY_NOW, &[&tenant, &head_id, &now.unix_ms()]).await?;
            return Ok(Released::Done(Some(head)));
        }
        Waits::NotOpen => {}
    }
    // Others who would replay it wait until the end of the transaction.
    let Some(dead) = tx.query_opt(LOCK_DEAD, &[&tenant, &head_id]).await? else {
        return Ok(Released::Expired);
    };
    let lane_number: i64 = value(&dead, 0)?;
    // A replay that somebody made of it waits at the end of this lane: it comes before all others.
    let waiting = tx.query_opt(WAITING_REPLAY, &[&tenant, &head_id, &lane.endpoint, &lane.key]).await?;
    let id = match waiting {
        Some(row) => {
            let id = DeliveryId::from_number(number(&row, 0)?);
            let due = [&tenant as _, &Uuid(id.number()) as _, &now.unix_ms() as _, &lane_number as _];
            tx.execute(MAKE_DUE, &due).await?;
            id
        }
        None => {
            let made = [&tenant as _, &head_id as _, &Uuid(replay.number()) as _, &now.unix_ms() as _];
            if tx.execute(REPLAY_HEAD, &made).await? == 0 {
                return Ok(Released::Expired);
            }
            let state = DeadLetterState::Replayed.as_str();
            let mark =
                [&tenant as _, &head_id as _, &state as _, &Uuid(replay.number()) as _, &now.unix_ms() as _];
            tx.execute(MARK_REPLAYED, &mark).await?;
            replay
        }
    };
    tx.execute(SET_HEAD, &[&tenant, &lane.endpoint, &lane.key, &Uuid(id.number())]).await?;
    Ok(Released::Done(Some(id)))
}
