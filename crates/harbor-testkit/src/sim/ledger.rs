//! What was promised and what was seen: the model that the engine is held against.
//!
//! It learns of commits, leases and results where they cross the ports (`wire.rs`), of requests where they
//! arrive (`receivers.rs`), and of changes from the steps that make them. Whatever contradicts what it
//! knows is the violation that ends the run; the first one counts.

mod lanes;
mod leases;
pub(crate) mod requests;
pub(crate) mod results;
mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use harbor_ingest::publish::{PublishReceipt, PublishRefusal};
use harbor_model::decide::rate::TokenBucket;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::event::EventBody;
use harbor_model::event_type::{EventType, EventTypePattern};
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use harbor_model::lane::{LaneKey, lane_of};
use harbor_model::policy::RateLimit;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::retention::HISTORY_DEFAULT;
use harbor_model::port::deliveries::{EndpointKey, LeaseKey};
use harbor_model::port::intake::NewEvent;
use harbor_model::time::{Clock, Timestamp};

use crate::clock::ManualClock;
use crate::sim::trace::Trace;

use crate::sim::ledger::requests::{Ending, RequestFacts};
pub(crate) use crate::sim::ledger::results::Told;

/// The ledger as everybody holds it.
#[derive(Clone)]
pub(crate) struct Books(Arc<Mutex<Ledger>>);

impl Books {
    pub(crate) fn new(clock: Arc<ManualClock>, is_whole: bool) -> Self {
        Self(Arc::new(Mutex::new(Ledger::new(clock, is_whole))))
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("no entry panics")
    }
}

/// What was promised and what was seen.
pub(crate) struct Ledger {
    clock: Arc<ManualClock>,
    pub(crate) trace: Trace,
    violation: Option<String>,
    pub(crate) nodes: BTreeMap<NodeId, NodeFacts>,
    /// Every worker that ever was. A node that was taken for dead goes on as another one.
    pub(crate) workers: BTreeMap<WorkerId, NodeId>,
    pub(crate) endpoints: BTreeMap<EndpointId, EndpointFacts>,
    pub(crate) events: BTreeMap<EventId, EventFacts>,
    pub(crate) deliveries: BTreeMap<DeliveryId, DeliveryFacts>,
    pub(crate) requests: Vec<RequestFacts>,
    pub(crate) publishes: Vec<PublishFacts>,
    /// Who holds what, as the engine was told.
    pub(crate) leases: BTreeMap<DeliveryId, LeaseKey>,
    /// Lanes that a dead head holds.
    pub(crate) held_lanes: BTreeSet<(EndpointId, LaneKey)>,
    /// The heads of lanes, as the store showed them last, with their next times.
    pub(crate) heads: BTreeMap<DeliveryId, Option<Timestamp>>,
    /// Tenants of which a job cancels deliveries.
    pub(crate) cancelling: BTreeSet<TenantId>,
    /// Who may be about to send what was cancelled a moment ago: the last look at the lease is behind them.
    pub(crate) on_the_way: BTreeSet<(NodeId, DeliveryId)>,
    /// Counts what is asked and answered, to tell what came before what.
    tick: u64,
    /// How many workers were buried or cut off: each may interrupt what it had in flight.
    pub(crate) deaths: usize,
    /// When a request last came to its end, and made room for another.
    pub(crate) last_ended_at: Option<Timestamp>,
    /// Since when nothing has disturbed the engine.
    pub(crate) calm_since: Timestamp,
}

/// Names one life of a node: the place where it runs, and how often it was started there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId {
    pub(crate) place: usize,
    pub(crate) life: usize,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.place, self.life)
    }
}

/// What is known of a node that lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeFacts {
    /// Whether it has nothing left to do until something changes.
    pub(crate) is_settled: bool,
    /// Whether it was frozen in the middle of something, and has not come to rest since.
    pub(crate) is_dazed: bool,
}

/// What is known of an endpoint.
pub(crate) struct EndpointFacts {
    pub(crate) key: EndpointKey,
    pub(crate) label: String,
    pub(crate) patterns: Vec<EventTypePattern>,
    /// The path of its URL.
    pub(crate) path: String,
    pub(crate) is_paused: bool,
    /// Whether it takes what waits at a slow rate.
    pub(crate) is_draining: bool,
    pub(crate) is_disabled: bool,
    pub(crate) is_deleted: bool,
    pub(crate) was_disabled: bool,
    /// When it was last enabled: what is older dies.
    pub(crate) enabled_at: Option<(u64, Timestamp)>,
    pub(crate) max_in_flight: u32,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) max_attempts: u16,
    pub(crate) ordering: Ordering,
    pub(crate) on_dead: OnDead,
    pub(crate) changed_at: Timestamp,
    pub(crate) last_started_at: Option<Timestamp>,
    /// When its breaker was last seen not to be closed.
    pub(crate) breaker_seen_at: Option<Timestamp>,
    pub(crate) sights: BTreeMap<NodeId, Sight>,
}

/// An endpoint as one node may see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// Whether something that began before the last change may still be under way.
    pub(crate) may_be_old: bool,
    /// The most requests in flight that the node may believe in.
    in_flight_max: u32,
    /// Whether a request began since the last change: its lane has learned of it then.
    has_learned: bool,
    /// None while it cannot be told when tokens were taken.
    bucket: Option<TokenBucket>,
}

impl EndpointFacts {
    pub(crate) fn takes_requests(&self) -> bool {
        !self.is_paused && !self.is_disabled && !self.is_deleted
    }

    /// The endpoint as a node sees it that goes by what is in force.
    pub(crate) fn sight_of(&mut self, node: NodeId) -> &mut Sight {
        let in_flight_max = self.max_in_flight;
        // A token may have been taken some time ago; they are counted from the next rest on.
        let sight = Sight { may_be_old: false, in_flight_max, has_learned: true, bucket: None };
        self.sights.entry(node).or_insert(sight)
    }

    /// Whether a delivery was there before it was last disabled: it gets no more attempts. What was made in the
    /// very moment when it was enabled is spared.
    pub(crate) fn has_outlived(&self, id: DeliveryId, delivery: &DeliveryFacts) -> bool {
        let Some((enabled, enabled_at)) = self.enabled_at else { return false };
        delivery.stored < enabled && id.made_at() < enabled_at
    }

    fn wants(&self, tenant: &TenantId, event_type: &EventType) -> bool {
        self.key.tenant_id == *tenant
            && !self.is_disabled
            && !self.is_deleted
            && self.patterns.iter().any(|pattern| pattern.matches(event_type))
    }
}

/// An event that is stored.
pub(crate) struct EventFacts {
    pub(crate) tenant: TenantId,
    pub(crate) payload: Bytes,
    pub(crate) key: Option<String>,
    pub(crate) fan_out_count: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) ordering_key: Option<String>,
    pub(crate) is_expunged: bool,
    /// When the first publish of it was asked for.
    asked: u64,
    /// When a publish of it was first answered.
    answered: Option<u64>,
}

/// A delivery that is stored.
pub(crate) struct DeliveryFacts {
    pub(crate) label: String,
    pub(crate) tenant: TenantId,
    pub(crate) event: EventId,
    pub(crate) endpoint: EndpointId,
    pub(crate) replay_of: Option<DeliveryId>,
    /// The ordered lane that it joined.
    pub(crate) lane: Option<LaneKey>,
    pub(crate) status: DeliveryStatus,
    /// None once it is final. Behind the head of a lane it says nothing.
    pub(crate) due_at: Option<Timestamp>,
    /// When it died, if it did.
    pub(crate) dead_at: Option<Timestamp>,
    /// How many attempts count.
    pub(crate) attempts: u16,
    /// When it was stored.
    stored: u64,
}

impl DeliveryFacts {
    pub(crate) fn is_final(&self) -> bool {
        self.due_at.is_none()
    }

    /// Says that it has come to its end.
    pub(crate) fn ends(&mut self, status: DeliveryStatus, now: Timestamp) {
        (self.status, self.due_at) = (status, None);
        self.dead_at = (status == DeliveryStatus::Dead).then_some(now);
    }
}

/// A publish that was asked for.
pub(crate) struct PublishFacts {
    pub(crate) tenant: TenantId,
    pub(crate) event_type: String,
    pub(crate) payload: Bytes,
    pub(crate) key: Option<String>,
    pub(crate) asked: u64,
    /// None while it is under way, and for good where its node died.
    pub(crate) answer: Option<Result<PublishReceipt, PublishRefusal>>,
}

/// How long a key is remembered: the default of the publisher.
pub(crate) const KEY_WINDOW: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 60 * 60);

impl Ledger {
    fn new(clock: Arc<ManualClock>, is_whole: bool) -> Self {
        let now = clock.now();
        Self {
            clock,
            trace: Trace::new(now, is_whole),
            violation: None,
            nodes: BTreeMap::new(),
            workers: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            requests: Vec::new(),
            publishes: Vec::new(),
            leases: BTreeMap::new(),
            held_lanes: BTreeSet::new(),
            heads: BTreeMap::new(),
            cancelling: BTreeSet::new(),
            on_the_way: BTreeSet::new(),
            tick: 0,
            deaths: 0,
            last_ended_at: None,
            calm_since: now,
        }
    }

    /// The next moment of what is asked and answered.
    pub(crate) fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.add(now, text);
    }

    /// Says that something is wrong. The first to say so is heard.
    pub(crate) fn violated(&mut self, what: String) {
        self.note(format_args!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }

    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Says that the engine is being disturbed now: what is due may start later than usual.
    pub(crate) fn disturb(&mut self) {
        self.calm_since = self.now();
    }

    pub(crate) fn label_of(&self, id: DeliveryId) -> String {
        self.deliveries.get(&id).map_or_else(|| id.to_string(), |delivery| delivery.label.clone())
    }

    pub(crate) fn node_starts(&mut self, node: NodeId) {
        self.nodes.insert(node, NodeFacts { is_settled: false, is_dazed: false });
        self.disturb();
        self.note(format_args!("{node} starts"));
    }

    /// Says that a node has come to rest: it goes by whatever was answered so far.
    pub(crate) fn node_rests(&mut self, node: NodeId) {
        let now = self.now();
        let Some(facts) = self.nodes.get_mut(&node) else { return };
        (facts.is_settled, facts.is_dazed) = (true, false);
        self.on_the_way.retain(|(of, _)| *of != node);
        for endpoint in self.endpoints.values_mut() {
            let Some(sight) = endpoint.sights.get_mut(&node) else { continue };
            sight.may_be_old = false;
            if sight.has_learned {
                sight.in_flight_max = endpoint.max_in_flight;
                if sight.bucket.is_none() {
                    sight.bucket = endpoint.rate.map(|limit| TokenBucket::full(limit, now));
                }
            }
        }
    }

    /// Says that a node has something to do.
    pub(crate) fn node_stirs(&mut self, node: NodeId) {
        if let Some(facts) = self.nodes.get_mut(&node) {
            facts.is_settled = false;
        }
    }

    /// Says that the clock moves. A token that was taken may be spent at another time than this.
    pub(crate) fn time_passes(&mut self) {
        for (node, facts) in &self.nodes {
            if facts.is_settled {
                continue;
            }
            for endpoint in self.endpoints.values_mut() {
                if let Some(sight) = endpoint.sights.get_mut(node) {
                    sight.bucket = None;
                }
            }
        }
    }

    pub(crate) fn node_freezes(&mut self, node: NodeId) {
        if let Some(facts) = self.nodes.get_mut(&node) {
            facts.is_dazed |= !facts.is_settled;
        }
        self.disturb();
        self.note(format_args!("{node} freezes"));
    }

    /// Says that a node is no more: nobody waits for its requests, and nothing of it is recorded.
    pub(crate) fn node_dies(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        for endpoint in self.endpoints.values_mut() {
            endpoint.sights.remove(&node);
        }
        for request in self.requests.iter_mut().filter(|request| request.node == node) {
            request.is_cut |= request.ending == Ending::None;
        }
        self.deaths += 1;
        self.disturb();
        self.note(format_args!("{node} dies"));
    }

    /// Says that a change of an endpoint was answered. Nothing that begins from now on may go by what was
    /// before it.
    pub(crate) fn endpoint_changes(&mut self, id: EndpointId, change: impl FnOnce(&mut EndpointFacts)) {
        let settled: BTreeMap<_, _> = self.nodes.iter().map(|(id, facts)| (*id, facts.is_settled)).collect();
        let (now, tick) = (self.now(), self.tick());
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        // Whoever has not sent to it yet may have read it all the same.
        for node in settled.keys() {
            endpoint.sight_of(*node);
        }
        let was_disabled = endpoint.is_disabled;
        change(endpoint);
        endpoint.was_disabled |= endpoint.is_disabled;
        if was_disabled && !endpoint.is_disabled {
            endpoint.enabled_at = Some((tick, now));
        }
        for (node, sight) in &mut endpoint.sights {
            sight.may_be_old |= !settled.get(node).copied().unwrap_or(false);
            sight.in_flight_max = sight.in_flight_max.max(endpoint.max_in_flight);
            sight.has_learned = false;
            sight.bucket = None;
        }
        endpoint.changed_at = now;
    }

    /// Says that an event is committed.
    pub(crate) fn committed(&mut self, event: &NewEvent) {
        let NewEvent { body, idempotency, deliveries, .. } = event;
        let key = idempotency.as_ref().map(|claim| claim.key.clone());
        let wanted: Vec<_> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.wants(&body.tenant_id, &body.event_type))
            .map(|endpoint| endpoint.key.endpoint_id)
            .collect();
        let mut chosen: Vec<_> = deliveries.iter().map(|delivery| delivery.endpoint_id).collect();
        chosen.sort_unstable();
        let label = format!("e{}", self.events.len());
        self.hold(wanted == chosen, || format!("{label} went to {chosen:?}, it was wanted by {wanted:?}"));
        let twin = self.events.values().find(|other| {
            let is_remembered = other.created_at + KEY_WINDOW > body.created_at.max(self.now());
            let is_same_key = key.is_some() && other.key == key && is_remembered;
            other.tenant == body.tenant_id
                && (is_same_key || (key.is_none() && other.payload == body.payload))
        });
        let is_first = twin.is_none();
        self.hold(is_first, || format!("{label} was stored before"));

        let short = key.as_deref().unwrap_or("-").to_owned();
        self.note(format_args!("{label} of {} is stored for {}, key {short}", body.tenant_id, chosen.len()));
        for (position, delivery) in deliveries.iter().enumerate() {
            let ordering =
                self.endpoints.get(&delivery.endpoint_id).map(|facts| facts.ordering).unwrap_or_default();
            let is_scheduled = delivery.due_at > body.created_at;
            let lane = lane_of(ordering, event.ordering_key.as_deref()).filter(|_| !is_scheduled);
            let joined = &delivery.lane;
            self.hold(lane == *joined, || {
                format!("{label}.{position} joins {joined:?}, it belongs to {lane:?}")
            });
            let facts = DeliveryFacts {
                label: format!("{label}.{position}"),
                tenant: body.tenant_id.clone(),
                event: body.id,
                endpoint: delivery.endpoint_id,
                replay_of: None,
                lane: delivery.lane.clone(),
                status: DeliveryStatus::Queued,
                due_at: Some(delivery.due_at),
                dead_at: None,
                attempts: 0,
                stored: self.tick(),
            };
            let is_new = self.deliveries.insert(delivery.id, facts).is_none();
            self.hold(is_new, || format!("{} names two deliveries", delivery.id));
        }
        let facts = EventFacts {
            tenant: body.tenant_id.clone(),
            payload: body.payload.clone(),
            key,
            fan_out_count: event.fan_out.count,
            created_at: body.created_at,
            ordering_key: event.ordering_key.clone(),
            is_expunged: false,
            asked: self.first_asked(body),
            answered: None,
        };
        self.events.insert(body.id, facts);
    }

    /// When an event was first asked to be stored. A repeat has the same payload.
    fn first_asked(&self, body: &EventBody) -> u64 {
        let same = self
            .publishes
            .iter()
            .filter(|asked| asked.tenant == body.tenant_id && asked.payload == body.payload);
        same.map(|asked| asked.asked).min().unwrap_or_default()
    }

    /// Says that a replay was made.
    pub(crate) fn replayed(&mut self, id: DeliveryId, of: DeliveryId, due_at: Timestamp) {
        let tick = self.tick();
        let Some(original) = self.deliveries.get(&of) else {
            return self.violated(format!("{id} replays {of}, which there is not"));
        };
        let facts = DeliveryFacts {
            label: format!("{}r", original.label),
            tenant: original.tenant.clone(),
            event: original.event,
            endpoint: original.endpoint,
            replay_of: Some(of),
            // Where it stands in its lane is the store's to say.
            lane: lane_of(
                self.endpoints[&original.endpoint].ordering,
                self.events[&original.event].ordering_key.as_deref(),
            ),
            status: DeliveryStatus::Queued,
            due_at: Some(due_at),
            dead_at: None,
            attempts: 0,
            stored: tick,
        };
        let is_final = original.is_final();
        self.hold(is_final, || format!("{} replays one that is still under way", facts.label));
        self.note(format_args!("{} is made", facts.label));
        self.deliveries.insert(id, facts);
    }

    /// Says how a publish was answered.
    pub(crate) fn publish_answered(&mut self, number: usize, answer: Result<PublishReceipt, PublishRefusal>) {
        let short = match &answer {
            Ok(receipt) if receipt.is_duplicate => "duplicate".to_owned(),
            Ok(_) => "stored".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        self.note(format_args!("publish {number} is answered: {short}"));
        let tick = self.tick();
        if let Ok(receipt) = &answer
            && let Some(event) = self.events.get_mut(&receipt.event_id)
        {
            event.answered.get_or_insert(tick);
        }
        let asked = &self.publishes[number];
        let wrong = match &answer {
            Ok(receipt) => self.wrong_receipt(asked, receipt),
            Err(PublishRefusal::KeyReused) => {
                // The event that has the key may be gone by its age meanwhile, so publishes are looked at.
                let is_reused = self.publishes.iter().any(|other| {
                    other.tenant == asked.tenant && other.key == asked.key && other.payload != asked.payload
                });
                (!is_reused).then(|| "no other event has its key".to_owned())
            }
            Err(PublishRefusal::Fault(_) | PublishRefusal::Crowded) => None,
            Err(refusal) => Some(refusal.to_string()),
        };
        if let Some(wrong) = wrong {
            self.violated(format!("publish {number} was answered wrongly: {wrong}"));
        }
        self.publishes[number].answer = Some(answer);
    }

    fn wrong_receipt(&self, asked: &PublishFacts, receipt: &PublishReceipt) -> Option<String> {
        let Some(event) = self.events.get(&receipt.event_id) else {
            // A publish that waited for weeks may be told of one that has gone by its age.
            let is_old = self.now().since(receipt.event_id.made_at()) >= HISTORY_DEFAULT;
            return (!is_old).then(|| "its event is not stored".to_owned());
        };
        let is_its_own =
            event.tenant == asked.tenant && event.payload == asked.payload && event.key == asked.key;
        if !is_its_own {
            return Some("its event is another one".to_owned());
        }
        if event.fan_out_count != receipt.fan_out_count {
            let (found, said) = (event.fan_out_count, receipt.fan_out_count);
            return Some(format!("it said {said} deliveries and made {found}"));
        }
        (receipt.is_duplicate && asked.key.is_none()).then(|| "it had no key".to_owned())
    }
}
