//! Stores events with their deliveries.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::event::EventBody;
use harbor_model::id::EventId;
use harbor_model::lane::LaneKey;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{EndpointKey, Lease, LeasedDelivery};
use harbor_model::port::intake::{Intake, NewDelivery, NewEvent, Published};
use rusqlite::Connection;

use crate::claims::{Held, Scope};
use crate::sqlite::SqliteStore;
use crate::sqlite::batch::{Batch, by_tenant};
use crate::sqlite::claims::{self, Claim};
use crate::sqlite::lanes::{self, Lane};
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::rows::{blob, to_json_if_any};
use crate::sqlite::transaction::{TenantMark, Tx};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::writer::{Bounds, Weight, Work};

#[async_trait]
impl Intake for SqliteStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        for event in &events {
            let NewEvent { body, fan_out, deliveries, .. } = event;
            assert_eq!(body.created_at, body.id.made_at(), "an event's time is that of its id");
            assert_eq!(fan_out.count as usize, deliveries.len(), "a fan-out counts its deliveries");
        }
        // All are handed in before the first is waited for, so that they may share a transaction. A tenant
        // is taken in with all of its events or with none, so that none overtakes another.
        let mut batch = Batch::new(events.len());
        for (tenant_id, events) in by_tenant(events, |event| &event.body.tenant_id) {
            let (places, works): (Vec<_>, Vec<_>) = split(events, self.bounds)
                .into_iter()
                .map(|Part { weight, places, events }| {
                    (places, (weight, Publish { events, leases: self.leases.clone() }))
                })
                .unzip();
            match self.database.offer(&tenant_id, works) {
                Some(answers) => places
                    .into_iter()
                    .zip(answers)
                    .for_each(|(places, answer)| batch.wait_for(places, answer)),
                None => {
                    places.into_iter().flatten().for_each(|place| batch.answer(place, Published::Crowded))
                }
            }
        }
        batch.answers().await
    }
}

/// What one transaction holds of a batch.
struct Part {
    weight: Weight,
    /// Where its events stand in the batch.
    places: Vec<usize>,
    events: Vec<NewEvent>,
}

/// Splits what one transaction would not hold, in the order of the events.
fn split(events: Vec<(usize, NewEvent)>, bounds: Bounds) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (place, event) in events {
        let weight = Weight { items: 1 + event.deliveries.len(), bytes: event.body.payload.len() };
        match parts.last_mut() {
            Some(part) if bounds.hold(part.weight.plus(weight)) => {
                part.weight = part.weight.plus(weight);
                part.places.push(place);
                part.events.push(event);
            }
            _ => parts.push(Part { weight, places: vec![place], events: vec![event] }),
        }
    }
    parts
}

struct Publish {
    events: Vec<NewEvent>,
    leases: Arc<LeaseTable>,
}

impl Work for Publish {
    type Answer = Vec<Result<Published, Fault>>;

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Self::Answer, Trouble> {
        let leases = &self.leases;
        self.events.iter().map(|event| tx.item("publish", |tx| publish(tx, event, leases))).collect()
    }
}

fn publish(tx: &mut Tx<'_>, event: &NewEvent, leases: &Arc<LeaseTable>) -> Result<Published, Trouble> {
    let body = &event.body;
    let Some(tenant) = tx.tenant(&body.tenant_id)? else { return Ok(Published::NoTenant) };
    if event.directory_version.is_some_and(|version| version != tenant.directory_version) {
        return Ok(Published::Stale { directory_version: tenant.directory_version });
    }
    if let Some(asked) = &event.idempotency {
        let claim = Claim {
            tenant: tenant.number,
            scope: Scope::Publish,
            key: &asked.key,
            fingerprint: asked.fingerprint,
            expires_at: asked.expires_at,
            slides: asked.slides,
        };
        if !claims::take(tx, &claim, body.id.number(), event.fan_out.count, body.created_at)? {
            return Ok(match claims::find(tx, &claim, body.created_at)? {
                Some(Held::Same { made, fan_out_count }) => {
                    if claim.slides {
                        claims::slide(tx, &claim)?;
                    }
                    Published::Duplicate { event_id: EventId::from_number(made), fan_out_count }
                }
                Some(Held::Other) => Published::KeyReused,
                None => unreachable!("a key that cannot be taken is held"),
            });
        }
    }

    insert_event(tx.conn, tenant.number, event)?;
    let mut born_leased = Vec::new();
    for delivery in &event.deliveries {
        let new = DeliveryRow::first(body, delivery);
        new.insert(tx.conn, tenant.number)?;
        born_leased.extend(lend(leases, tenant, body, delivery));
    }
    Ok(Published::Stored { leases: born_leased })
}

/// Lends a delivery before it can be seen: whoever reads it after the commit finds it held. Where the
/// transaction fails, the lease is dropped with the answer.
fn lend(
    leases: &Arc<LeaseTable>,
    tenant: TenantMark,
    body: &EventBody,
    delivery: &NewDelivery,
) -> Option<Lease> {
    let worker = delivery.leased_to?;
    assert!(delivery.lane.is_none(), "who stands in a lane waits for its turn");
    let leased = LeasedDelivery {
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
        directory_version: tenant.directory_version,
    };
    leases.lend_new(leased, worker)
}

pub(crate) const INSERT_EVENT: &str = "INSERT INTO events (
        tenant, id, event_type, fan_out_count, skipped, occurred_at, deliver_at, ordering_key,
        idempotency_key, metadata, content_type, headers, trace_id, span_id, trace_sampled, trace_state, payload)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

fn insert_event(conn: &Connection, tenant: i64, event: &NewEvent) -> Result<(), Trouble> {
    let body = &*event.body;
    let skipped: Option<Vec<u8>> = (!event.fan_out.skipped.is_empty())
        .then(|| event.fan_out.skipped.iter().flat_map(|id| blob(id.number())).collect());
    let mut insert = conn.prepare_cached(INSERT_EVENT)?;
    insert.raw_bind_parameter(1, tenant)?;
    insert.raw_bind_parameter(2, blob(body.id.number()))?;
    insert.raw_bind_parameter(3, body.event_type.as_str())?;
    insert.raw_bind_parameter(4, event.fan_out.count)?;
    insert.raw_bind_parameter(5, skipped)?;
    insert.raw_bind_parameter(6, event.occurred_at.map(|at| at.unix_ms()))?;
    insert.raw_bind_parameter(7, event.deliver_at.map(|at| at.unix_ms()))?;
    insert.raw_bind_parameter(8, event.ordering_key.as_deref())?;
    insert.raw_bind_parameter(9, event.idempotency.as_ref().map(|claim| claim.key.as_str()))?;
    insert.raw_bind_parameter(10, to_json_if_any(&event.metadata, event.metadata.is_empty()))?;
    insert.raw_bind_parameter(11, body.content_type.as_deref())?;
    insert.raw_bind_parameter(12, to_json_if_any(&body.headers, body.headers.is_empty()))?;
    insert.raw_bind_parameter(13, blob(body.trace.trace_id))?;
    insert.raw_bind_parameter(14, body.trace.span_id.to_be_bytes())?;
    insert.raw_bind_parameter(15, body.trace.sampled)?;
    insert.raw_bind_parameter(16, body.trace.state.as_deref())?;
    insert.raw_bind_parameter(17, &*body.payload)?;
    insert.raw_execute()?;
    Ok(())
}

pub(crate) const INSERT_DELIVERY: &str = "INSERT INTO deliveries (
        tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count, interrupted_count,
        due_at, updated_at, replay_of, new_webhook_id, replay_reason, replay_job, lane_key, lane_number)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

/// A delivery that waits for its first attempt.
pub(crate) struct DeliveryRow<'a> {
    pub(crate) id: u128,
    pub(crate) event_id: u128,
    pub(crate) endpoint_id: u128,
    pub(crate) event_type: &'a str,
    pub(crate) payload_bytes: u64,
    /// When it is due; in a lane, as soon as it is the head.
    pub(crate) due_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) replay_of: Option<u128>,
    pub(crate) new_webhook_id: bool,
    pub(crate) replay_reason: Option<&'a str>,
    /// The job that makes it.
    pub(crate) replay_job: Option<u128>,
    /// The ordered lane that it joins.
    pub(crate) lane_key: Option<&'a str>,
}

impl<'a> DeliveryRow<'a> {
    /// The row of a delivery that is born with its event.
    fn first(body: &'a EventBody, delivery: &'a NewDelivery) -> Self {
        Self {
            id: delivery.id.number(),
            event_id: body.id.number(),
            endpoint_id: delivery.endpoint_id.number(),
            event_type: body.event_type.as_str(),
            payload_bytes: body.payload.len() as u64,
            due_at: delivery.due_at.unix_ms(),
            updated_at: body.created_at.unix_ms(),
            replay_of: None,
            new_webhook_id: false,
            replay_reason: None,
            replay_job: None,
            lane_key: delivery.lane.as_ref().map(LaneKey::as_str),
        }
    }

    /// Adds it, at the end of its lane if it has one.
    pub(crate) fn insert(&self, conn: &Connection, tenant: i64) -> Result<(), Trouble> {
        let Some(key) = self.lane_key else { return self.write(conn, tenant, self.due_at, None) };
        let joined = lanes::join(conn, Lane { tenant, endpoint_id: self.endpoint_id, key }, self.id)?;
        self.write(conn, tenant, joined.due_at(self.due_at), Some(joined.lane_number))
    }

    /// Adds it in the place of a lane that another one had. The caller makes it the head.
    pub(crate) fn insert_at(&self, conn: &Connection, tenant: i64, lane_number: i64) -> Result<(), Trouble> {
        self.write(conn, tenant, self.due_at, Some(lane_number))
    }

    fn write(
        &self,
        conn: &Connection,
        tenant: i64,
        due_at: i64,
        lane_number: Option<i64>,
    ) -> Result<(), Trouble> {
        let mut insert = conn.prepare_cached(INSERT_DELIVERY)?;
        insert.raw_bind_parameter(1, tenant)?;
        insert.raw_bind_parameter(2, blob(self.id))?;
        insert.raw_bind_parameter(3, blob(self.event_id))?;
        insert.raw_bind_parameter(4, blob(self.endpoint_id))?;
        insert.raw_bind_parameter(5, self.event_type)?;
        insert.raw_bind_parameter(6, self.payload_bytes)?;
        insert.raw_bind_parameter(7, DeliveryStatus::Queued.as_str())?;
        insert.raw_bind_parameter(8, due_at)?;
        insert.raw_bind_parameter(9, self.updated_at)?;
        insert.raw_bind_parameter(10, self.replay_of.map(blob))?;
        insert.raw_bind_parameter(11, self.new_webhook_id)?;
        insert.raw_bind_parameter(12, self.replay_reason)?;
        insert.raw_bind_parameter(13, self.replay_job.map(blob))?;
        insert.raw_bind_parameter(14, self.lane_key)?;
        insert.raw_bind_parameter(15, lane_number)?;
        insert.raw_execute()?;
        Ok(())
    }
}
