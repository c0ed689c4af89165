//! Names what is due, lends it, and records what came of it.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{
    AttemptResult, BACKLOG_COUNTED_MAX, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Lease,
    LeaseAsk, LeaseKeeper, LeaseKey, LeasedDelivery,
};
use harbor_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::pages::first_id_at;
use crate::sqlite::SqliteStore;
use crate::sqlite::batch::{Batch, by_tenant};
use crate::sqlite::finish::FinishAll;
use crate::sqlite::lanes::NEVER;
use crate::sqlite::leases::Refill;
use crate::sqlite::rows::{blob, json_if_any, number, number_if_any, parsed, time, value};
use crate::sqlite::transaction::{TenantMark, find_tenant_mark, find_tenant_number};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::Weight;

#[async_trait]
impl Deliveries for SqliteStore {
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        self.database.read(move |conn| due_endpoints(conn, now, after, limit)).await
    }

    async fn lease(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        let leases = self.leases.clone();
        let lend = move |conn: &Connection| {
            // Before the first statement, by which the snapshot is taken.
            let refill = leases.refill();
            let mut lent = Vec::new();
            for ask in &asks {
                lease(conn, &refill, worker, now, ask, &mut lent)?;
            }
            Ok(lent)
        };
        self.database.read(lend).await
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        let load = move |conn: &Connection| {
            asks.into_iter().map(|(tenant_id, id)| load_event(conn, tenant_id, id)).collect()
        };
        self.database.read(load).await
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        for result in &results {
            assert!(!result.is_interrupted || result.attempt.is_none(), "an interruption has no record");
        }
        let mut batch = Batch::new(results.len());
        for (tenant_id, results) in by_tenant(results, |result| &result.lease.delivery.key.tenant_id) {
            let mut results = results.into_iter().peekable();
            while results.peek().is_some() {
                let (places, part): (Vec<_>, Vec<_>) = results.by_ref().take(self.bounds.items_max).unzip();
                let bytes =
                    part.iter().flat_map(|result| &result.attempt).map(|attempt| attempt.response_body.len());
                let weight = Weight { items: part.len(), bytes: bytes.sum() };
                let work = FinishAll::new(part, self.leases.clone(), self.directory.clone());
                batch.wait_for(places, self.database.hand_in(Some(tenant_id.clone()), weight, work));
            }
        }
        let answers = batch.answers().await;
        answers.into_iter().map(|answer| answer.map(|finished| finished.finish)).collect()
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        Ok(self.leases.note_start(lease))
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        Ok(self.leases.stands(lease))
    }

    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        Ok(self.leases.leases_of(worker))
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        let leases = self.leases.clone();
        self.database.read(move |conn| backlog(conn, now, &leases.held())).await
    }
}

impl LeaseKeeper for SqliteStore {
    fn give_back(&self, key: LeaseKey) {
        self.leases.give_back(key);
    }
}

/// An endpoint of the due index, and when the longest due of its open deliveries is due.
pub(crate) struct OpenEndpoint {
    pub(crate) tenant: i64,
    pub(crate) endpoint_id: u128,
    pub(crate) first_due_at: Timestamp,
}

/// Finds the next endpoint of a tenant in the due index with one seek, however many deliveries lie between. A
/// comparison of two columns at once would go through all of the endpoint before.
pub(crate) const NEXT_OPEN_ENDPOINT: &str = "SELECT tenant, endpoint_id, due_at FROM deliveries
    WHERE tenant = ?1 AND endpoint_id > ?2 AND due_at IS NOT NULL
    ORDER BY endpoint_id, due_at LIMIT 1";

/// Finds the first endpoint of the next tenant.
pub(crate) const NEXT_OPEN_TENANT: &str = "SELECT tenant, endpoint_id, due_at FROM deliveries
    WHERE tenant > ?1 AND due_at IS NOT NULL
    ORDER BY tenant, endpoint_id, due_at LIMIT 1";

/// Finds the next endpoint that has open deliveries, after the place of another.
pub(crate) fn next_open_endpoint(
    conn: &Connection,
    after: (i64, u128),
) -> Result<Option<OpenEndpoint>, Trouble> {
    let mut query = conn.prepare_cached(NEXT_OPEN_ENDPOINT)?;
    let mut rows = query.query((after.0, blob(after.1)))?;
    if let Some(row) = rows.next()? {
        return open_endpoint(row).map(Some);
    }
    let mut query = conn.prepare_cached(NEXT_OPEN_TENANT)?;
    let mut rows = query.query([after.0])?;
    rows.next()?.map(open_endpoint).transpose()
}

fn open_endpoint(row: &Row<'_>) -> Result<OpenEndpoint, Trouble> {
    Ok(OpenEndpoint { tenant: value(row, 0)?, endpoint_id: number(row, 1)?, first_due_at: time(row, 2)? })
}

/// Before the first endpoint of the first tenant.
pub(crate) const BEGINNING: (i64, u128) = (0, 0);

/// An endpoint that may be sent to, with its tenant.
pub(crate) const WORKING_ENDPOINT: &str = "SELECT t.id, t.directory_version, e.enabled_at
    FROM endpoints AS e JOIN tenants AS t ON t.number = e.tenant
    WHERE e.tenant = ?1 AND e.id = ?2
      AND e.paused = 0 AND e.disabled IS NULL AND e.deleted_at IS NULL AND t.deleted_at IS NULL";

fn due_endpoints(
    conn: &Connection,
    now: Timestamp,
    after: Option<EndpointKey>,
    limit: usize,
) -> Result<Vec<DueEndpoint>, Trouble> {
    let mut place = BEGINNING;
    if let Some(key) = after {
        // The walk goes by the tenants' numbers. Where the tenant has gone meanwhile the walk ends; the
        // next one begins anew.
        let Some(tenant) = find_tenant_number(conn, &key.tenant_id)? else { return Ok(Vec::new()) };
        place = (tenant, key.endpoint_id.number());
    }
    let mut due = Vec::new();
    while due.len() < limit
        && let Some(open) = next_open_endpoint(conn, place)?
    {
        place = (open.tenant, open.endpoint_id);
        if open.first_due_at > now {
            continue;
        }
        let mut query = conn.prepare_cached(WORKING_ENDPOINT)?;
        let mut rows = query.query((open.tenant, blob(open.endpoint_id)))?;
        if let Some(row) = rows.next()? {
            let tenant_id = parsed(row, 0, "tenant id")?;
            due.push(DueEndpoint {
                key: EndpointKey { tenant_id, endpoint_id: EndpointId::from_number(open.endpoint_id) },
                oldest_due_at: open.first_due_at,
                directory_version: value(row, 1)?,
            });
        }
    }
    Ok(due)
}

/// Walks what is due of an endpoint, by the index alone.
pub(crate) const DUE_OF_ENDPOINT: &str = "SELECT id, due_at FROM deliveries
    WHERE tenant = ?1 AND endpoint_id = ?2 AND due_at <= ?3
    ORDER BY due_at, id";

/// The same, of what was made with an id that is not below this one.
pub(crate) const DUE_SINCE: &str = "SELECT id, due_at FROM deliveries
    WHERE tenant = ?1 AND endpoint_id = ?2 AND due_at <= ?3 AND id >= ?4
    ORDER BY due_at, id";

pub(crate) const DELIVERY_TO_LEASE: &str =
    "SELECT event_id, attempt_count, interrupted_count, payload_bytes, replay_of, new_webhook_id,
        lane_key IS NOT NULL
     FROM deliveries WHERE tenant = ?1 AND id = ?2";

/// Lends what is due of one endpoint and free, as far as the ask goes.
fn lease(
    conn: &Connection,
    refill: &Refill<'_>,
    worker: WorkerId,
    now: Timestamp,
    ask: &LeaseAsk,
    lent: &mut Vec<Lease>,
) -> Result<(), Trouble> {
    let Some(tenant) = find_tenant_mark(conn, &ask.key.tenant_id)? else { return Ok(()) };
    let endpoint = blob(ask.key.endpoint_id.number());
    let enabled_at: Option<Option<i64>> = conn
        .prepare_cached(WORKING_ENDPOINT)?
        .query_row((tenant.number, endpoint), |row| row.get(2))
        .optional()?;
    let Some(enabled_at) = enabled_at else { return Ok(()) };
    // What is open from before the endpoint was enabled again is dead: it was disabled then.
    let first = enabled_at.map_or(0, |at| first_id_at(Timestamp::from_unix_ms(at)));
    let mut query = conn.prepare_cached(DUE_SINCE)?;
    let mut rows = query.query((tenant.number, endpoint, now.unix_ms(), blob(first)))?;
    let wanted = lent.len() + ask.count;
    // At most as many rows are passed over as are held of this endpoint, which the lanes bound.
    while lent.len() < wanted
        && let Some(row) = rows.next()?
    {
        let id = DeliveryId::from_number(number(row, 0)?);
        if refill.is_free(id) {
            let leased = read_to_lease(conn, tenant, &ask.key, id)?;
            lent.extend(refill.lend(leased, worker));
        }
    }
    Ok(())
}

fn read_to_lease(
    conn: &Connection,
    tenant: TenantMark,
    key: &EndpointKey,
    id: DeliveryId,
) -> Result<LeasedDelivery, Trouble> {
    let mut query = conn.prepare_cached(DELIVERY_TO_LEASE)?;
    let mut rows = query.query((tenant.number, blob(id.number())))?;
    let row = rows
        .next()?
        .ok_or_else(|| Trouble::damaged("delivery", "the due index names one that is not there"))?;
    Ok(LeasedDelivery {
        key: key.clone(),
        delivery_id: id,
        event_id: EventId::from_number(number(row, 0)?),
        attempt_count: value(row, 1)?,
        interrupted_count: value(row, 2)?,
        payload_bytes: value(row, 3)?,
        created_at: id.made_at(),
        replay_of: number_if_any(row, 4)?.map(DeliveryId::from_number),
        new_webhook_id: value(row, 5)?,
        is_ordered: value(row, 6)?,
        directory_version: tenant.directory_version,
    })
}

pub(crate) const LOAD_EVENT: &str =
    "SELECT event_type, content_type, headers, trace_id, span_id, trace_sampled, trace_state, payload
     FROM events WHERE tenant = ?1 AND id = ?2";

/// Reads what requests need of an event; none where it or its payload is no longer kept.
fn load_event(
    conn: &Connection,
    tenant_id: TenantId,
    id: EventId,
) -> Result<Option<Arc<EventBody>>, Trouble> {
    let Some(tenant) = find_tenant_number(conn, &tenant_id)? else { return Ok(None) };
    let mut query = conn.prepare_cached(LOAD_EVENT)?;
    let mut rows = query.query((tenant, blob(id.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (body, is_kept) = event_body(row, tenant_id, id)?;
    Ok(is_kept.then(|| Arc::new(body)))
}

/// Reads the columns of [`LOAD_EVENT`], and whether the payload is still kept.
pub(crate) fn event_body(
    row: &Row<'_>,
    tenant_id: TenantId,
    id: EventId,
) -> Result<(EventBody, bool), Trouble> {
    let payload: Option<Vec<u8>> = value(row, 7)?;
    let is_kept = payload.is_some();
    let body = EventBody {
        id,
        tenant_id,
        event_type: parsed(row, 0, "event type")?,
        payload: payload.map(Bytes::from).unwrap_or_default(),
        content_type: value(row, 1)?,
        headers: json_if_any(row, 2, "headers")?,
        trace: TraceContext {
            trace_id: number(row, 3)?,
            span_id: u64::from_be_bytes(value(row, 4)?),
            sampled: value(row, 5)?,
            state: value(row, 6)?,
        },
        created_at: id.made_at(),
    };
    Ok((body, is_kept))
}

/// Finds when the next delivery of an endpoint becomes due that is not yet. One behind the head of its
/// lane, at `?4`, never does.
pub(crate) const NEXT_DUE_OF_ENDPOINT: &str = "SELECT due_at FROM deliveries
    WHERE tenant = ?1 AND endpoint_id = ?2 AND due_at > ?3 AND due_at < ?4
    ORDER BY due_at LIMIT 1";

/// Counts what waits, endpoint by endpoint; what is held does not wait.
fn backlog(conn: &Connection, now: Timestamp, held: &HashSet<DeliveryId>) -> Result<Backlog, Trouble> {
    let mut backlog = Backlog::default();
    let mut place = BEGINNING;
    while let Some(open) = next_open_endpoint(conn, place)? {
        place = (open.tenant, open.endpoint_id);
        let key = (open.tenant, blob(open.endpoint_id), now.unix_ms());
        let next_due_at = conn
            .prepare_cached(NEXT_DUE_OF_ENDPOINT)?
            .query_row((key.0, key.1, key.2, NEVER), |row| row.get(0))
            .optional()?
            .map(Timestamp::from_unix_ms);
        backlog.next_due_at = earliest(backlog.next_due_at, next_due_at);

        let mut query = conn.prepare_cached(DUE_OF_ENDPOINT)?;
        let mut rows = query.query(key)?;
        let mut is_first = true;
        // The longest due of each endpoint is looked for even when the count has come to its end.
        while (is_first || backlog.due < BACKLOG_COUNTED_MAX)
            && let Some(row) = rows.next()?
        {
            if held.contains(&DeliveryId::from_number(number(row, 0)?)) {
                continue;
            }
            if is_first {
                backlog.oldest_due_at = earliest(backlog.oldest_due_at, Some(time(row, 1)?));
                is_first = false;
            }
            backlog.due = (backlog.due + 1).min(BACKLOG_COUNTED_MAX);
        }
    }
    Ok(backlog)
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}
