//! Stores events with their deliveries.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::event::EventBody;
use harbor_model::id::{EventId, TenantId, WorkerId};
use harbor_model::lane::LaneKey;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{EndpointKey, Lease, LeasedDelivery};
use harbor_model::port::intake::{IdempotencyClaim, Intake, NewDelivery, NewEvent, Published};
use harbor_model::time::Timestamp;
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::claims::{Held, Scope};
use crate::postgres::PostgresStore;
use crate::postgres::batcher::{Batch, Weight};
use crate::postgres::claims;
use crate::postgres::database::Link;
use crate::postgres::hints::Hints;
use crate::postgres::leases::LeaseBook;
use crate::postgres::rows::{bigint, to_json_if_any, value, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

#[async_trait]
impl Intake for PostgresStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        let mut answers: Vec<Option<Result<Published, Fault>>> = events.iter().map(|_| None).collect();
        let mut waiting = Vec::with_capacity(events.len());
        // All are handed in before the first is waited for, so that they may share a statement. A tenant is
        // taken in with all of its events or with none, so that none overtakes another.
        for (tenant_id, places, jobs) in by_tenant(events, &self.leases) {
            let (jobs, replies): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            match self.publishes.offer(&tenant_id, jobs) {
                Ok(()) => waiting.extend(places.into_iter().zip(replies)),
                Err(_) => places.into_iter().for_each(|place| answers[place] = Some(Ok(Published::Crowded))),
            }
        }
        for (place, reply) in waiting {
            let answer = reply.await.unwrap_or_else(|_| Err(Trouble::Closed.into_fault("publish")));
            answers[place] = Some(answer);
        }
        answers.into_iter().map(|answer| answer.expect("each event was handed in or refused")).collect()
    }
}

type Reply = oneshot::Receiver<Result<Published, Fault>>;

/// Events of one tenant, with their places in the batch, in order.
type Group = (TenantId, Vec<usize>, Vec<(PublishJob, Reply)>);

/// The events of each tenant.
fn by_tenant(events: Vec<NewEvent>, leases: &LeaseBook) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, event) in events.into_iter().enumerate() {
        let NewEvent { body, fan_out, deliveries, .. } = &event;
        let is_plain = |delivery: &NewDelivery| delivery.lane.is_none() || delivery.leased_to.is_none();
        assert!(deliveries.iter().all(is_plain), "who joins a lane is not born leased");
        assert_eq!(body.created_at, body.id.made_at(), "an event's time is that of its id");
        assert_eq!(fan_out.count as usize, deliveries.len(), "a fan-out counts its deliveries");
        let tenant_id = body.tenant_id.clone();
        let job = PublishJob::new(event, leases);
        match groups.iter_mut().find(|(known, _, _)| *known == tenant_id) {
            Some((_, places, jobs)) => {
                places.push(place);
                jobs.push(job);
            }
            None => groups.push((tenant_id, vec![place], vec![job])),
        }
    }
    groups
}

/// An event on its way into the store.
pub(crate) struct PublishJob {
    event: NewEvent,
    /// The number of the first lease of those that are born leased; the others follow.
    number: u64,
    reply: oneshot::Sender<Result<Published, Fault>>,
}

impl PublishJob {
    fn new(event: NewEvent, leases: &LeaseBook) -> (Self, Reply) {
        let count = event.deliveries.iter().filter(|delivery| delivery.leased_to.is_some()).count();
        let number = if count == 0 { 0 } else { leases.numbers(count) };
        let (reply, answer) = oneshot::channel();
        (Self { event, number, reply }, answer)
    }

    /// Those that are born leased, with the numbers of their leases.
    fn born_leased(&self) -> impl Iterator<Item = (&NewDelivery, WorkerId, u64)> {
        let leased =
            self.event.deliveries.iter().filter_map(|delivery| Some((delivery, delivery.leased_to?)));
        leased.zip(self.number..).map(|((delivery, worker), number)| (delivery, worker, number))
    }

    fn is_ordered(&self) -> bool {
        self.event.deliveries.iter().any(|delivery| delivery.lane.is_some())
    }

    fn claim(&self) -> Option<(&TenantId, &IdempotencyClaim)> {
        self.event.idempotency.as_ref().map(|claim| (&self.event.body.tenant_id, claim))
    }

    fn lend(&self, leases: &Arc<LeaseBook>, stored: &Stored) -> Vec<Lease> {
        let body = &self.event.body;
        let enlisted = self.born_leased().filter(|(_, worker, _)| stored.enlisted.contains(worker));
        enlisted
            .map(|(delivery, worker, number)| {
                let leased = first_leased(body, delivery, stored.directory_version);
                leases.lend(leased, worker, number)
            })
            .collect()
    }
}

/// What the holder of a delivery knows that is born leased.
fn first_leased(body: &EventBody, delivery: &NewDelivery, directory_version: u64) -> LeasedDelivery {
    LeasedDelivery {
        key: EndpointKey { tenant_id: body.tenant_id.clone(), endpoint_id: delivery.endpoint_id },
        delivery_id: delivery.id,
        event_id: body.id,
        attempt_count: 0,
        interrupted_count: 0,
        payload_bytes: body.payload.len() as u64,
        created_at: delivery.id.made_at(),
        replay_of: None,
        new_webhook_id: false,
        is_ordered: false,
        directory_version,
    }
}

/// What a statement made of one event.
pub(crate) enum Intaken {
    Stored(Stored),
    Refused(Published),
}

/// An event that was stored.
pub(crate) struct Stored {
    directory_version: u64,
    /// Of the workers that its deliveries are born leased to, those that are at work.
    enlisted: Arc<HashSet<WorkerId>>,
}

/// Stores events.
pub(crate) struct PublishBatch {
    leases: Arc<LeaseBook>,
    hints: Arc<Hints>,
}

impl PublishBatch {
    pub(crate) fn new(leases: Arc<LeaseBook>, hints: Arc<Hints>) -> Self {
        Self { leases, hints }
    }
}

impl Batch for PublishBatch {
    type Job = PublishJob;
    type Answer = Intaken;

    fn weight(&self, job: &PublishJob) -> Weight {
        Weight { items: 1 + job.event.deliveries.len(), bytes: job.event.body.payload.len() }
    }

    fn tenant<'a>(&self, job: &'a PublishJob) -> &'a TenantId {
        &job.event.body.tenant_id
    }

    fn week(&self, job: &PublishJob) -> Timestamp {
        job.event.body.created_at
    }

    /// What one caller hands in joins a lane in its order.
    fn is_ordered(&self, job: &PublishJob) -> bool {
        job.is_ordered()
    }

    async fn run(&self, link: Link, jobs: &[PublishJob]) -> Result<Vec<Option<Intaken>>, Trouble> {
        // A second claim on a key waits for what becomes of the first.
        let mut claimed = HashSet::new();
        let mut places = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            let claim = job.claim();
            if claim.is_none_or(|(tenant_id, claim)| claimed.insert((tenant_id, claim.key.as_str()))) {
                places.push(place);
            }
        }
        let taken: Vec<&PublishJob> = places.iter().map(|place| &jobs[*place]).collect();
        let rows = store(&link, &taken).await?;

        let mut answers: Vec<Option<Intaken>> = jobs.iter().map(|_| None).collect();
        let mut held = Vec::new();
        let mut enlisted = None;
        for (place, row) in places.into_iter().zip(&rows) {
            let job = &jobs[place];
            let Some(tenant) = value::<Option<i64>>(row, 0)? else {
                answers[place] = Some(Intaken::Refused(Published::NoTenant));
                continue;
            };
            let directory_version = whole(row, 1, "directory version")?;
            if job.event.directory_version.is_some_and(|version| version != directory_version) {
                answers[place] = Some(Intaken::Refused(Published::Stale { directory_version }));
                continue;
            }
            if value(row, 2)? {
                let enlisted = match &enlisted {
                    Some(known) => Arc::clone(known),
                    None => enlisted.insert(Arc::new(workers(row)?)).clone(),
                };
                answers[place] = Some(Intaken::Stored(Stored { directory_version, enlisted }));
                continue;
            }
            let (_, claim) = job.claim().expect("only a key can stand in the way of what fits");
            held.push((place, tenant, claim));
        }
        if !held.is_empty() {
            let asked: Vec<_> = held.iter().map(|(_, tenant, claim)| (*tenant, *claim)).collect();
            let found = claims::find_all(&link, Scope::Publish, &asked).await?;
            let repeats = asked
                .iter()
                .zip(&found)
                .filter(|((_, claim), found)| claim.slides && matches!(found, Some(Held::Same { .. })));
            let repeats: Vec<_> = repeats.map(|(asked, _)| *asked).collect();
            claims::slide_all(&link, Scope::Publish, repeats).await?;
            for ((place, _, _), found) in held.into_iter().zip(found) {
                // A claim that has gone meanwhile leaves its key to the next round.
                answers[place] = found.map(|held| Intaken::Refused(refused(held)));
            }
        }
        Ok(answers)
    }

    fn answer(&self, job: PublishJob, outcome: Result<Intaken, Fault>) {
        let answer = match outcome {
            Ok(Intaken::Stored(stored)) => {
                let leases = job.lend(&self.leases, &stored);
                let now = job.event.body.created_at;
                let is_owed = |delivery: &NewDelivery| delivery.due_at <= now;
                if leases.len() < job.event.deliveries.iter().filter(|delivery| is_owed(delivery)).count() {
                    self.hints.signal();
                }
                Ok(Published::Stored { leases })
            }
            Ok(Intaken::Refused(published)) => Ok(published),
            Err(fault) => {
                // It may be stored all the same, with leases that nobody will ever hold.
                job.born_leased().for_each(|(_, worker, number)| self.leases.free(worker, number));
                Err(fault)
            }
        };
        // A caller that has gone drops the answer, and with it the leases that it holds.
        let _ = job.reply.send(answer);
    }
}

fn refused(held: Held) -> Published {
    match held {
        Held::Same { made, fan_out_count } => {
            Published::Duplicate { event_id: EventId::from_number(made), fan_out_count }
        }
        Held::Other => Published::KeyReused,
    }
}

/// The workers at work of those that were asked for.
fn workers(row: &Row) -> Result<HashSet<WorkerId>, Trouble> {
    let enlisted: Vec<Uuid> = value(row, 3)?;
    Ok(enlisted.into_iter().map(|id| WorkerId::from_number(id.0)).collect())
}

/// Stores what fits, and says of each event what it found.
///
/// What is looked up goes by `LATERAL` with `OFFSET 0`, which leaves no choice of a plan. Nothing is joined
/// that is not: a delivery finds the tenant of its event by its place in an array.
///
/// `$column` is a further column of the deliveries, with its name; `$opened` opens them.
macro_rules! store {
    ($column:literal, $name:literal, $opened:literal) => {
        concat!(
            "WITH asked AS MATERIALIZED (
        SELECT e.*, t.number AS tenant, t.directory_version,
               t.number IS NOT NULL AND coalesce(e.expected_version = t.directory_version, true) AS fits
        FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::integer[], $6::bytea[], $7::bigint[],
                    $8::bigint[], $9::text[], $10::text[], $11::bytea[], $12::bigint[], $13::text[],
                    $14::text[], $15::text[], $16::bytea[], $17::bytea[], $18::boolean[], $19::text[],
                    $20::bytea[]) WITH ORDINALITY
             AS e (tenant_id, id, expected_version, event_type, fan_out_count, skipped, occurred_at,
                   deliver_at, ordering_key, key, fingerprint, expires_at, metadata,
                   content_type, headers, trace_id, span_id, trace_sampled, trace_state,
                   payload, place)
        LEFT JOIN LATERAL (
            SELECT tenants.number, tenants.directory_version FROM tenants
            WHERE tenants.id = e.tenant_id AND tenants.deleted_at IS NULL OFFSET 0) AS t ON true
    ), claimed AS (
        INSERT INTO idempotency_keys AS held
               (tenant, scope, key, made_id, fan_out_count, fingerprint, expires_at)
        SELECT tenant, $21::text, key, id, fan_out_count, fingerprint, expires_at FROM asked
        WHERE key IS NOT NULL AND fits
        ORDER BY tenant, key COLLATE \"C\"
        ON CONFLICT (tenant, scope, key) DO UPDATE
        SET made_id = EXCLUDED.made_id, fan_out_count = EXCLUDED.fan_out_count,
            fingerprint = EXCLUDED.fingerprint, expires_at = EXCLUDED.expires_at
        WHERE held.expires_at <= $22
        RETURNING made_id
    ), taken AS MATERIALIZED (
        SELECT *, fits AND (key IS NULL OR id IN (SELECT made_id FROM claimed)) AS is_taken FROM asked
    ), stored AS (
        INSERT INTO events
               (tenant, id, event_type, fan_out_count, skipped, occurred_at, deliver_at, ordering_key,
                idempotency_key, metadata, content_type, headers, trace_id, span_id, trace_sampled,
                trace_state, payload)
        SELECT tenant, id, event_type, fan_out_count, skipped, occurred_at, deliver_at, ordering_key,
               key, metadata, content_type, headers, trace_id, span_id, trace_sampled,
               trace_state, payload
        FROM taken WHERE is_taken
    ), enlisted AS MATERIALIZED (
        SELECT id FROM workers WHERE id = ANY($33)
    ), owed AS MATERIALIZED (
        SELECT *, (SELECT array_agg(CASE WHEN is_taken THEN tenant ELSE 0 END ORDER BY place) FROM taken)[place] AS tenant
        FROM unnest($23::integer[], $24::uuid[], $25::uuid[], $26::uuid[], $27::text[], $28::bigint[],
                    $29::bigint[], $30::bigint[], $31::uuid[], $32::bigint[]",
            $column,
            "
             AS d (place, id, event_id, endpoint_id, event_type, payload_bytes,
                   due_at, updated_at, worker, number",
            $name,
            ")
    ), ",
            $opened,
            ", lent AS (
        INSERT INTO leases (delivery_id, tenant, worker, number, is_started)
        SELECT id, tenant, worker, number, false FROM owed
        WHERE tenant > 0 AND worker IS NOT NULL AND (worker IN (SELECT id FROM enlisted)) IS TRUE
    )
    SELECT tenant, directory_version, is_taken, ARRAY(SELECT id FROM enlisted) FROM taken ORDER BY place"
        )
    };
}

/// Where no delivery joins a lane.
pub(crate) const STORE: &str = store!(
    ")",
    "",
    "opened AS (
        INSERT INTO open_deliveries
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, due_at, updated_at, new_webhook_id)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, 'queued', 0,
               0, due_at, updated_at, false
        FROM owed WHERE tenant > 0
    )"
);

/// Where some do: `$34` names the lanes. Each lane that somebody joins is written once, for all of them, in
/// the order in which lanes are locked; by that order each finds the row that was written.
pub(crate) const STORE_IN_LANES: &str = store!(
    ", $34::text[]) WITH ORDINALITY",
    ", lane_key, nth",
    "placed AS MATERIALIZED (
        SELECT owed.*, dense_rank() OVER (ORDER BY lane_key IS NULL, tenant, endpoint_id, lane_key COLLATE \"C\") AS lane,
               row_number() OVER in_turn AS turn, count(*) OVER together AS size
        FROM owed WHERE tenant > 0
        WINDOW in_turn AS (PARTITION BY lane_key IS NULL, tenant, endpoint_id, lane_key COLLATE \"C\" ORDER BY nth),
               together AS (PARTITION BY lane_key IS NULL, tenant, endpoint_id, lane_key COLLATE \"C\")
    ), joined AS (
        INSERT INTO lanes AS l (tenant, endpoint_id, lane_key, id, last_number, head_id)
        SELECT tenant, endpoint_id, lane_key, id, size, id FROM placed
        WHERE lane_key IS NOT NULL AND turn = 1
        ORDER BY tenant, endpoint_id, lane_key COLLATE \"C\"
        ON CONFLICT (tenant, endpoint_id, lane_key) DO UPDATE SET last_number = l.last_number + EXCLUDED.last_number
        RETURNING tenant, endpoint_id, lane_key, last_number, head_id
    ), opened AS (
        INSERT INTO open_deliveries
               (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                interrupted_count, due_at, updated_at, new_webhook_id, lane_key, lane_number)
        SELECT tenant, id, event_id, endpoint_id, event_type, payload_bytes, 'queued', 0, 0,
               CASE WHEN lane_key IS NULL
                      OR (SELECT array_agg(head_id ORDER BY tenant, endpoint_id, lane_key) FROM joined)[lane] = id
                    THEN due_at END,
               updated_at, false, lane_key,
               (SELECT array_agg(last_number ORDER BY tenant, endpoint_id, lane_key) FROM joined)[lane] - size + turn
        FROM placed
    )"
);

/// Runs [`STORE`], or [`STORE_IN_LANES`]; answers a row for each job, in order.
async fn store(link: &Link, jobs: &[&PublishJob]) -> Result<Vec<Row>, Trouble> {
    let events = || jobs.iter().map(|job| &job.event);
    let bodies = || events().map(|event| &*event.body);
    let claims = || events().map(|event| event.idempotency.as_ref());
    let now = bodies().map(|body| body.created_at).max().expect("a batch is not empty");

    let tenants: Vec<&str> = bodies().map(|body| body.tenant_id.as_str()).collect();
    let ids: Vec<Uuid> = bodies().map(|body| Uuid(body.id.number())).collect();
    let versions = if_any(events().map(|event| event.directory_version.map(bigint)));
    let types: Vec<&str> = bodies().map(|body| body.event_type.as_str()).collect();
    let fan_outs: Vec<i32> = events().map(|event| integer(event.fan_out.count)).collect();
    let skipped = if_any(events().map(skipped));
    let occurred = if_any(events().map(|event| event.occurred_at.map(Timestamp::unix_ms)));
    let deliver = if_any(events().map(|event| event.deliver_at.map(Timestamp::unix_ms)));
    let ordering = if_any(events().map(|event| event.ordering_key.as_deref()));
    let keys = if_any(claims().map(|claim| claim.map(|claim| claim.key.as_str())));
    let fingerprints = if_any(claims().map(|claim| claim.map(|claim| &claim.fingerprint[..])));
    let expiries = if_any(claims().map(|claim| claim.map(|claim| claim.expires_at.unix_ms())));
    let metadata = if_any(events().map(|event| to_json_if_any(&event.metadata, event.metadata.is_empty())));
    let content_types = if_any(bodies().map(|body| body.content_type.as_deref()));
    let headers = if_any(bodies().map(|body| to_json_if_any(&body.headers, body.headers.is_empty())));
    let traces: Vec<[u8; 16]> = bodies().map(|body| body.trace.trace_id.to_be_bytes()).collect();
    let traces: Vec<&[u8]> = traces.iter().map(|trace| &trace[..]).collect();
    let spans: Vec<[u8; 8]> = bodies().map(|body| body.trace.span_id.to_be_bytes()).collect();
    let spans: Vec<&[u8]> = spans.iter().map(|span| &span[..]).collect();
    let sampled: Vec<bool> = bodies().map(|body| body.trace.sampled).collect();
    let states = if_any(bodies().map(|body| body.trace.state.as_deref()));
    let payloads: Vec<&[u8]> = bodies().map(|body| &*body.payload).collect();

    let owed = Owed::of(jobs);
    let enlisted = owed.distinct_workers();
    let scope = Scope::Publish.as_str();
    let now = now.unix_ms();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![
        &tenants,
        &ids,
        &versions,
        &types,
        &fan_outs,
        &skipped,
        &occurred,
        &deliver,
        &ordering,
        &keys,
        &fingerprints,
        &expiries,
        &metadata,
        &content_types,
        &headers,
        &traces,
        &spans,
        &sampled,
        &states,
        &payloads,
        &scope,
        &now,
        &owed.places,
        &owed.ids,
        &owed.events,
        &owed.endpoints,
        &owed.types,
        &owed.payload_bytes,
        &owed.due,
        &owed.updated,
        &owed.workers,
        &owed.numbers,
        &enlisted,
    ];
    if jobs.iter().any(|job| job.is_ordered()) {
        parameters.push(&owed.lanes);
        return link.query(STORE_IN_LANES, &parameters).await;
    }
    link.query(STORE, &parameters).await
}

/// The deliveries of a batch, column by column.
#[derive(Default)]
struct Owed<'a> {
    /// The places of their events, from 1.
    places: Vec<i32>,
    ids: Vec<Uuid>,
    events: Vec<Uuid>,
    endpoints: Vec<Uuid>,
    types: Vec<&'a str>,
    payload_bytes: Vec<i64>,
    due: Vec<i64>,
    updated: Vec<i64>,
    workers: Vec<Option<Uuid>>,
    numbers: Vec<Option<i64>>,
    lanes: Vec<Option<&'a str>>,
}

impl<'a> Owed<'a> {
    fn of(jobs: &[&'a PublishJob]) -> Self {
        let mut owed = Self::default();
        for (job, place) in jobs.iter().zip(1..) {
            let body = &*job.event.body;
            let mut number = job.number;
            for delivery in &job.event.deliveries {
                owed.places.push(place);
                owed.ids.push(Uuid(delivery.id.number()));
                owed.events.push(Uuid(body.id.number()));
                owed.endpoints.push(Uuid(delivery.endpoint_id.number()));
                owed.types.push(body.event_type.as_str());
                owed.payload_bytes.push(bigint(body.payload.len()));
                owed.due.push(delivery.due_at.unix_ms());
                owed.updated.push(body.created_at.unix_ms());
                owed.workers.push(delivery.leased_to.map(|worker| Uuid(worker.number())));
                owed.numbers.push(delivery.leased_to.map(|_| bigint(number)));
                owed.lanes.push(delivery.lane.as_ref().map(LaneKey::as_str));
                number += u64::from(delivery.leased_to.is_some());
            }
        }
        owed
    }

    fn distinct_workers(&self) -> Vec<Uuid> {
        let workers: HashSet<Uuid> = self.workers.iter().copied().flatten().collect();
        workers.into_iter().collect()
    }
}

/// A column that is empty where nobody says anything in it: what is missing at the end of an array is NULL.
fn if_any<T>(column: impl Iterator<Item = Option<T>>) -> Vec<Option<T>> {
    let column: Vec<Option<T>> = column.collect();
    if column.iter().any(Option::is_some) { column } else { Vec::new() }
}

fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The ids of the endpoints that were passed over, one after the other.
fn skipped(event: &NewEvent) -> Option<Vec<u8>> {
    let ids = &event.fan_out.skipped;
    (!ids.is_empty()).then(|| ids.iter().flat_map(|id| id.number().to_be_bytes()).collect())
}
