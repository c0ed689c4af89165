//! Reading what happened: events, deliveries with their attempts, dead letters.
//!
//! A delivery stands in one of two tables: where it is open, and where it is final. Each part of a query
//! over both is ordered and limited by itself, so that no more rows are read than one table would give.

use std::cmp::Reverse;
use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::delivery::{Cause, DeadLetterState, Delivery, DeliveryStatus, DeliveryWithAttempts};
use harbor_model::event::{Event, EventSummary, FanOutRecord};
use harbor_model::id::{AttemptId, DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::history::{
    DEAD_LETTERS_COUNTED_MAX, DeadLetterFilter, DeadLetterGroup, DeadLetterSummary, DeliveryFilter,
    EventFilter, History,
};
use harbor_model::port::page::{Page, PageAsk};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::claims::Scope;
use crate::filters::{is_dead_and_wanted, is_delivery_wanted, is_event_wanted};
use crate::pages::{IdRange, Seen};
use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::pages::List;
use crate::postgres::registry::find_tenant_number;
use crate::postgres::rows::{
    DONE_COLUMNS, EVENT_COLUMNS, OPEN_COLUMNS, bigint, delivery, event_body, json_if_any, named,
    named_if_any, number, parsed, time, time_if_any, value, whole, whole_if_any,
};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl History for PostgresStore {
    async fn events(
        &self,
        tenant: &TenantId,
        filter: EventFilter,
        ask: PageAsk,
    ) -> Result<Page<EventSummary>, Fault> {
        retried("list events", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(nothing()) };
            events(&link, number, &filter, ask).await
        })
        .await
    }

    async fn find_event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, Fault> {
        retried("find event", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            find_event(&link, number, tenant.clone(), id).await
        })
        .await
    }

    async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: DeliveryFilter,
        ask: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        // What this process has given back is not shown as in flight any more.
        self.leases.settled().await;
        retried("list deliveries", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(nothing()) };
            deliveries(&link, number, tenant, &filter, ask).await
        })
        .await
    }

    async fn deliveries_of_event(
        &self,
        tenant: &TenantId,
        event: EventId,
        filter: DeliveryFilter,
        ask: PageAsk,
    ) -> Result<Page<DeliveryWithAttempts>, Fault> {
        let filter = DeliveryFilter { event_id: Some(event), ..filter };
        self.leases.settled().await;
        retried("list deliveries of an event", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(nothing()) };
            let found = deliveries(&link, number, tenant, &filter, ask).await?;
            Ok(Page { items: with_attempts(&link, number, found.items).await?, next: found.next })
        })
        .await
    }

    async fn find_delivery(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryWithAttempts>, Fault> {
        self.leases.settled().await;
        retried("find delivery", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(None) };
            let found = find_delivery(&link, number, tenant, id).await?;
            Ok(with_attempts(&link, number, found.into_iter().collect()).await?.pop())
        })
        .await
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: DeadLetterFilter,
        ask: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        retried("list dead letters", async || {
            let link = self.database.browse().await?;
            let Some(number) = find_tenant_number(&link, tenant).await? else { return Ok(nothing()) };
            dead_letters(&link, number, tenant, &filter, ask).await
        })
        .await
    }

    async fn dead_letter_summary(&self, tenant: &TenantId) -> Result<DeadLetterSummary, Fault> {
        retried("count dead letters", async || {
            let link = self.database.browse().await?;
            match find_tenant_number(&link, tenant).await? {
                Some(number) => dead_letter_summary(&link, number).await,
                None => Ok(DeadLetterSummary { groups: Vec::new(), is_complete: true }),
            }
        })
        .await
    }
}

/// What an unknown tenant has.
fn nothing<T>() -> Page<T> {
    Page { items: Vec::new(), next: None }
}

pub(crate) const LIST_EVENTS: &str =
    "SELECT id, event_type, occurred_at, idempotency_key, octet_length(payload), fan_out_count
    FROM events WHERE tenant = $1 AND id BETWEEN $2 AND $3 ORDER BY id DESC LIMIT $4";

async fn events(
    link: &Link,
    tenant: i64,
    filter: &EventFilter,
    ask: PageAsk,
) -> Result<Page<EventSummary>, Trouble> {
    let mut range = IdRange::new(ask.after, filter.since, filter.until);
    if let Some(key) = &filter.idempotency_key
        && let Some(newest) = find_claimed(link, tenant, key).await?
    {
        // A claim stands for the newest event of its key, so nothing newer need be read.
        range = range.up_to(newest);
    }
    let list = List { sql: LIST_EVENTS, tenant: &tenant, range, narrowed_by: &[], limit: ask.limit };
    list.page(link, |row| {
        let position = number(row, 0)?;
        let id = EventId::from_number(position);
        let summary = EventSummary {
            id,
            event_type: parsed(row, 1, "event type")?,
            created_at: id.made_at(),
            occurred_at: time_if_any(row, 2)?,
            idempotency_key: value(row, 3)?,
            payload_bytes: whole_if_any(row, 4, "size of the payload")?.unwrap_or(0),
            fan_out_count: whole(row, 5, "fan-out")?,
        };
        Ok(Seen { position, item: Some(summary).filter(|event| is_event_wanted(event, filter)) })
    })
    .await
}

pub(crate) const FIND_CLAIMED: &str =
    "SELECT made_id FROM idempotency_keys WHERE tenant = $1 AND scope = $2 AND key = $3";

/// The event that holds a publish's key, also where its window is over and nobody took the key since.
async fn find_claimed(link: &Link, tenant: i64, key: &str) -> Result<Option<u128>, Trouble> {
    let found = link.query_opt(FIND_CLAIMED, &[&tenant, &Scope::Publish.as_str(), &key]).await?;
    found.map(|row| number(&row, 0)).transpose()
}

/// Finds one event: [`EVENT_COLUMNS`], then the rest.
pub(crate) fn find_event_sql() -> String {
    format!(
        "SELECT {EVENT_COLUMNS}, occurred_at, deliver_at, ordering_key, idempotency_key, metadata,
             fan_out_count, skipped
         FROM events WHERE tenant = $1 AND id = $2"
    )
}

async fn find_event(
    link: &Link,
    tenant: i64,
    tenant_id: TenantId,
    id: EventId,
) -> Result<Option<Event>, Trouble> {
    let found = link.query_opt(&find_event_sql(), &[&tenant, &Uuid(id.number())]).await?;
    let Some(row) = &found else { return Ok(None) };
    let (body, is_kept) = event_body(row, 0, tenant_id, id)?;
    let skipped: Option<&[u8]> = value(row, 14)?;
    let (skipped, _) = skipped.unwrap_or_default().as_chunks();
    let skipped = skipped.iter().map(|id| EndpointId::from_number(u128::from_be_bytes(*id)));
    Ok(Some(Event {
        body: body.into(),
        occurred_at: time_if_any(row, 8)?,
        deliver_at: time_if_any(row, 9)?,
        ordering_key: value(row, 10)?,
        idempotency_key: value(row, 11)?,
        metadata: json_if_any(row, 12, "metadata")?,
        fan_out: FanOutRecord { count: whole(row, 13, "fan-out")?, skipped: skipped.collect() },
        is_expunged: !is_kept,
    }))
}

/// Finds one delivery, in whichever table it stands.
pub(crate) fn find_delivery_sql() -> String {
    format!(
        "SELECT {OPEN_COLUMNS} FROM open_deliveries AS d WHERE d.tenant = $1 AND d.id = $2
         UNION ALL
         SELECT {DONE_COLUMNS} FROM deliveries_done AS d WHERE d.tenant = $1 AND d.id = $2"
    )
}

/// Reads one delivery.
pub(crate) async fn find_delivery(
    link: &Link,
    tenant: i64,
    tenant_id: &TenantId,
    id: DeliveryId,
) -> Result<Option<Delivery>, Trouble> {
    let found = link.query_opt(&find_delivery_sql(), &[&tenant, &Uuid(id.number())]).await?;
    found.map(|row| delivery(&row, tenant_id)).transpose()
}

/// Where deliveries of a status stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Open,
    Done,
    Either,
}

/// The query of deliveries, newest first, with a further condition.
pub(crate) fn deliveries_sql(place: Place, condition: &str) -> String {
    let part = |columns: &str, table: &str| {
        format!(
            "SELECT {columns} FROM {table} AS d
             WHERE d.tenant = $1 AND d.id BETWEEN $2 AND $3 {condition} ORDER BY d.id DESC LIMIT $4"
        )
    };
    let (open, done) = (part(OPEN_COLUMNS, "open_deliveries"), part(DONE_COLUMNS, "deliveries_done"));
    match place {
        Place::Open => open,
        Place::Done => done,
        Place::Either => format!("({open}) UNION ALL ({done}) ORDER BY id DESC LIMIT $4"),
    }
}

/// Of the event `$5`.
pub(crate) const OF_EVENT: &str = "AND d.event_id = $5";
/// Of the endpoint `$5`.
pub(crate) const OF_ENDPOINT: &str = "AND d.endpoint_id = $5";

/// Chooses the query whose rows are fewest, and what `$5` is in it.
fn delivery_list(filter: &DeliveryFilter) -> (String, Option<Uuid>) {
    let place = match filter.status {
        Some(DeliveryStatus::Queued | DeliveryStatus::Failed | DeliveryStatus::Inflight) => Place::Open,
        Some(DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled) => Place::Done,
        None => Place::Either,
    };
    if let Some(event) = filter.event_id {
        return (deliveries_sql(place, OF_EVENT), Some(Uuid(event.number())));
    }
    if filter.status == Some(DeliveryStatus::Inflight) {
        return (inflight_sql(), None);
    }
    if let Some(endpoint) = filter.endpoint_id {
        return (deliveries_sql(place, OF_ENDPOINT), Some(Uuid(endpoint.number())));
    }
    if filter.status == Some(DeliveryStatus::Dead) {
        return (dead_sql(None, false), None);
    }
    (deliveries_sql(place, ""), None)
}

/// Lists what is in flight: what is leased, whatever else waits.
///
/// Each delivery is looked for by itself. A join could go through all that is open instead.
pub(crate) fn inflight_sql() -> String {
    format!(
        "SELECT d.* FROM (
             SELECT tenant, delivery_id FROM leases
             WHERE tenant = $1 AND delivery_id BETWEEN $2 AND $3 ORDER BY delivery_id DESC LIMIT $4
         ) AS leased
         CROSS JOIN LATERAL (
             SELECT {OPEN_COLUMNS} FROM open_deliveries AS d
             WHERE d.tenant = leased.tenant AND d.id = leased.delivery_id LIMIT 1
         ) AS d
         ORDER BY leased.delivery_id DESC"
    )
}

async fn deliveries(
    link: &Link,
    tenant: i64,
    tenant_id: &TenantId,
    filter: &DeliveryFilter,
    ask: PageAsk,
) -> Result<Page<Delivery>, Trouble> {
    let (sql, narrowed_by) = delivery_list(filter);
    let narrowed_by = narrowed_by.as_ref().map(|id| id as &(dyn ToSql + Sync));
    let list = List {
        sql: &sql,
        tenant: &tenant,
        range: IdRange::new(ask.after, filter.since, filter.until),
        narrowed_by: narrowed_by.as_slice(),
        limit: ask.limit,
    };
    list.page(link, |row| {
        let found = delivery(row, tenant_id)?;
        let position = found.id.number();
        Ok(Seen { position, item: Some(found).filter(|found| is_delivery_wanted(found, filter)) })
    })
    .await
}

/// The query of dead letters, newest first; of the endpoint `$5` if one is asked for.
///
/// The index goes by state first, so the list of all states merges three.
pub(crate) fn dead_sql(state: Option<DeadLetterState>, is_of_endpoint: bool) -> String {
    let condition = if is_of_endpoint { OF_ENDPOINT } else { "" };
    let of_state = |state: &DeadLetterState| {
        format!(
            "(SELECT {DONE_COLUMNS} FROM deliveries_done AS d
              WHERE d.tenant = $1 AND d.dlq_state = '{state}' AND d.id BETWEEN $2 AND $3 {condition}
              ORDER BY d.id DESC LIMIT $4)"
        )
    };
    let states = match &state {
        Some(state) => std::slice::from_ref(state),
        None => DeadLetterState::ALL,
    };
    let parts: Vec<_> = states.iter().map(of_state).collect();
    match parts.as_slice() {
        [part] => part.clone(),
        parts => format!("{} ORDER BY id DESC LIMIT $4", parts.join(" UNION ALL ")),
    }
}

async fn dead_letters(
    link: &Link,
    tenant: i64,
    tenant_id: &TenantId,
    filter: &DeadLetterFilter,
    ask: PageAsk,
) -> Result<Page<Delivery>, Trouble> {
    let endpoint = filter.endpoint_id.map(|id| Uuid(id.number()));
    let narrowed_by = endpoint.as_ref().map(|id| id as &(dyn ToSql + Sync));
    let list = List {
        sql: &dead_sql(filter.state, endpoint.is_some()),
        tenant: &tenant,
        // Nothing dies before it is made; how long after is not known.
        range: IdRange::new(ask.after, None, filter.until),
        narrowed_by: narrowed_by.as_slice(),
        limit: ask.limit,
    };
    list.page(link, |row| {
        let found = delivery(row, tenant_id)?;
        let position = found.id.number();
        Ok(Seen { position, item: Some(found).filter(|found| is_dead_and_wanted(found, filter)) })
    })
    .await
}

/// Counts open dead letters, as far as they go, out of the index alone.
pub(crate) const COUNT_DEAD: &str = "SELECT endpoint_id, cause, count(*), min(dead_at), max(dead_at) FROM (
        SELECT endpoint_id, cause, dead_at FROM deliveries_done
        WHERE tenant = $1 AND dlq_state = 'open' AND endpoint_id IS NOT NULL LIMIT $2) AS counted
    GROUP BY endpoint_id, cause";

pub(crate) const HAS_MORE_DEAD: &str = "SELECT 1 FROM (
        SELECT endpoint_id FROM deliveries_done
        WHERE tenant = $1 AND dlq_state = 'open' AND endpoint_id IS NOT NULL LIMIT $2 + 1) AS counted
    OFFSET $2 LIMIT 1";

async fn dead_letter_summary(link: &Link, tenant: i64) -> Result<DeadLetterSummary, Trouble> {
    let counted_max = bigint(DEAD_LETTERS_COUNTED_MAX);
    let group = |row: &Row| {
        Ok(DeadLetterGroup {
            endpoint_id: EndpointId::from_number(number(row, 0)?),
            cause: named(row, 1, "cause", Cause::from_name)?,
            count: whole(row, 2, "count of dead letters")?,
            first_dead_at: time(row, 3)?,
            last_dead_at: time(row, 4)?,
        })
    };
    let rows = link.query(COUNT_DEAD, &[&tenant, &counted_max]).await?;
    let mut groups = rows.iter().map(group).collect::<Result<Vec<_>, Trouble>>()?;
    groups.sort_unstable_by_key(|group| (Reverse(group.count), group.endpoint_id, group.cause));
    let count: u64 = groups.iter().map(|group| group.count).sum();
    let is_complete = count < DEAD_LETTERS_COUNTED_MAX
        || link.query_opt(HAS_MORE_DEAD, &[&tenant, &counted_max]).await?.is_none();
    Ok(DeadLetterSummary { groups, is_complete })
}

/// Reads the attempts of some deliveries, each by itself, so that it goes to one partition.
pub(crate) const ATTEMPTS_OF_DELIVERIES: &str = "SELECT
        a.delivery_id, a.id, a.number, a.started_at, a.latency_us, a.http_status, a.error_class, a.error,
        a.remote_address, a.response_headers, a.response_body
    FROM unnest($2::uuid[]) AS asked (id) CROSS JOIN LATERAL (
        SELECT * FROM attempts WHERE tenant = $1 AND delivery_id = asked.id ORDER BY id OFFSET 0) AS a";

/// Adds their attempts to deliveries. What was recorded after a delivery was read is left out, so that it is
/// shown as it stood.
async fn with_attempts(
    link: &Link,
    tenant: i64,
    deliveries: Vec<Delivery>,
) -> Result<Vec<DeliveryWithAttempts>, Trouble> {
    let mut of_delivery: HashMap<DeliveryId, Vec<Attempt>> = HashMap::new();
    if !deliveries.is_empty() {
        let ids: Vec<_> = deliveries.iter().map(|delivery| Uuid(delivery.id.number())).collect();
        for row in link.query(ATTEMPTS_OF_DELIVERIES, &[&tenant, &ids]).await? {
            let of = DeliveryId::from_number(number(&row, 0)?);
            of_delivery.entry(of).or_default().push(attempt(&row)?);
        }
    }
    let with_attempts = |delivery: Delivery| {
        let mut attempts = of_delivery.remove(&delivery.id).unwrap_or_default();
        attempts.retain(|attempt| attempt.number.is_none_or(|number| number <= delivery.attempt_count));
        DeliveryWithAttempts { delivery, attempts }
    };
    Ok(deliveries.into_iter().map(with_attempts).collect())
}

fn attempt(row: &Row) -> Result<Attempt, Trouble> {
    let address = value::<Option<&str>>(row, 8)?.map(str::parse).transpose();
    let body: Option<&[u8]> = value(row, 10)?;
    Ok(Attempt {
        id: AttemptId::from_number(number(row, 1)?),
        number: whole_if_any(row, 2, "number of an attempt")?,
        started_at: time(row, 3)?,
        latency: std::time::Duration::from_micros(whole(row, 4, "latency")?),
        http_status: whole_if_any(row, 5, "HTTP status")?,
        error_class: named_if_any(row, 6, "error class", ErrorClass::from_name)?,
        error: value(row, 7)?,
        remote_address: address.map_err(|error| Trouble::damaged("remote address", error))?,
        response_headers: json_if_any(row, 9, "response headers")?,
        response_body: body.map(Bytes::copy_from_slice).unwrap_or_default(),
    })
}
