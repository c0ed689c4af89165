//! Names what is due, and lends it.
//!
//! Every lookup goes by `LATERAL` with a limit or `OFFSET 0`, and whether a delivery is leased is asked by a
//! scalar subquery: so there is one plan to choose from, whatever the statistics say.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::event::EventBody;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{
    AttemptResult, BACKLOG_COUNTED_MAX, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Lease,
    LeaseAsk, LeaseKey, LeasedDelivery,
};
use harbor_model::time::Timestamp;
use tokio_postgres::Row;

use crate::postgres::PostgresStore;
use crate::postgres::database::{Link, retried};
use crate::postgres::rows::{
    bigint, event_body, number, number_if_any, parsed, time, time_if_any, value, whole,
};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// The most deliveries that one statement lends.
const LENT_AT_ONCE_MAX: usize = 1_024;

/// The most asks of one statement.
const ASKS_AT_ONCE_MAX: usize = 256;

#[async_trait]
impl Deliveries for PostgresStore {
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        self.leases.settled().await;
        retried("name what is due", async || {
            let link = self.database.read().await?;
            due_endpoints(&link, now, after.as_ref(), limit).await
        })
        .await
    }

    async fn lease(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        self.leases.settled().await;
        let mut lent = Vec::new();
        for part in parts(&asks) {
            lent.extend(self.lease_part(worker, now, part).await?);
        }
        Ok(lent)
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        retried("load events", async || {
            let link = self.database.read().await?;
            load_events(&link, &asks).await
        })
        .await
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        self.finish_all(results).await
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        if !self.leases.is_out(lease) {
            return Ok(false);
        }
        retried("note a start", async || {
            let link = self.database.read().await?;
            let noted = [&Uuid(lease.worker.number()) as _, &bigint(lease.number) as _];
            Ok(link.execute(NOTE_START, &noted).await? == 1)
        })
        .await
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.is_lease_held(lease).await
    }

    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        self.leases.settled().await;
        retried("read leases", async || {
            let link = self.database.read().await?;
            let rows = link.query(LEASES_OF, &[&Uuid(worker.number())]).await?;
            rows.iter().map(|row| lease_key(row, worker)).collect()
        })
        .await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        self.leases.settled().await;
        retried("measure the backlog", async || {
            let link = self.database.read().await?;
            let counted_max = bigint(BACKLOG_COUNTED_MAX);
            let row = link.query_opt(BACKLOG, &[&now.unix_ms(), &counted_max]).await?;
            let row = row.expect("an aggregate has one row");
            Ok(Backlog {
                due: whole(&row, 0, "count of what is due")?,
                oldest_due_at: time_if_any(&row, 1)?,
                next_due_at: time_if_any(&row, 2)?,
            })
        })
        .await
    }
}

pub(crate) const NOTE_START: &str = "UPDATE leases SET is_started = true WHERE worker = $1 AND number = $2";

pub(crate) const LEASES_OF: &str = "SELECT t.id, l.delivery_id, l.number
    FROM leases AS l,
    LATERAL (SELECT tenants.id FROM tenants WHERE tenants.number = l.tenant OFFSET 0) AS t
    WHERE l.worker = $1";

fn lease_key(row: &Row, worker: WorkerId) -> Result<LeaseKey, Trouble> {
    Ok(LeaseKey {
        tenant_id: parsed(row, 0, "tenant id")?,
        delivery_id: DeliveryId::from_number(number(row, 1)?),
        worker,
        number: whole(row, 2, "number of a lease")?,
    })
}

/// Walks the endpoints of the due index, one seek each, from behind a place on. What the walk finds is
/// taken as it comes: the limit ends the walk.
pub(crate) const DUE_ENDPOINTS: &str = "WITH RECURSIVE walk AS (
        (SELECT o.tenant, o.endpoint_id, o.due_at FROM open_deliveries AS o
         WHERE (o.tenant, o.endpoint_id) > ($1, $2) AND o.due_at IS NOT NULL
         ORDER BY o.tenant, o.endpoint_id, o.due_at LIMIT 1)
        UNION ALL
        SELECT n.tenant, n.endpoint_id, n.due_at FROM walk,
        LATERAL (
            SELECT o.tenant, o.endpoint_id, o.due_at FROM open_deliveries AS o
            WHERE (o.tenant, o.endpoint_id) > (walk.tenant, walk.endpoint_id) AND o.due_at IS NOT NULL
            ORDER BY o.tenant, o.endpoint_id, o.due_at LIMIT 1) AS n
    )
    SELECT t.id, walk.endpoint_id, walk.due_at, t.directory_version
    FROM walk,
    LATERAL (
        SELECT tenants.id, tenants.directory_version FROM tenants
        WHERE tenants.number = walk.tenant AND tenants.deleted_at IS NULL OFFSET 0) AS t,
    LATERAL (
        SELECT 1 FROM endpoints AS e
        WHERE e.tenant = walk.tenant AND e.id = walk.endpoint_id
          AND NOT e.paused AND e.disabled IS NULL AND e.deleted_at IS NULL OFFSET 0) AS e
    WHERE walk.due_at <= $3
    LIMIT $4";

async fn due_endpoints(
    link: &Link,
    now: Timestamp,
    after: Option<&EndpointKey>,
    limit: usize,
) -> Result<Vec<DueEndpoint>, Trouble> {
    let mut place = (0, Uuid(0));
    if let Some(key) = after {
        // The walk goes by the tenants' numbers. Where the tenant has gone meanwhile the walk ends; the
        // next one begins anew.
        let number = crate::postgres::registry::find_tenant_number(link, &key.tenant_id).await?;
        let Some(tenant) = number else { return Ok(Vec::new()) };
        place = (tenant, Uuid(key.endpoint_id.number()));
    }
    let rows = link.query(DUE_ENDPOINTS, &[&place.0, &place.1, &now.unix_ms(), &bigint(limit)]).await?;
    rows.iter()
        .map(|row| {
            let endpoint_id = EndpointId::from_number(number(row, 1)?);
            Ok(DueEndpoint {
                key: EndpointKey { tenant_id: parsed(row, 0, "tenant id")?, endpoint_id },
                oldest_due_at: time(row, 2)?,
                directory_version: whole(row, 3, "directory version")?,
            })
        })
        .collect()
}

/// Splits asks so that one statement neither lends nor looks at too much.
fn parts(asks: &[LeaseAsk]) -> Vec<Vec<LeaseAsk>> {
    let mut parts: Vec<Vec<LeaseAsk>> = Vec::new();
    let mut room = 0;
    for ask in asks {
        let mut wanted = ask.count;
        while wanted > 0 {
            if room == 0 || parts.last().is_none_or(|part| part.len() >= ASKS_AT_ONCE_MAX) {
                parts.push(Vec::new());
                room = LENT_AT_ONCE_MAX;
            }
            let count = wanted.min(room);
            let part = parts.last_mut().expect("one was added where there was none");
            part.push(LeaseAsk { key: ask.key.clone(), count });
            wanted -= count;
            room -= count;
        }
    }
    parts
}

/// Lends, for each ask, what is due and free, the longest due first.
///
/// What was made before its endpoint was last enabled is not lent: it dies of that.
///
/// A delivery whose lease was committed after the snapshot is met by the key of `leases`; one that was moved on
/// since is locked as it is now, and looked at again.
pub(crate) const LEASE: &str = "WITH asked AS MATERIALIZED (
        SELECT a.place, a.endpoint_id, a.wanted, e.first_id, t.number AS tenant, t.directory_version
        FROM unnest($3::text[], $4::uuid[], $5::bigint[]) WITH ORDINALITY AS a (tenant_id, endpoint_id, wanted, place),
        LATERAL (
            SELECT tenants.number, tenants.directory_version FROM tenants
            WHERE tenants.id = a.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t,
        LATERAL (
            SELECT CASE WHEN e.enabled_at IS NULL THEN '00000000-0000-0000-0000-000000000000'::uuid
                        ELSE ulid_floor(e.enabled_at) END AS first_id
            FROM endpoints AS e
            WHERE e.tenant = t.number AND e.id = a.endpoint_id
              AND NOT e.paused AND e.disabled IS NULL AND e.deleted_at IS NULL OFFSET 0) AS e
        WHERE (SELECT true FROM workers WHERE workers.id = $1)
    ), found AS MATERIALIZED (
        SELECT asked.place, asked.directory_version, d.*, $6 + row_number() OVER () AS number
        FROM asked,
        LATERAL (
            SELECT o.tenant, o.id, o.event_id, o.endpoint_id, o.attempt_count, o.interrupted_count,
                   o.payload_bytes, o.replay_of, o.new_webhook_id, o.due_at, o.lane_key IS NOT NULL AS is_ordered
            FROM open_deliveries AS o
            WHERE o.tenant = asked.tenant AND o.endpoint_id = asked.endpoint_id AND o.due_at <= $2
              AND o.id >= asked.first_id
              AND (SELECT true FROM leases AS l WHERE l.tenant = o.tenant AND l.delivery_id = o.id LIMIT 1) IS NULL
            ORDER BY o.due_at, o.id LIMIT asked.wanted FOR UPDATE SKIP LOCKED) AS d
    ), lent AS (
        INSERT INTO leases (delivery_id, tenant, worker, number, is_started)
        SELECT id, tenant, $1, number, false FROM found
        ON CONFLICT (tenant, delivery_id) DO NOTHING
        RETURNING number
    )
    SELECT place, directory_version, id, event_id, attempt_count, interrupted_count, payload_bytes,
           replay_of, new_webhook_id, number, (number IN (SELECT number FROM lent)) IS TRUE, is_ordered
    FROM found ORDER BY place, due_at, id";

/// How often it is tried again in place of deliveries that others leased at the same time.
const LEASE_TRIES_MAX: usize = 4;

impl PostgresStore {
    async fn lease_part(
        &self,
        worker: WorkerId,
        now: Timestamp,
        mut asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        let mut lent = Vec::new();
        for _ in 0..LEASE_TRIES_MAX {
            let missed = match self.lease_once(worker, now, &asks).await {
                Ok((leases, missed)) => {
                    lent.extend(leases);
                    missed
                }
                Err(fault) if lent.is_empty() => return Err(fault),
                // What was lent before is good. Who asks next is told of the fault.
                Err(_) => break,
            };
            if missed.is_empty() {
                break;
            }
            asks = missed;
        }
        Ok(lent)
    }

    /// Lends what one look finds; with what is still asked for, since others were quicker.
    async fn lease_once(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: &[LeaseAsk],
    ) -> Result<(Vec<Lease>, Vec<LeaseAsk>), Fault> {
        let wanted: usize = asks.iter().map(|ask| ask.count).sum();
        let first_number = self.leases.numbers(wanted);
        let tenants: Vec<&str> = asks.iter().map(|ask| ask.key.tenant_id.as_str()).collect();
        let endpoints: Vec<Uuid> = asks.iter().map(|ask| Uuid(ask.key.endpoint_id.number())).collect();
        let counts: Vec<i64> = asks.iter().map(|ask| bigint(ask.count)).collect();
        let rows = retried("lease", async || {
            let link = self.database.read().await?;
            let before = bigint(first_number) - 1;
            let worker = Uuid(worker.number());
            link.query(LEASE, &[&worker, &now.unix_ms(), &tenants, &endpoints, &counts, &before]).await
        });
        let read = |row: &Row| {
            let place: usize = whole(row, 0, "place")?;
            let is_lent: bool = value(row, 10)?;
            Ok((place - 1, leased(row, &asks[place - 1].key)?, whole(row, 9, "number of a lease")?, is_lent))
        };
        let outcome = match rows.await {
            Ok(rows) => rows.iter().map(read).collect::<Result<Vec<_>, Trouble>>(),
            Err(fault) => {
                // They may be lent all the same, and nobody will ever hold them.
                (first_number..).take(wanted).for_each(|number| self.leases.free(worker, number));
                return Err(fault);
            }
        };
        let mut leases = Vec::new();
        let mut missed = vec![0; asks.len()];
        for (place, delivery, number, is_lent) in outcome.map_err(|trouble| trouble.into_fault("lease"))? {
            if is_lent {
                leases.push(self.leases.lend(delivery, worker, number));
            } else {
                missed[place] += 1;
            }
        }
        let again = asks.iter().zip(missed).filter(|(_, count)| *count > 0);
        Ok((leases, again.map(|(ask, count)| LeaseAsk { key: ask.key.clone(), count }).collect()))
    }
}

fn leased(row: &Row, key: &EndpointKey) -> Result<LeasedDelivery, Trouble> {
    let id = DeliveryId::from_number(number(row, 2)?);
    Ok(LeasedDelivery {
        key: key.clone(),
        delivery_id: id,
        event_id: EventId::from_number(number(row, 3)?),
        attempt_count: whole(row, 4, "count of attempts")?,
        interrupted_count: whole(row, 5, "count of interruptions")?,
        payload_bytes: whole(row, 6, "size of a payload")?,
        created_at: id.made_at(),
        replay_of: number_if_any(row, 7)?.map(DeliveryId::from_number),
        new_webhook_id: value(row, 8)?,
        is_ordered: value(row, 11)?,
        directory_version: whole(row, 1, "directory version")?,
    })
}

/// Reads events; the columns from the second on are [`EVENT_COLUMNS`](crate::postgres::rows::EVENT_COLUMNS).
pub(crate) const LOAD_EVENTS: &str = "SELECT asked.place, e.*
    FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS asked (tenant_id, id, place),
    LATERAL (
        SELECT tenants.number FROM tenants
        WHERE tenants.id = asked.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t,
    LATERAL (
        SELECT event_type, content_type, headers, trace_id, span_id, trace_sampled, trace_state, payload
        FROM events WHERE events.tenant = t.number AND events.id = asked.id OFFSET 0) AS e";

/// Reads what requests need of events; none where one or its payload is no longer kept.
async fn load_events(
    link: &Link,
    asks: &[(TenantId, EventId)],
) -> Result<Vec<Option<Arc<EventBody>>>, Trouble> {
    let tenants: Vec<&str> = asks.iter().map(|(tenant_id, _)| tenant_id.as_str()).collect();
    let ids: Vec<Uuid> = asks.iter().map(|(_, id)| Uuid(id.number())).collect();
    let mut loaded: Vec<Option<Arc<EventBody>>> = asks.iter().map(|_| None).collect();
    for row in link.query(LOAD_EVENTS, &[&tenants, &ids]).await? {
        let place = whole::<usize>(&row, 0, "place")? - 1;
        let (tenant_id, id) = &asks[place];
        let (body, is_kept) = event_body(&row, 1, tenant_id.clone(), *id)?;
        loaded[place] = is_kept.then(|| Arc::new(body));
    }
    Ok(loaded)
}

/// Counts what waits, endpoint by endpoint, up to a limit; the longest due of each endpoint, and the next
/// that will be, are looked for even when the count has come to its end.
pub(crate) const BACKLOG: &str = "WITH RECURSIVE walk AS (
        (SELECT o.tenant, o.endpoint_id FROM open_deliveries AS o
         WHERE o.due_at IS NOT NULL
         ORDER BY o.tenant, o.endpoint_id, o.due_at LIMIT 1)
        UNION ALL
        SELECT n.tenant, n.endpoint_id FROM walk,
        LATERAL (
            SELECT o.tenant, o.endpoint_id FROM open_deliveries AS o
            WHERE (o.tenant, o.endpoint_id) > (walk.tenant, walk.endpoint_id) AND o.due_at IS NOT NULL
            ORDER BY o.tenant, o.endpoint_id, o.due_at LIMIT 1) AS n
    ), walked AS MATERIALIZED (SELECT * FROM walk),
    counted AS (
        SELECT count(*) AS due FROM (
            SELECT 1 FROM walked,
            LATERAL (
                SELECT 1 FROM open_deliveries AS o
                WHERE o.tenant = walked.tenant AND o.endpoint_id = walked.endpoint_id AND o.due_at <= $1
                  AND (SELECT true FROM leases AS l WHERE l.tenant = o.tenant AND l.delivery_id = o.id LIMIT 1) IS NULL
                OFFSET 0) AS d
            LIMIT $2) AS waiting
    )
    SELECT (SELECT due FROM counted), min(first.due_at), min(next.due_at)
    FROM walked
    LEFT JOIN LATERAL (
        SELECT o.due_at FROM open_deliveries AS o
        WHERE o.tenant = walked.tenant AND o.endpoint_id = walked.endpoint_id AND o.due_at <= $1
          AND (SELECT true FROM leases AS l WHERE l.tenant = o.tenant AND l.delivery_id = o.id LIMIT 1) IS NULL
        ORDER BY o.due_at LIMIT 1) AS first ON true
    LEFT JOIN LATERAL (
        SELECT o.due_at FROM open_deliveries AS o
        WHERE o.tenant = walked.tenant AND o.endpoint_id = walked.endpoint_id AND o.due_at > $1
        ORDER BY o.due_at LIMIT 1) AS next ON true";
