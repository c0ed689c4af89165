//! Takes events in: chooses whom they go to, stores them in one transaction, hands them over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use harbor_model::chance::Rng;
use harbor_model::decide::fan_out::{FanOut, fan_out};
use harbor_model::directory::TenantSnapshot;
use harbor_model::event::trace::TraceContext;
use harbor_model::event::{EventBody, FanOutRecord, SKIPPED_KEPT_MAX};
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::invalid::FieldError;
use harbor_model::lane::{LaneKey, lane_of};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneWanted, Reservation};
use harbor_model::port::intake::{IdempotencyClaim, Intake, NewDelivery, NewEvent, Published};
use harbor_model::port::observer::{Observer, PublishResult, PublishSeen};
use harbor_model::time::{Clock, Timestamp};

use crate::quota::{Meter, QuotaStanding};
use crate::request::{PublishRequest, Relayed, Settings};

/// The type of the event that tests an endpoint.
pub const TEST_EVENT_TYPE: &str = "harborhook.test";

/// How often a fan-out is chosen anew because the directory changed meanwhile.
/// Each round reads the directory of the moment, so a second one is rare and a sixth means that
/// somebody changes endpoints without pause.
pub(crate) const ROUNDS_MAX: usize = 6;

/// What publishing needs.
#[derive(Clone)]
pub struct Deps {
    /// Stores events.
    pub intake: Arc<dyn Intake>,
    /// Knows whom events go to.
    pub directory: Arc<dyn Directory>,
    /// Takes deliveries over at once.
    pub handoff: Arc<dyn Handoff>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
    /// Watches.
    pub observer: Arc<dyn Observer>,
}

/// Takes events in.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) deps: Deps,
    settings: Settings,
    meter: Arc<Meter>,
}

/// Says that an event is on durable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReceipt {
    /// The event; of a duplicate, the first one.
    pub event_id: EventId,
    /// How many deliveries it made; of a duplicate, the first one's.
    pub fan_out_count: u32,
    /// Whether it was stored before.
    pub is_duplicate: bool,
}

/// Says that a test event is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReceipt {
    /// The event.
    pub event_id: EventId,
    /// Its one delivery.
    pub delivery_id: DeliveryId,
}

/// Says why an event was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishRefusal {
    /// Fields break their rules.
    #[error("{} of the fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// The payload is too large.
    #[error("the payload is {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What it is.
        size: usize,
        /// What it may be.
        limit: usize,
    },
    /// More endpoints want the event than one event may go to.
    #[error("the event would go to {count} endpoints, the limit is {limit}")]
    FanOutTooLarge {
        /// How many want it.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// The idempotency key was used for another type or payload.
    #[error("the idempotency key was used for an event with another type or payload")]
    KeyReused,
    /// There is no such tenant.
    #[error("the tenant does not exist")]
    NoTenant,
    /// There is no such endpoint.
    #[error("the endpoint does not exist")]
    NoEndpoint,
    /// The endpoint takes no events.
    #[error("the endpoint is disabled")]
    EndpointDisabled,
    /// The tenant has published all that its quota allows for now.
    #[error("the quota of {} events per {} is used up", .0.limit, .0.window.as_str())]
    QuotaExceeded(QuotaStanding),
    /// The tenant has more waiting to be stored than its share.
    #[error("more events of the tenant wait to be stored than its share allows; try again soon")]
    Crowded,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A request that keeps the rules, on its way through the rounds.
pub(crate) struct Accepted {
    body: Arc<EventBody>,
    request: PublishRequest,
    idempotency: Option<IdempotencyClaim>,
    /// Whether its deliveries stand in the ordered lanes of their endpoints.
    joins_lanes: bool,
}

/// An event as it goes to the store, with what is needed once it is there.
pub(crate) struct Prepared {
    event: NewEvent,
    reservation: Reservation,
}

impl Prepared {
    /// The event's delivery, where it has exactly one.
    pub(crate) fn only_delivery(&self) -> Option<DeliveryId> {
        match self.event.deliveries.as_slice() {
            [only] => Some(only.id),
            _ => None,
        }
    }
}

/// What tells whether an event that came in at a source came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedKey {
    pub(crate) text: String,
    /// Whether each repeat makes it hold for longer.
    pub(crate) slides: bool,
}

/// What is needed of an event once the store has answered.
struct Waiting {
    body: Arc<EventBody>,
    fan_out_count: u32,
    reservation: Reservation,
    /// Endpoints at which it stands in an ordered lane, and may be the first.
    ordered: Vec<EndpointKey>,
}

impl Publisher {
    /// A publisher with these limits.
    pub fn new(deps: Deps, settings: Settings) -> Self {
        Self { deps, settings, meter: Arc::default() }
    }

    /// The limits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What tenants have taken of their quotas here; see [`crate::quota::run`].
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// How the tenant stands with its quota; none where it has none.
    pub async fn quota_standing(&self, tenant: &TenantId) -> Result<Option<QuotaStanding>, Fault> {
        let snapshot = self.deps.directory.tenant(tenant).await?;
        Ok(snapshot.and_then(|snapshot| self.meter.standing(tenant, &snapshot.quota, self.deps.clock.now())))
    }

    /// Takes one event in. Once this answers, the event and its deliveries are on durable storage.
    pub async fn publish(
        &self,
        tenant: &TenantId,
        request: PublishRequest,
    ) -> Result<PublishReceipt, PublishRefusal> {
        let mut results = self.publish_batch(tenant, vec![request]).await;
        results.pop().expect("one request has one result")
    }

    /// Takes events in, each by itself: one that is refused does not hold up the others.
    pub async fn publish_batch(
        &self,
        tenant: &TenantId,
        requests: Vec<PublishRequest>,
    ) -> Vec<Result<PublishReceipt, PublishRefusal>> {
        let began = self.deps.clock.elapsed();
        let mut results: Vec<Option<Result<PublishReceipt, PublishRefusal>>> =
            Vec::with_capacity(requests.len());
        let mut open = Vec::with_capacity(requests.len());
        for (position, request) in requests.into_iter().enumerate() {
            match self.accept(tenant, request) {
                Ok(accepted) => {
                    results.push(None);
                    open.push((position, accepted));
                }
                Err(refusal) => results.push(Some(Err(refusal))),
            }
        }
        let mut charged = 0;
        for round in 0..ROUNDS_MAX {
            if open.is_empty() {
                break;
            }
            let snapshot = match self.snapshot(tenant).await {
                Ok(snapshot) => snapshot,
                Err(refusal) => {
                    for (position, _) in open.drain(..) {
                        results[position] = Some(Err(refusal.clone()));
                    }
                    break;
                }
            };
            if round == 0 {
                (open, charged) = self.charge(&snapshot, open, &mut results);
            }
            open = self.round(&snapshot, open, &mut results).await;
        }
        let results: Vec<_> =
            results.into_iter().map(|result| result.unwrap_or_else(|| Err(unsettled()))).collect();
        let is_new =
            |result: &&Result<PublishReceipt, _>| result.as_ref().is_ok_and(|receipt| !receipt.is_duplicate);
        let stored = u32::try_from(results.iter().filter(is_new).count()).unwrap_or(u32::MAX);
        self.meter.give_back(tenant, charged.saturating_sub(stored));
        self.observe(tenant, &results, began);
        results
    }

    /// Sends a test event to one endpoint, whatever it subscribes to.
    pub async fn publish_test(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        payload: bytes::Bytes,
        trace: Option<TraceContext>,
    ) -> Result<TestReceipt, PublishRefusal> {
        let request = PublishRequest { payload, trace, ..PublishRequest::default() };
        let event_type = TEST_EVENT_TYPE.parse().expect("the type is well-formed");
        let accepted = self.body_of(tenant, request, event_type);
        for _ in 0..ROUNDS_MAX {
            let snapshot = self.snapshot(tenant).await?;
            let view = snapshot.endpoints.get(&endpoint).ok_or(PublishRefusal::NoEndpoint)?;
            if view.endpoint.disabled.is_some() {
                return Err(PublishRefusal::EndpointDisabled);
            }
            let chosen = FanOut { endpoints: vec![endpoint], skipped: Vec::new() };
            let prepared = self.prepare(&snapshot, &accepted, chosen)?;
            let delivery_id = prepared.only_delivery().expect("one endpoint has one delivery");
            if let Some(result) = self.store(vec![prepared]).await.pop().expect("one event has one outcome") {
                return result.map(|receipt| TestReceipt { event_id: receipt.event_id, delivery_id });
            }
        }
        Err(unsettled())
    }

    /// Takes each event of the tenant's quota. Answers those that it allows, and for how many something was
    /// taken: what comes of them otherwise than stored gets it back.
    fn charge(
        &self,
        snapshot: &TenantSnapshot,
        open: Vec<(usize, Accepted)>,
        results: &mut [Option<Result<PublishReceipt, PublishRefusal>>],
    ) -> (Vec<(usize, Accepted)>, u32) {
        if !snapshot.quota.is_limited() {
            return (open, 0);
        }
        let mut charged = 0;
        let is_allowed = |(position, _): &(usize, Accepted)| {
            match self.charge_one(snapshot) {
                Ok(is_counted) => charged += u32::from(is_counted),
                Err(refusal) => {
                    results[*position] = Some(Err(refusal));
                    return false;
                }
            }
            true
        };
        (open.into_iter().filter(is_allowed).collect(), charged)
    }

    /// Takes one event of the tenant's quota. Answers whether something was taken.
    pub(crate) fn charge_one(&self, snapshot: &TenantSnapshot) -> Result<bool, PublishRefusal> {
        let taken = self.meter.take(&snapshot.tenant.id, &snapshot.quota, self.deps.clock.now());
        taken.map_err(PublishRefusal::QuotaExceeded)
    }

    /// Prepares and stores what is open, by the directory of the moment. Answers what must be done again.
    async fn round(
        &self,
        snapshot: &TenantSnapshot,
        open: Vec<(usize, Accepted)>,
        results: &mut [Option<Result<PublishReceipt, PublishRefusal>>],
    ) -> Vec<(usize, Accepted)> {
        let mut prepared = Vec::with_capacity(open.len());
        let mut stored = Vec::with_capacity(open.len());
        for (position, accepted) in open {
            let chosen = fan_out(snapshot, &accepted.body.event_type);
            match self.prepare(snapshot, &accepted, chosen) {
                Ok(event) => {
                    prepared.push(event);
                    stored.push((position, accepted));
                }
                Err(refusal) => results[position] = Some(Err(refusal)),
            }
        }
        let outcomes = self.store(prepared).await;
        let mut again = Vec::new();
        for ((position, accepted), outcome) in stored.into_iter().zip(outcomes) {
            match outcome {
                Some(result) => results[position] = Some(result),
                None => again.push((position, accepted)),
            }
        }
        again
    }

    async fn snapshot(&self, tenant: &TenantId) -> Result<Arc<TenantSnapshot>, PublishRefusal> {
        self.deps.directory.tenant(tenant).await?.ok_or(PublishRefusal::NoTenant)
    }

    /// Holds a request against the rules and gives it an id.
    fn accept(&self, tenant: &TenantId, request: PublishRequest) -> Result<Accepted, PublishRefusal> {
        let limit = self.settings.payload_bytes_max;
        if request.payload.len() > limit {
            return Err(PublishRefusal::TooLarge { size: request.payload.len(), limit });
        }
        let event_type =
            request.validate(&self.settings, self.deps.clock.now()).map_err(PublishRefusal::Invalid)?;
        Ok(Accepted { joins_lanes: true, ..self.body_of(tenant, request, event_type) })
    }

    /// Gives an event its body, outside the ordered lanes.
    pub(crate) fn body_of(
        &self,
        tenant: &TenantId,
        mut request: PublishRequest,
        event_type: EventType,
    ) -> Accepted {
        let now = self.deps.clock.now();
        let rng = &*self.deps.rng;
        let idempotency = request.idempotency_key.as_ref().map(|key| IdempotencyClaim {
            key: key.clone(),
            fingerprint: fingerprint(&event_type, &request.payload),
            expires_at: now + self.settings.idempotency_window,
            slides: false,
        });
        let (content_type, headers) = match request.relayed.take() {
            Some(Relayed { content_type, headers }) => (Some(content_type), headers),
            None => (None, Vec::new()),
        };
        let body = Arc::new(EventBody {
            id: EventId::new(now, rng),
            tenant_id: tenant.clone(),
            event_type,
            payload: std::mem::take(&mut request.payload),
            content_type,
            headers,
            trace: request.trace.take().unwrap_or_else(|| TraceContext::begin(rng)),
            created_at: now,
        });
        Accepted { body, request, idempotency, joins_lanes: false }
    }

    /// Gives an event that came in at a source its body. The key alone tells whether it came before: a provider
    /// that repeats an event need not repeat it to the byte.
    pub(crate) fn received(
        &self,
        tenant: &TenantId,
        request: PublishRequest,
        event_type: EventType,
        key: Option<ReceivedKey>,
    ) -> Accepted {
        let accepted = self.body_of(tenant, request, event_type);
        let idempotency = key.map(|key| IdempotencyClaim {
            fingerprint: fingerprint_of(&[key.text.as_bytes()]),
            key: key.text,
            expires_at: accepted.body.created_at + self.settings.idempotency_window,
            slides: key.slides,
        });
        Accepted { idempotency, joins_lanes: true, ..accepted }
    }

    /// Makes the deliveries that were chosen, and reserves lane room for those that may start at once.
    pub(crate) fn prepare(
        &self,
        snapshot: &TenantSnapshot,
        accepted: &Accepted,
        chosen: FanOut,
    ) -> Result<Prepared, PublishRefusal> {
        let (count, limit) = (chosen.endpoints.len(), self.settings.fan_out_max);
        if count > limit {
            return Err(PublishRefusal::FanOutTooLarge { count, limit });
        }
        let Accepted { body, request, idempotency, joins_lanes } = accepted;
        let due_at = request.deliver_at.map_or(body.created_at, |at| at.max(body.created_at));
        let is_scheduled = due_at > body.created_at;
        let lane = |id: &EndpointId| {
            let view = snapshot.endpoints.get(id).filter(|_| *joins_lanes && !is_scheduled)?;
            lane_of(view.policy.ordering.value, request.ordering_key.as_deref())
        };
        let lanes: Vec<_> = chosen.endpoints.iter().map(lane).collect();
        let room = |(id, lane): (&EndpointId, &Option<LaneKey>)| {
            if is_scheduled || lane.is_some() { None } else { room_wanted(snapshot, *id) }
        };
        let wanted = chosen.endpoints.iter().zip(&lanes).map(room).collect();
        let payload_bytes = u64::try_from(body.payload.len()).expect("a length fits 64 bits");
        let reservation = self.deps.handoff.reserve(wanted, payload_bytes);
        let delivery = |(position, (endpoint_id, lane))| NewDelivery {
            id: DeliveryId::new(born_at(snapshot, endpoint_id, body.created_at), &*self.deps.rng),
            endpoint_id,
            due_at,
            lane,
            leased_to: reservation.granted(position),
        };
        let deliveries = chosen.endpoints.into_iter().zip(lanes).enumerate().map(delivery).collect();
        let mut skipped = chosen.skipped;
        skipped.truncate(SKIPPED_KEPT_MAX);
        let event = NewEvent {
            body: Arc::clone(body),
            occurred_at: request.occurred_at,
            deliver_at: request.deliver_at,
            ordering_key: request.ordering_key.clone(),
            idempotency: idempotency.clone(),
            metadata: request.metadata.clone(),
            fan_out: FanOutRecord { count: u32::try_from(count).expect("the limit fits 32 bits"), skipped },
            deliveries,
            directory_version: Some(snapshot.version),
        };
        Ok(Prepared { event, reservation })
    }

    /// Stores events and hands over those that are stored; none where the directory had changed and the
    /// fan-out must be chosen again.
    ///
    /// Nothing is awaited between the commit and the hand-over: a caller who goes away meanwhile leaves
    /// no lease behind.
    pub(crate) async fn store(
        &self,
        prepared: Vec<Prepared>,
    ) -> Vec<Option<Result<PublishReceipt, PublishRefusal>>> {
        if prepared.is_empty() {
            return Vec::new();
        }
        let (mut events, mut waiting) =
            (Vec::with_capacity(prepared.len()), Vec::with_capacity(prepared.len()));
        for Prepared { event, reservation } in prepared {
            waiting.push(Waiting {
                body: Arc::clone(&event.body),
                fan_out_count: event.fan_out.count,
                reservation,
                ordered: ordered_at(&event),
            });
            events.push(event);
        }
        let outcomes = self.deps.intake.publish(events).await;
        assert_eq!(outcomes.len(), waiting.len(), "the store answers for each event");
        let mut due = BTreeSet::new();
        let settle = |(outcome, mut waiting): (_, Waiting)| {
            if matches!(outcome, Ok(Published::Stored { .. })) {
                due.extend(std::mem::take(&mut waiting.ordered));
            }
            self.settle(outcome, waiting)
        };
        let results = outcomes.into_iter().zip(waiting).map(settle).collect();
        if !due.is_empty() {
            self.deps.handoff.announce(&due.into_iter().collect::<Vec<_>>());
        }
        results
    }

    /// Turns what came of one event into its answer.
    fn settle(
        &self,
        outcome: Result<Published, Fault>,
        waiting: Waiting,
    ) -> Option<Result<PublishReceipt, PublishRefusal>> {
        let Waiting { body, fan_out_count, reservation, .. } = waiting;
        match outcome {
            Ok(Published::Stored { leases }) => {
                let event_id = body.id;
                if !leases.is_empty() {
                    self.deps.handoff.hand_over(body, leases, reservation);
                }
                Some(Ok(PublishReceipt { event_id, fan_out_count, is_duplicate: false }))
            }
            Ok(Published::Duplicate { event_id, fan_out_count }) => {
                Some(Ok(PublishReceipt { event_id, fan_out_count, is_duplicate: true }))
            }
            Ok(Published::KeyReused) => Some(Err(PublishRefusal::KeyReused)),
            Ok(Published::NoTenant) => Some(Err(PublishRefusal::NoTenant)),
            Ok(Published::Crowded) => Some(Err(PublishRefusal::Crowded)),
            Ok(Published::Stale { directory_version }) => {
                self.deps.directory.observe(&body.tenant_id, directory_version);
                None
            }
            Err(fault) => Some(Err(fault.into())),
        }
    }

    pub(crate) fn observe(
        &self,
        tenant_id: &TenantId,
        results: &[Result<PublishReceipt, PublishRefusal>],
        began: Duration,
    ) {
        let took = self.deps.clock.elapsed().saturating_sub(began);
        for result in results {
            let result = match result {
                Ok(PublishReceipt { is_duplicate: false, .. }) => PublishResult::Stored,
                Ok(PublishReceipt { is_duplicate: true, .. }) => PublishResult::Duplicate,
                Err(PublishRefusal::Fault(_)) => PublishResult::Fault,
                Err(PublishRefusal::QuotaExceeded(_)) => PublishResult::OverQuota,
                Err(_) => PublishResult::Refused,
            };
            self.deps.observer.published(PublishSeen { tenant_id, result, took });
        }
    }
}

/// When a delivery is made of an event that was asked for then. An endpoint that was enabled meanwhile wants it,
/// though what is older than that dies.
fn born_at(snapshot: &TenantSnapshot, id: EndpointId, asked_at: Timestamp) -> Timestamp {
    let enabled_at = snapshot.endpoints.get(&id).and_then(|view| view.endpoint.enabled_at);
    enabled_at.map_or(asked_at, |enabled_at| enabled_at.max(asked_at))
}

/// Asks for room in the lane of an endpoint, unless it is held.
fn room_wanted(snapshot: &TenantSnapshot, endpoint_id: EndpointId) -> Option<LaneWanted> {
    let view = snapshot.endpoints.get(&endpoint_id).filter(|view| !view.endpoint.paused)?;
    let key = EndpointKey { tenant_id: snapshot.tenant.id.clone(), endpoint_id };
    Some(LaneWanted { key, view: Arc::clone(view) })
}

/// The endpoints at which an event stands in an ordered lane.
fn ordered_at(event: &NewEvent) -> Vec<EndpointKey> {
    let ordered = event.deliveries.iter().filter(|delivery| delivery.lane.is_some());
    let key = |delivery: &NewDelivery| EndpointKey {
        tenant_id: event.body.tenant_id.clone(),
        endpoint_id: delivery.endpoint_id,
    };
    ordered.map(key).collect()
}

pub(crate) fn unsettled() -> PublishRefusal {
    Fault::bare("the directory changes faster than events can be stored").into()
}

/// What a repeat under the same idempotency key must agree in.
fn fingerprint(event_type: &EventType, payload: &[u8]) -> [u8; 32] {
    // An event type holds no NUL, so type and payload cannot run into each other.
    fingerprint_of(&[event_type.as_str().as_bytes(), &[0], payload])
}

/// SHA-256 of `parts`, one after the other.
pub(crate) fn fingerprint_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha256 = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| sha256.update(part));
    sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests;
