//! Lanes: who may send next. A pure state machine over what the worker holds.
//!
//! Each endpoint has a lane under its tenant. A lane holds leased deliveries up to its room, sends up
//! to its limit in flight and at its rate. A free slot goes to the waiting tenant with the fewest
//! requests in flight, then to its lane with the fewest: what is shared are occupied slots, because
//! slow receivers hold slots, not starts.
//!
//! Room is reserved before it is filled, so that what a worker holds is bounded by its settings
//! whatever publishers and backlogs do. A tenant may hold no more than is still free for all, and a lane no
//! more than is still free for its tenant; lanes that want more from the store get it in turn.
//!
//! What may not go waits in the store: a lane whose circuit breaker is open, or that is left to other
//! workers, holds nothing, and one that drains takes from the store no faster than it may.

mod starting;

mod holding;

mod asking;

mod draining;

mod breakers;

mod hunger;
mod lane;
mod room;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harbor_model::decide::breaker::Wish;
use harbor_model::decide::share::{Fleet, Part};
use harbor_model::directory::EndpointView;
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::port::breakers::OpenBreaker;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::hunger::Hunger;
use crate::lanes::lane::{Lane, Limits};
use crate::lanes::turns::Turns;

pub use crate::lanes::breakers::BreakerNews;

/// The limits of what one worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most requests in flight.
    pub slots_max: usize,
    /// The most deliveries held for one endpoint: waiting, in flight or not yet recorded. A lane whose
    /// endpoint takes few requests at a time holds fewer; see [`LANE_ITEMS_PER_SLOT`].
    pub lane_items_max: usize,
    /// The most deliveries held for one tenant.
    pub tenant_items_max: usize,
    /// The most deliveries held for all tenants.
    pub items_max: usize,
    /// The most payload bytes held.
    pub bytes_max: u64,
    /// The most payload bytes held for one tenant.
    pub tenant_bytes_max: u64,
    /// The most endpoints noted for which the store has more than there is room for.
    pub endpoints_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            slots_max: 2048,
            lane_items_max: 1024,
            tenant_items_max: 10_000,
            items_max: 20_000,
            bytes_max: 128 * MIB,
            tenant_bytes_max: 32 * MIB,
            endpoints_max: 100_000,
        }
    }
}

impl Settings {
    /// Says what cannot work, by setting.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.slots_max == 0 || self.lane_items_max == 0 || self.items_max == 0 || self.bytes_max == 0 {
            return Err("slots_max, lane_items_max, items_max and bytes_max must be at least 1");
        }
        if self.tenant_items_max == 0 || self.tenant_items_max > self.items_max {
            return Err("tenant_items_max must be at least 1 and at most items_max");
        }
        if self.tenant_bytes_max == 0 || self.tenant_bytes_max > self.bytes_max {
            return Err("tenant_bytes_max must be at least 1 and at most bytes_max");
        }
        if self.endpoints_max == 0 {
            return Err("endpoints_max must be at least 1");
        }
        Ok(())
    }
}

/// How many deliveries a lane holds for each request that it may have in flight: enough to go on while
/// the store is asked for more, and no more, so that slow endpoints do not fill the worker.
pub const LANE_ITEMS_PER_SLOT: usize = 4;

/// The fewest deliveries that a lane has room for, where no other worker sends to its endpoint.
const LANE_ITEMS_MIN: usize = 64;

/// A tenant may have so many requests in flight whatever is free, as long as anything is.
const SLOTS_FLOOR: usize = 8;

/// What a worker may do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Send this.
    Start {
        /// What.
        item: T,
        /// Whether it probes an endpoint whose circuit breaker is half open.
        is_probe: bool,
    },
    /// Nothing before this instant, when a rate limit lets the next one through.
    WaitUntil(Timestamp),
    /// Nothing until something changes.
    Idle,
}

/// Counts of what a worker holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Requests in flight.
    pub in_flight: usize,
    /// Deliveries reserved for, waiting, in flight or not yet recorded.
    pub items: usize,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Circuit breakers that are not closed, of all endpoints, as far as is known.
    pub open_breakers: usize,
}

/// What the lanes want done, by whoever has the means.
#[derive(Debug)]
pub struct Effects<T> {
    /// To be given back to the store; the room of each is still to be released.
    pub returned: Vec<T>,
    /// To be carried out in the store; each is to be answered.
    pub wishes: Vec<(EndpointKey, Wish)>,
    /// When an endpoint is worth a look.
    pub wakeups: Vec<(Timestamp, EndpointKey)>,
    /// Breakers that changed.
    pub breakers: Vec<BreakerNews>,
    /// How often a rate limit made a lane wait.
    pub holds: u64,
    /// Whether a lane wants more from the store and may have some; see [`Lanes::take_hungry`].
    pub is_hungry: bool,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self {
            returned: Vec::new(),
            wishes: Vec::new(),
            wakeups: Vec::new(),
            breakers: Vec::new(),
            holds: 0,
            is_hungry: false,
        }
    }
}

/// The lanes of one worker. `T` is what is sent: opaque here.
#[derive(Debug)]
pub struct Lanes<T> {
    settings: Settings,
    fleet: Fleet,
    tenants: BTreeMap<TenantId, Tenant<T>>,
    /// Tenants with a lane that may send now, by requests in flight.
    turns: Turns<TenantId>,
    /// Lanes that wait for a token, by when it comes.
    throttled: BTreeSet<(Timestamp, EndpointKey)>,
    /// Lanes that drain and have no token to take more from the store, by when there is one.
    dry: BTreeSet<(Timestamp, EndpointKey)>,
    /// Lanes that want more from the store.
    hunger: Hunger,
    /// Whether one of them could have some now.
    is_hungry: bool,
    /// The breakers that are not closed, as the store told last.
    known: BTreeMap<EndpointKey, OpenBreaker>,
    breaker_step: u64,
    /// Lanes with a wish that is to be carried out.
    wishing: BTreeSet<EndpointKey>,
    /// Lanes with a wish that could not be carried out.
    failed_wishes: BTreeSet<EndpointKey>,
    asked_count: usize,
    effects: Effects<T>,
    held: Held,
}

#[derive(Debug)]
struct Tenant<T> {
    lanes: BTreeMap<EndpointId, Lane<T>>,
    /// Lanes that may send now, by requests in flight.
    turns: Turns<EndpointId>,
    in_flight: usize,
    items: usize,
    bytes: u64,
}

impl<T> Tenant<T> {
    fn new() -> Self {
        Self { lanes: BTreeMap::new(), turns: Turns::default(), in_flight: 0, items: 0, bytes: 0 }
    }
}

impl<T> Lanes<T> {
    /// Empty lanes of a worker in this fleet.
    pub fn new(settings: Settings, fleet: Fleet) -> Self {
        Self {
            hunger: Hunger::new(settings.endpoints_max),
            settings,
            fleet,
            tenants: BTreeMap::new(),
            turns: Turns::default(),
            throttled: BTreeSet::new(),
            dry: BTreeSet::new(),
            is_hungry: false,
            known: BTreeMap::new(),
            breaker_step: 0,
            wishing: BTreeSet::new(),
            failed_wishes: BTreeSet::new(),
            asked_count: 0,
            effects: Effects::default(),
            held: Held::default(),
        }
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        Held { open_breakers: self.known.len(), ..self.held }
    }

    /// Takes what is to be done since it was last taken.
    pub fn take_effects(&mut self) -> Effects<T> {
        let wishes = self.take_wishes();
        Effects { wishes, is_hungry: self.is_hungry, ..std::mem::take(&mut self.effects) }
    }

    /// Tells a lane of its endpoint's present limits.
    pub fn learn(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) {
        let Some(lane) = self.find_lane(key) else { return };
        if !lane.is_news(view) {
            return;
        }
        let is_same_url = lane.view.endpoint.url_version == view.endpoint.url_version;
        let limits = self.limits_of(view);
        let (_, lane) = place(&mut self.tenants, key);
        lane.learn(view, limits, now);
        if !is_same_url {
            self.forget_breaker(key, now);
        }
        if !view.policy.breaker.is_enabled {
            self.lift_breaker(key, now);
        }
        self.settle_gate(key, now);
    }

    /// Takes over who is at work, and with it this worker's part of every limit. True where that is news.
    pub fn join(&mut self, fleet: Fleet, now: Timestamp) -> bool {
        if self.fleet == fleet {
            return false;
        }
        self.fleet = fleet;
        for key in self.keys() {
            let (_, lane) = place(&mut self.tenants, &key);
            let view = Arc::clone(&lane.view);
            let limits = self.limits_of(&view);
            let (_, lane) = place(&mut self.tenants, &key);
            lane.limit(limits, now);
            self.settle_gate(&key, now);
        }
        true
    }

    /// How many more deliveries all lanes together have room for.
    pub fn room(&self) -> usize {
        self.settings.items_max.saturating_sub(self.held.items)
    }

    fn make_lane(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) {
        let lane = Lane::new(Arc::clone(view), self.limits_of(view), now);
        let tenant = self.tenants.entry(key.tenant_id.clone()).or_insert_with(Tenant::new);
        tenant.lanes.insert(key.endpoint_id, lane);
        self.adopt_known(key, true);
    }

    /// The endpoint as its lane last saw it; none where it has no lane.
    pub fn find_view(&self, key: &EndpointKey) -> Option<Arc<EndpointView>> {
        self.find_lane(key).map(|lane| Arc::clone(&lane.view))
    }

    fn limits_of(&self, view: &EndpointView) -> Limits {
        Limits { part: self.part_of(view), drain: draining::part_of(&self.fleet, view) }
    }

    /// What this worker may make of an endpoint's limits, apart from its drain.
    fn part_of(&self, view: &EndpointView) -> Option<Part> {
        let policy = &view.policy;
        self.fleet.part(view.endpoint.id, policy.max_in_flight.value, policy.rate_limit.value)
    }

    fn find_lane(&self, key: &EndpointKey) -> Option<&Lane<T>> {
        self.tenants.get(&key.tenant_id)?.lanes.get(&key.endpoint_id)
    }

    fn find_lane_mut(&mut self, key: &EndpointKey) -> Option<&mut Lane<T>> {
        self.tenants.get_mut(&key.tenant_id)?.lanes.get_mut(&key.endpoint_id)
    }

    fn keys(&self) -> Vec<EndpointKey> {
        let of_tenant = |(tenant_id, tenant): (&TenantId, &Tenant<T>)| {
            let key = |id: &EndpointId| EndpointKey { tenant_id: tenant_id.clone(), endpoint_id: *id };
            tenant.lanes.keys().map(key).collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_tenant).collect()
    }

    /// Forgets lanes that hold nothing and know nothing: new ones would be the same. Called now and then
    /// rather than at every end, so that a busy lane is not made anew for each delivery.
    pub fn forget_idle(&mut self, now: Timestamp) {
        for key in self.keys() {
            // One that holds nothing while the store may have more for it would otherwise wait for ever.
            self.note_hunger(&key);
            self.forget_if_idle(&key, now);
        }
    }

    fn forget_if_idle(&mut self, key: &EndpointKey, now: Timestamp) {
        let me = self.fleet.me();
        let Some(tenant) = self.tenants.get_mut(&key.tenant_id) else { return };
        if tenant.lanes.get(&key.endpoint_id).is_some_and(|lane| lane.is_idle(now, me)) {
            tenant.lanes.remove(&key.endpoint_id);
            tenant.turns.remove(&key.endpoint_id);
            if tenant.lanes.is_empty() {
                self.tenants.remove(&key.tenant_id);
                self.turns.remove(&key.tenant_id);
            }
        }
    }
}

/// The lane that something is held in, with its tenant's counts.
fn place<'a, T>(
    tenants: &'a mut BTreeMap<TenantId, Tenant<T>>,
    key: &EndpointKey,
) -> (Counts<'a>, &'a mut Lane<T>) {
    let Tenant { lanes, in_flight, items, bytes, .. } =
        tenants.get_mut(&key.tenant_id).expect("what is held belongs to a tenant");
    let lane = lanes.get_mut(&key.endpoint_id).expect("what is held belongs to a lane");
    (Counts { in_flight, items, bytes }, lane)
}

/// What a tenant holds.
struct Counts<'a> {
    in_flight: &'a mut usize,
    items: &'a mut usize,
    bytes: &'a mut u64,
}

#[cfg(test)]
mod tests;
