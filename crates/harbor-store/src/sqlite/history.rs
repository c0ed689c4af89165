//! Reading what happened: events, deliveries with their attempts, dead letters.

pub(crate) mod summary;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::delivery::{DeadLetterState, Delivery, DeliveryStatus, DeliveryWithAttempts};
use harbor_model::event::{Event, EventSummary, FanOutRecord};
use harbor_model::id::{AttemptId, DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::history::{
    DeadLetterFilter, DeadLetterSummary, DeliveryFilter, EventFilter, History,
};
use harbor_model::port::page::{PAGE_ROWS_READ_MAX, Page, PageAsk, Position};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::filters::{is_dead_and_wanted, is_delivery_wanted, is_event_wanted};
use crate::pages::{IdRange, Seen};
use crate::sqlite::SqliteStore;
use crate::sqlite::deliveries::event_body;
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::pages::page;
use crate::sqlite::rows::{
    DELIVERY_COLUMNS, blob, delivery, json_if_any, named_if_any, number, parsed, time, time_if_any, value,
};
use crate::sqlite::transaction::find_tenant_number;
use crate::sqlite::trouble::Trouble;

#[async_trait]
impl History for SqliteStore {
    async fn events(
        &self,
        tenant: &TenantId,
        filter: EventFilter,
        ask: PageAsk,
    ) -> Result<Page<EventSummary>, Fault> {
        self.read_of(tenant, move |conn, _, tenant| events(conn, tenant.number, &filter, ask)).await
    }

    async fn find_event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, Fault> {
        self.read_of(tenant, move |conn, _, tenant| find_event(conn, tenant.number, tenant.id, id)).await
    }

    async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: DeliveryFilter,
        ask: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        self.read_of(tenant, move |conn, leases, tenant| deliveries(conn, leases, &tenant, &filter, ask))
            .await
    }

    async fn deliveries_of_event(
        &self,
        tenant: &TenantId,
        event: EventId,
        filter: DeliveryFilter,
        ask: PageAsk,
    ) -> Result<Page<DeliveryWithAttempts>, Fault> {
        let list = move |conn: &Connection, leases: &LeaseTable, tenant: Owner| {
            let filter = DeliveryFilter { event_id: Some(event), ..filter };
            let found = deliveries(conn, leases, &tenant, &filter, ask)?;
            let with_attempts =
                found.items.into_iter().map(|delivery| with_attempts(conn, tenant.number, delivery));
            Ok(Page { items: with_attempts.collect::<Result<_, _>>()?, next: found.next })
        };
        self.read_of(tenant, list).await
    }

    async fn find_delivery(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryWithAttempts>, Fault> {
        let find = move |conn: &Connection, leases: &LeaseTable, tenant: Owner| {
            let found = find_delivery(conn, tenant.number, &tenant.id, id, leases.is_leased(id))?;
            found.map(|delivery| with_attempts(conn, tenant.number, delivery)).transpose()
        };
        self.read_of(tenant, find).await
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: DeadLetterFilter,
        ask: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        self.read_of(tenant, move |conn, _, tenant| dead_letters(conn, &tenant, &filter, ask)).await
    }

    async fn dead_letter_summary(&self, tenant: &TenantId) -> Result<DeadLetterSummary, Fault> {
        let clock = self.clock.clone();
        self.read_of(tenant, move |conn, _, tenant| summary::read(conn, tenant.number, &*clock)).await
    }
}

/// The tenant whose history is read.
struct Owner {
    number: i64,
    id: TenantId,
}

/// What an unknown tenant has: nothing.
trait Nothing {
    fn nothing() -> Self;
}

impl<T> Nothing for Option<T> {
    fn nothing() -> Self {
        None
    }
}

impl Nothing for DeadLetterSummary {
    fn nothing() -> Self {
        Self { groups: Vec::new(), is_complete: true }
    }
}

impl<T> Nothing for Page<T> {
    fn nothing() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

impl SqliteStore {
    /// Reads something of one tenant.
    async fn read_of<T, F>(&self, tenant: &TenantId, read: F) -> Result<T, Fault>
    where
        T: Nothing + Send + 'static,
        F: FnOnce(&Connection, &LeaseTable, Owner) -> Result<T, Trouble> + Send + 'static,
    {
        let (id, leases) = (tenant.clone(), self.leases.clone());
        let find = move |conn: &Connection| {
            let Some(number) = find_tenant_number(conn, &id)? else { return Ok(T::nothing()) };
            read(conn, &leases, Owner { number, id })
        };
        self.database.browse(find).await
    }
}

pub(crate) const LIST_EVENTS: &str =
    "SELECT id, event_type, occurred_at, idempotency_key, length(payload), fan_out_count
    FROM events WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id DESC";

fn events(
    conn: &Connection,
    tenant: i64,
    filter: &EventFilter,
    ask: PageAsk,
) -> Result<Page<EventSummary>, Trouble> {
    let mut range = IdRange::new(ask.after, filter.since, filter.until);
    if let Some(key) = &filter.idempotency_key
        && let Some(newest) = find_claimed(conn, tenant, key)?
    {
        // A claim stands for the newest event of its key, so nothing newer need be read.
        range = range.up_to(newest);
    }
    if range.is_empty() {
        return Ok(Page::nothing());
    }
    let (first, last) = range.ends();
    let mut query = conn.prepare_cached(LIST_EVENTS)?;
    page(query.query((tenant, blob(first), blob(last)))?, ask.limit, |row| {
        let position = number(row, 0)?;
        let id = EventId::from_number(position);
        let summary = EventSummary {
            id,
            event_type: parsed(row, 1, "event type")?,
            created_at: id.made_at(),
            occurred_at: time_if_any(row, 2)?,
            idempotency_key: value(row, 3)?,
            payload_bytes: value::<Option<u64>>(row, 4)?.unwrap_or(0),
            fan_out_count: value(row, 5)?,
        };
        let is_wanted = is_event_wanted(&summary, filter);
        Ok(Seen { position, item: is_wanted.then_some(summary) })
    })
}

pub(crate) const FIND_CLAIMED: &str =
    "SELECT made_id FROM idempotency_keys WHERE tenant = ?1 AND scope = 'publish' AND key = ?2";

/// The event that holds a publish's key, also where its window is over and nobody took the key since.
fn find_claimed(conn: &Connection, tenant: i64, key: &str) -> Result<Option<u128>, Trouble> {
    let found: Option<[u8; 16]> =
        conn.prepare_cached(FIND_CLAIMED)?.query_row((tenant, key), |row| row.get(0)).optional()?;
    Ok(found.map(u128::from_be_bytes))
}

pub(crate) const FIND_EVENT: &str = "SELECT
        event_type, content_type, headers, trace_id, span_id, trace_sampled, trace_state, payload,
        occurred_at, deliver_at, ordering_key, idempotency_key, metadata, fan_out_count, skipped
    FROM events WHERE tenant = ?1 AND id = ?2";

fn find_event(
    conn: &Connection,
    tenant: i64,
    tenant_id: TenantId,
    id: EventId,
) -> Result<Option<Event>, Trouble> {
    let mut query = conn.prepare_cached(FIND_EVENT)?;
    let mut rows = query.query((tenant, blob(id.number())))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (body, is_kept) = event_body(row, tenant_id, id)?;
    let skipped: Option<Vec<u8>> = value(row, 14)?;
    let (skipped, _) = skipped.as_deref().unwrap_or_default().as_chunks();
    let skipped = skipped.iter().map(|id| EndpointId::from_number(u128::from_be_bytes(*id)));
    Ok(Some(Event {
        body: body.into(),
        occurred_at: time_if_any(row, 8)?,
        deliver_at: time_if_any(row, 9)?,
        ordering_key: value(row, 10)?,
        idempotency_key: value(row, 11)?,
        metadata: json_if_any(row, 12, "metadata")?,
        fan_out: FanOutRecord { count: value(row, 13)?, skipped: skipped.collect() },
        is_expunged: !is_kept,
    }))
}

/// Reads one delivery.
pub(crate) fn find_delivery(
    conn: &Connection,
    tenant: i64,
    tenant_id: &TenantId,
    id: DeliveryId,
    is_leased: bool,
) -> Result<Option<Delivery>, Trouble> {
    let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE tenant = ?1 AND id = ?2");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query((tenant, blob(id.number())))?;
    rows.next()?.map(|row| delivery(row, tenant_id, is_leased)).transpose()
}

/// Which way a list goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    NewestFirst,
    OldestFirst,
}

impl Direction {
    fn sql(self) -> &'static str {
        match self {
            Self::NewestFirst => "DESC",
            Self::OldestFirst => "ASC",
        }
    }
}

/// The index that a list of deliveries goes by: the one whose rows are fewest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DeliveryList {
    OfEvent,
    OfEndpoint,
    Dead,
    All,
}

impl DeliveryList {
    pub(crate) fn choose(filter: &DeliveryFilter) -> Self {
        match filter {
            DeliveryFilter { event_id: Some(_), .. } => Self::OfEvent,
            DeliveryFilter { endpoint_id: Some(_), .. } => Self::OfEndpoint,
            DeliveryFilter { status: Some(DeliveryStatus::Dead), .. } => Self::Dead,
            _ => Self::All,
        }
    }

    /// The id of what the list is of.
    pub(crate) fn narrowed_by(self, filter: &DeliveryFilter) -> Option<u128> {
        match self {
            Self::OfEvent => filter.event_id.map(EventId::number),
            Self::OfEndpoint => filter.endpoint_id.map(EndpointId::number),
            Self::Dead | Self::All => None,
        }
    }

    /// The query: of a tenant, between two ids, and of the event or endpoint as `?4`.
    pub(crate) fn sql(self, direction: Direction) -> String {
        let narrowed = |by: &str, condition: &str| {
            format!(
                "SELECT {DELIVERY_COLUMNS} FROM deliveries {by}
                 WHERE tenant = ?1 AND id BETWEEN ?2 AND ?3 AND {condition} ORDER BY id {}",
                direction.sql()
            )
        };
        // Left to itself, SQLite takes a range of ids for narrower than one event.
        match self {
            Self::OfEvent => narrowed("INDEXED BY deliveries_by_event", "event_id = ?4"),
            Self::OfEndpoint => narrowed("INDEXED BY deliveries_by_endpoint", "endpoint_id = ?4"),
            Self::Dead => dead_sql(None, false, direction),
            Self::All => narrowed("NOT INDEXED", "?4 IS NULL"),
        }
    }
}

fn deliveries(
    conn: &Connection,
    leases: &LeaseTable,
    tenant: &Owner,
    filter: &DeliveryFilter,
    ask: PageAsk,
) -> Result<Page<Delivery>, Trouble> {
    let range = IdRange::new(ask.after, filter.since, filter.until);
    if range.is_empty() {
        return Ok(Page::nothing());
    }
    if filter.status == Some(DeliveryStatus::Inflight) {
        return inflight(conn, leases, tenant, filter, range, ask.limit);
    }
    let list = DeliveryList::choose(filter);
    let narrowed_by = list.narrowed_by(filter).map(blob);
    let (first, last) = range.ends();
    let mut query = conn.prepare_cached(&list.sql(Direction::NewestFirst))?;
    page(query.query((tenant.number, blob(first), blob(last), narrowed_by))?, ask.limit, |row| {
        let position = number(row, 0)?;
        let is_leased = leases.is_leased(DeliveryId::from_number(position));
        let found = delivery(row, &tenant.id, is_leased)?;
        Ok(Seen { position, item: Some(found).filter(|found| is_delivery_wanted(found, filter)) })
    })
}

/// Lists what is in flight, which only memory knows.
fn inflight(
    conn: &Connection,
    leases: &LeaseTable,
    tenant: &Owner,
    filter: &DeliveryFilter,
    range: IdRange,
    limit: usize,
) -> Result<Page<Delivery>, Trouble> {
    let mut ids = leases.leased_of(&tenant.id);
    ids.retain(|id| range.contains(id.number()));
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let mut items = Vec::new();
    let mut last = None;
    for (read_count, id) in ids.into_iter().enumerate() {
        if items.len() >= limit || read_count >= PAGE_ROWS_READ_MAX {
            return Ok(Page { items, next: last.map(Position) });
        }
        last = Some(id.number());
        let found = find_delivery(conn, tenant.number, &tenant.id, id, true)?;
        items.extend(found.filter(|found| is_delivery_wanted(found, filter)));
    }
    Ok(Page { items, next: None })
}

/// The query of dead letters: of a tenant, between two ids; of the endpoint `?4` if one is asked for.
///
/// The index goes by state first, so the list of all states merges three.
pub(crate) fn dead_sql(state: Option<DeadLetterState>, is_of_endpoint: bool, direction: Direction) -> String {
    let (index, condition) = match is_of_endpoint {
        true => ("deliveries_dead_by_endpoint", "endpoint_id = ?4"),
        false => ("deliveries_dead", "?4 IS NULL"),
    };
    let of_state = |state: &DeadLetterState| {
        format!(
            "SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY {index}
             WHERE tenant = ?1 AND dlq_state = '{state}' AND id BETWEEN ?2 AND ?3 AND {condition}"
        )
    };
    let states = match &state {
        Some(state) => std::slice::from_ref(state),
        None => DeadLetterState::ALL,
    };
    let parts: Vec<_> = states.iter().map(of_state).collect();
    format!("{} ORDER BY id {}", parts.join(" UNION ALL "), direction.sql())
}

fn dead_letters(
    conn: &Connection,
    tenant: &Owner,
    filter: &DeadLetterFilter,
    ask: PageAsk,
) -> Result<Page<Delivery>, Trouble> {
    // Nothing dies before it is made; how long after is not known.
    let range = IdRange::new(ask.after, None, filter.until);
    if range.is_empty() {
        return Ok(Page::nothing());
    }
    let (first, last) = range.ends();
    let endpoint = filter.endpoint_id.map(|id| blob(id.number()));
    let mut query =
        conn.prepare_cached(&dead_sql(filter.state, endpoint.is_some(), Direction::NewestFirst))?;
    page(query.query((tenant.number, blob(first), blob(last), endpoint))?, ask.limit, |row| {
        let position = number(row, 0)?;
        let found = delivery(row, &tenant.id, false)?;
        Ok(Seen { position, item: Some(found).filter(|found| is_dead_and_wanted(found, filter)) })
    })
}

pub(crate) const ATTEMPTS_OF_DELIVERY: &str = "SELECT
        id, number, started_at, latency_us, http_status, error_class, error, remote_address,
        response_headers, response_body
    FROM attempts WHERE tenant = ?1 AND delivery_id = ?2 ORDER BY id";

fn with_attempts(
    conn: &Connection,
    tenant: i64,
    delivery: Delivery,
) -> Result<DeliveryWithAttempts, Trouble> {
    let mut query = conn.prepare_cached(ATTEMPTS_OF_DELIVERY)?;
    let mut rows = query.query((tenant, blob(delivery.id.number())))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(attempt(row)?);
    }
    Ok(DeliveryWithAttempts { delivery, attempts })
}

fn attempt(row: &Row<'_>) -> Result<Attempt, Trouble> {
    let address: Option<String> = value(row, 7)?;
    let address = address.map(|text| text.parse()).transpose();
    let body: Option<Vec<u8>> = value(row, 9)?;
    Ok(Attempt {
        id: AttemptId::from_number(number(row, 0)?),
        number: value(row, 1)?,
        started_at: time(row, 2)?,
        latency: std::time::Duration::from_micros(value(row, 3)?),
        http_status: value(row, 4)?,
        error_class: named_if_any(row, 5, "error class", ErrorClass::from_name)?,
        error: value(row, 6)?,
        remote_address: address.map_err(|error| Trouble::damaged("remote address", error))?,
        response_headers: json_if_any(row, 8, "response headers")?,
        response_body: body.map(Bytes::from).unwrap_or_default(),
    })
}
