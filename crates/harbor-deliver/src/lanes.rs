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
//! workers, holds nothing.

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
use crate::lanes::lane::{Gate, Lane, Readiness};
use crate::lanes::room::{BytesHeld, LANE_ITEMS_FLOOR};
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

/// Whether a lane takes more.
enum Admission {
    /// Its breaker is open, or others send.
    Shut,
    /// It holds all that it may.
    Full,
    /// Its tenant does.
    Crowded,
    /// So many; at least one.
    Room(usize),
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

    /// Reserves room for one delivery. Without room, notes that the store has more for this lane.
    pub fn reserve(
        &mut self,
        key: &EndpointKey,
        view: &Arc<EndpointView>,
        bytes: u64,
        now: Timestamp,
    ) -> bool {
        self.learn(key, view, now);
        let admission = self.admission(key, view, now);
        if matches!(admission, Admission::Room(_)) && self.takes_bytes(key, bytes) && !self.is_contended(key)
        {
            self.hold(key, view, 1, bytes, now);
            return true;
        }
        self.note_refused(key, &admission);
        false
    }

    /// Reserves room for up to `wanted` deliveries that will be leased; answers for how many. Their bytes
    /// are accounted by [`Lanes::weigh`] once they are known.
    ///
    /// Takes at most half of the lane's room: the store is being asked meanwhile, and what is published
    /// in the meantime is to find room as well. What finds none is noted from here on, since the answer
    /// of the store will not show it.
    pub fn reserve_up_to(
        &mut self,
        key: &EndpointKey,
        view: &Arc<EndpointView>,
        wanted: usize,
        now: Timestamp,
    ) -> usize {
        self.learn(key, view, now);
        let admission = self.admission(key, view, now);
        let Admission::Room(room) = admission else {
            self.ask_to_probe(key, now);
            self.note_refused(key, &admission);
            return 0;
        };
        let reserved = wanted.min(room.div_ceil(2));
        if reserved > 0 {
            self.hold(key, view, reserved, 0, now);
            self.set_has_more(key, false);
        }
        reserved
    }

    /// Adds the bytes of a delivery that was reserved for before they were known. False, and nothing
    /// added, where the budget has no room for them.
    pub fn weigh(&mut self, key: &EndpointKey, bytes: u64) -> bool {
        if !self.takes_bytes(key, bytes) {
            return false;
        }
        let (tenant, lane) = place(&mut self.tenants, key);
        lane.bytes += bytes;
        *tenant.bytes += bytes;
        self.held.bytes += bytes;
        true
    }

    /// Takes back bytes that were weighed for a delivery that is not held after all; its room stays reserved.
    pub fn unweigh(&mut self, key: &EndpointKey, bytes: u64) {
        let (tenant, lane) = place(&mut self.tenants, key);
        lane.bytes -= bytes;
        *tenant.bytes -= bytes;
        self.held.bytes -= bytes;
    }

    /// Puts a delivery into the room reserved for it. Answers it back where the lane has been shut since:
    /// the caller gives it back and releases its room.
    #[must_use = "what comes back is to be given back"]
    pub fn fill(&mut self, key: &EndpointKey, item: T, now: Timestamp) -> Option<T> {
        let me = self.fleet.me();
        let (_, lane) = place(&mut self.tenants, key);
        let is_taken = match lane.gate(me) {
            Gate::Open => true,
            Gate::Probe => lane.waiting.is_empty(),
            Gate::Shut => false,
        };
        if !is_taken {
            lane.has_more = true;
            return Some(item);
        }
        lane.waiting.push_back(item);
        self.offer(key, now);
        None
    }

    /// Says that the store has, or may have, more for the lane than it was given.
    pub fn note_more(&mut self, key: &EndpointKey) {
        self.set_has_more(key, true);
        self.note_hunger(key);
    }

    /// Says that the store has due deliveries for this endpoint, which `view` shows if it is known. False
    /// where there is no place to note it.
    pub fn note_due(&mut self, key: &EndpointKey, view: Option<&Arc<EndpointView>>, now: Timestamp) -> bool {
        if let Some(view) = view {
            self.learn(key, view, now);
        }
        let Some(lane) = self.find_lane(key) else { return self.note_due_unseen(key, view, now) };
        if lane.is_left_to_others() || self.ask_to_probe(key, now) {
            return true;
        }
        self.set_has_more(key, true);
        match self.find_lane(key) {
            Some(lane) if lane.items > 0 => {
                self.note_hunger(key);
                true
            }
            _ => self.note_waiting(key),
        }
    }

    /// Does the same for an endpoint that has no lane yet.
    fn note_due_unseen(
        &mut self,
        key: &EndpointKey,
        view: Option<&Arc<EndpointView>>,
        now: Timestamp,
    ) -> bool {
        if view.is_some_and(|view| self.part_of(view).is_none()) {
            return true;
        }
        // An open breaker needs no lane until it is time to probe, or to close it.
        let is_enabled = view.is_none_or(|view| view.policy.breaker.is_enabled);
        if is_enabled && self.known.get(key).is_some_and(|open| open.change.probe_at > now) {
            return true;
        }
        self.note_waiting(key)
    }

    /// Chooses who sends next, if a slot is free.
    pub fn next(&mut self, now: Timestamp) -> Next<T> {
        self.release_throttled(now);
        let me = self.fleet.me();
        while self.held.in_flight < self.settings.slots_max {
            let Some(tenant_id) = self.turns.first(|in_flight| self.may_grow(in_flight)).cloned() else {
                return self.next_token();
            };
            let tenant = self.tenants.get_mut(&tenant_id).expect("a turn belongs to a tenant");
            let endpoint_id =
                *tenant.turns.first(|_| true).expect("a tenant with a turn has a lane with one");
            let key = EndpointKey { tenant_id, endpoint_id };
            let lane = tenant.lanes.get_mut(&endpoint_id).expect("a turn belongs to a lane");
            let started = lane.start(now, me);
            if started.is_some() {
                tenant.in_flight += 1;
                self.held.in_flight += 1;
            }
            self.offer(&key, now);
            if let Some((item, is_probe)) = started {
                return Next::Start { item, is_probe };
            }
        }
        Next::Idle
    }

    /// Says that a request ended: its slot is free. The delivery is held until it is recorded.
    pub fn request_ended(&mut self, key: &EndpointKey, is_probe: bool, now: Timestamp) {
        let (tenant, lane) = place(&mut self.tenants, key);
        assert!(lane.in_flight > 0, "a request that ends was in flight");
        lane.in_flight -= 1;
        lane.is_probing &= !is_probe;
        *tenant.in_flight -= 1;
        self.held.in_flight -= 1;
        self.offer(key, now);
    }

    /// Frees the room of one delivery: recorded, given back, or reserved and not used.
    pub fn release(&mut self, key: &EndpointKey, bytes: u64) {
        let (tenant, lane) = place(&mut self.tenants, key);
        assert!(lane.items > 0 && lane.bytes >= bytes, "room that is freed was reserved");
        lane.items -= 1;
        lane.bytes -= bytes;
        *tenant.items -= 1;
        *tenant.bytes -= bytes;
        self.held.items -= 1;
        self.held.bytes -= bytes;
        self.note_hunger(key);
        self.note_food(&key.tenant_id);
    }

    /// Takes out what waits in a lane, to be given back: the endpoint is held or gone.
    /// The caller releases the room of each.
    pub fn drain(&mut self, key: &EndpointKey, now: Timestamp) -> Vec<T> {
        let Some(lane) = self.find_lane_mut(key) else { return Vec::new() };
        let drained = lane.waiting.drain(..).collect();
        lane.has_more = false;
        self.offer(key, now);
        drained
    }

    /// Takes out everything that waits. The caller releases the room of each.
    pub fn drain_all(&mut self, now: Timestamp) -> Vec<T> {
        self.keys().iter().flat_map(|key| self.drain(key, now)).collect()
    }

    /// Tells a lane of its endpoint's present limits.
    pub fn learn(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) {
        let Some(lane) = self.find_lane(key) else { return };
        if !lane.is_news(view) {
            return;
        }
        let is_same_url = lane.view.endpoint.url_version == view.endpoint.url_version;
        let part = self.part_of(view);
        let (_, lane) = place(&mut self.tenants, key);
        lane.learn(view, part, now);
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
            let part = self.part_of(&view);
            let (_, lane) = place(&mut self.tenants, &key);
            lane.limit(part, now);
            self.settle_gate(&key, now);
        }
        true
    }

    /// Names, in turn, the lanes that want more from the store and may have some, each once.
    pub fn take_hungry(&mut self) -> Vec<EndpointKey> {
        self.is_hungry = false;
        let (tenants, settings, held) = (&self.tenants, &self.settings, self.held.items);
        self.hunger.take(|tenant_id| {
            let items = tenants.get(tenant_id).map_or(0, |tenant| tenant.items);
            settings.tenant_items_limit(held).saturating_sub(items).div_ceil(LANE_ITEMS_FLOOR)
        })
    }

    /// Whether a lane wants more from the store and may have some.
    pub fn has_hungry(&self) -> bool {
        self.is_hungry
    }

    /// Says that a walk has found a place for everyone who has more in the store.
    pub fn all_are_noted(&mut self) {
        self.hunger.all_found_place();
    }

    /// How many more deliveries all lanes together have room for.
    pub fn room(&self) -> usize {
        self.settings.items_max.saturating_sub(self.held.items)
    }

    /// Whether the lane takes more. Makes the lane of a breaker that is known to be open.
    fn admission(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) -> Admission {
        let part = self.part_of(view);
        if self.find_lane(key).is_none() && part.is_some() && self.known.contains_key(key) {
            self.make_lane(key, view, now);
        }
        let me = self.fleet.me();
        let (gate, items_max, items) = match (self.find_lane(key), part) {
            (Some(lane), _) => {
                let items_max = match lane.gate(me) {
                    Gate::Probe if lane.has_probe() => 0,
                    Gate::Probe => lane.items + 1,
                    Gate::Open | Gate::Shut => lane.items_max(&self.settings),
                };
                (lane.gate(me), items_max, lane.items)
            }
            (None, Some(part)) => (Gate::Open, lane::items_max(part, 0, &self.settings), 0),
            (None, None) => return Admission::Shut,
        };
        if gate == Gate::Shut {
            return Admission::Shut;
        }
        let tenant_items = self.tenants.get(&key.tenant_id).map_or(0, |tenant| tenant.items);
        match self.settings.lane_room(self.held.items, tenant_items, items, items_max) {
            None => Admission::Crowded,
            Some(0) => Admission::Full,
            Some(room) => Admission::Room(room),
        }
    }

    fn takes_bytes(&self, key: &EndpointKey, bytes: u64) -> bool {
        let held = BytesHeld {
            all: self.held.bytes,
            tenant: self.tenants.get(&key.tenant_id).map_or(0, |tenant| tenant.bytes),
            lane: self.find_lane(key).map_or(0, |lane| lane.bytes),
        };
        self.settings.takes_bytes(held, bytes)
    }

    /// Whether what is freed of the tenant's room is for those of its lanes that wait for it. Of a tenant
    /// that holds much while others of its endpoints wait, publishers get no more than half, or their newest
    /// events would take all that is freed.
    fn is_contended(&self, key: &EndpointKey) -> bool {
        let items = self.tenants.get(&key.tenant_id).map_or(0, |tenant| tenant.items);
        self.hunger.has(&key.tenant_id) && items >= self.settings.tenant_items_limit(self.held.items) / 2
    }

    fn hold(
        &mut self,
        key: &EndpointKey,
        view: &Arc<EndpointView>,
        items: usize,
        bytes: u64,
        now: Timestamp,
    ) {
        if self.find_lane(key).is_none() {
            self.make_lane(key, view, now);
        }
        let (tenant, lane) = place(&mut self.tenants, key);
        lane.items += items;
        lane.bytes += bytes;
        lane.used_at = now;
        *tenant.items += items;
        *tenant.bytes += bytes;
        self.held.items += items;
        self.held.bytes += bytes;
    }

    fn make_lane(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) {
        let lane = Lane::new(Arc::clone(view), self.part_of(view), now);
        let tenant = self.tenants.entry(key.tenant_id.clone()).or_insert_with(Tenant::new);
        tenant.lanes.insert(key.endpoint_id, lane);
        self.adopt_known(key, true);
    }

    /// What this worker may make of an endpoint's limits.
    fn part_of(&self, view: &EndpointView) -> Option<Part> {
        let policy = &view.policy;
        self.fleet.part(view.endpoint.id, policy.max_in_flight.value, policy.rate_limit.value)
    }

    /// Notes that something was not admitted, and waits in the store.
    fn note_refused(&mut self, key: &EndpointKey, admission: &Admission) {
        self.set_has_more(key, true);
        match self.find_lane(key) {
            _ if matches!(admission, Admission::Shut) => {}
            Some(lane) if lane.items > 0 => self.note_hunger(key),
            // Nothing will leave the lane and tell of its hunger: it waits for room of its tenant's.
            Some(_) | None => self.note_waiting_again(key),
        }
    }

    /// Notes that a lane waits for room, where it has run low while the store has more.
    fn note_hunger(&mut self, key: &EndpointKey) {
        let me = self.fleet.me();
        let tenant_items = self.tenants.get(&key.tenant_id).map_or(0, |tenant| tenant.items);
        let Some(lane) = self.find_lane(key) else { return };
        let is_low = match lane.gate(me) {
            Gate::Shut => false,
            Gate::Probe => !lane.has_probe(),
            Gate::Open if lane.items == 0 => true,
            Gate::Open => {
                let items_max = lane.items_max(&self.settings);
                let room = self.settings.lane_room(self.held.items, tenant_items, lane.items, items_max);
                room.map_or(lane.items <= items_max / 2, |room| room > 0 && room >= lane.items_in_the_way())
            }
        };
        if lane.has_more && is_low {
            self.note_waiting_again(key);
        }
    }

    /// Puts an endpoint at the end of those that wait for room. False where there is no place for it.
    fn note_waiting(&mut self, key: &EndpointKey) -> bool {
        let is_noted = self.hunger.add(key);
        self.note_food(&key.tenant_id);
        is_noted
    }

    /// Does the same for one that is known already: others that find no place come first.
    fn note_waiting_again(&mut self, key: &EndpointKey) {
        self.hunger.add_again(key);
        self.note_food(&key.tenant_id);
    }

    /// Notes whether a tenant with lanes that wait has room enough that it is worth a look.
    fn note_food(&mut self, tenant_id: &TenantId) {
        if self.is_hungry || !self.hunger.has(tenant_id) {
            return;
        }
        let items = self.tenants.get(tenant_id).map_or(0, |tenant| tenant.items);
        let limit = self.settings.tenant_items_limit(self.held.items);
        self.is_hungry = items + LANE_ITEMS_FLOOR.min(limit.max(1)) <= limit;
    }

    fn find_lane(&self, key: &EndpointKey) -> Option<&Lane<T>> {
        self.tenants.get(&key.tenant_id)?.lanes.get(&key.endpoint_id)
    }

    fn find_lane_mut(&mut self, key: &EndpointKey) -> Option<&mut Lane<T>> {
        self.tenants.get_mut(&key.tenant_id)?.lanes.get_mut(&key.endpoint_id)
    }

    fn set_has_more(&mut self, key: &EndpointKey, has_more: bool) {
        if let Some(lane) = self.find_lane_mut(key) {
            lane.has_more = has_more;
        }
    }

    fn keys(&self) -> Vec<EndpointKey> {
        let of_tenant = |(tenant_id, tenant): (&TenantId, &Tenant<T>)| {
            let key = |id: &EndpointId| EndpointKey { tenant_id: tenant_id.clone(), endpoint_id: *id };
            tenant.lanes.keys().map(key).collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_tenant).collect()
    }

    /// Whether a tenant with this many requests in flight may have one more: as long as it has no more than
    /// what is free, since a slow receiver holds its slot long after others have come, and beyond half of
    /// the slots only while no other tenant waits.
    fn may_grow(&self, in_flight: usize) -> bool {
        let free = self.settings.slots_max - self.held.in_flight;
        in_flight < free.max(SLOTS_FLOOR)
            && (in_flight < self.settings.slots_max.div_ceil(2) || self.turns.len() == 1)
    }

    fn next_token(&self) -> Next<T> {
        self.throttled.first().map_or(Next::Idle, |(ready_at, _)| Next::WaitUntil(*ready_at))
    }

    /// Puts back among the ready the lanes whose token has come.
    fn release_throttled(&mut self, now: Timestamp) {
        while self.throttled.first().is_some_and(|(ready_at, _)| *ready_at <= now) {
            let (_, key) = self.throttled.pop_first().expect("there is a first");
            if let Some(lane) = self.find_lane_mut(&key) {
                lane.throttled_until = None;
            }
            self.offer(&key, now);
        }
    }

    /// Puts a lane, and its tenant, in their places in the order of turns, or out of it.
    fn offer(&mut self, key: &EndpointKey, now: Timestamp) {
        let me = self.fleet.me();
        let Some(tenant) = self.tenants.get_mut(&key.tenant_id) else { return };
        if let Some(lane) = tenant.lanes.get_mut(&key.endpoint_id) {
            match lane.readiness(now, me) {
                Readiness::Ready => tenant.turns.set(key.endpoint_id, lane.in_flight),
                Readiness::Full => tenant.turns.remove(&key.endpoint_id),
                Readiness::Throttled(ready_at) => {
                    tenant.turns.remove(&key.endpoint_id);
                    if lane.throttled_until != Some(ready_at) {
                        if let Some(earlier) = lane.throttled_until.replace(ready_at) {
                            self.throttled.remove(&(earlier, key.clone()));
                        } else {
                            self.effects.holds += 1;
                        }
                        self.throttled.insert((ready_at, key.clone()));
                    }
                }
            }
        }
        if tenant.turns.len() == 0 {
            self.turns.remove(&key.tenant_id);
        } else {
            self.turns.set(key.tenant_id.clone(), tenant.in_flight);
        }
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
