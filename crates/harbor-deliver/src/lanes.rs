//! Lanes: who may send next. A pure state machine over what the worker holds.
//!
//! Each endpoint has a lane under its tenant. A lane holds leased deliveries up to its room, sends up
//! to its limit in flight and at its rate. A free slot goes to the waiting tenant with the fewest
//! requests in flight, then to its lane with the fewest: what is shared are occupied slots, because
//! slow receivers hold slots, not starts.
//!
//! Room is reserved before it is filled, so that what a worker holds is bounded by its settings
//! whatever publishers and backlogs do.

mod lane;
mod turns;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use harbor_model::directory::EndpointView;
use harbor_model::id::{EndpointId, TenantId};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::lane::{Lane, Readiness};
use crate::lanes::turns::Turns;

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
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            slots_max: 1024,
            lane_items_max: 1024,
            tenant_items_max: 10_000,
            items_max: 20_000,
            bytes_max: 128 * MIB,
            tenant_bytes_max: 32 * MIB,
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
        Ok(())
    }
}

/// How many deliveries a lane holds for each request that it may have in flight: enough to go on while
/// the store is asked for more, and no more, so that slow endpoints do not fill the worker.
pub const LANE_ITEMS_PER_SLOT: usize = 4;

/// The fewest deliveries that a lane has room for.
const LANE_ITEMS_MIN: usize = 64;

/// What a worker may do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Send this.
    Start(T),
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
}

/// The lanes of one worker. `T` is what is sent: opaque here.
#[derive(Debug)]
pub struct Lanes<T> {
    settings: Settings,
    tenants: HashMap<TenantId, Tenant<T>>,
    /// Tenants with a lane that may send now, by requests in flight.
    turns: Turns<TenantId>,
    /// Lanes that wait for a token, by when it comes.
    throttled: BTreeSet<(Timestamp, EndpointKey)>,
    /// Lanes that have run low while the store has more.
    hungry: HashSet<EndpointKey>,
    held: Held,
}

#[derive(Debug)]
struct Tenant<T> {
    lanes: HashMap<EndpointId, Lane<T>>,
    /// Lanes that may send now, by requests in flight.
    turns: Turns<EndpointId>,
    in_flight: usize,
    items: usize,
    bytes: u64,
}

impl<T> Tenant<T> {
    fn new() -> Self {
        Self { lanes: HashMap::new(), turns: Turns::default(), in_flight: 0, items: 0, bytes: 0 }
    }
}

impl<T> Lanes<T> {
    /// Empty lanes.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            tenants: HashMap::new(),
            turns: Turns::default(),
            throttled: BTreeSet::new(),
            hungry: HashSet::new(),
            held: Held::default(),
        }
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Reserves room for one delivery. Without room, notes that the store has more for this lane.
    pub fn reserve(
        &mut self,
        key: &EndpointKey,
        view: &Arc<EndpointView>,
        bytes: u64,
        now: Timestamp,
    ) -> bool {
        let has_total_room =
            self.held.items < self.settings.items_max && self.held.bytes + bytes <= self.settings.bytes_max;
        let tenant = self.tenants.entry(key.tenant_id.clone()).or_insert_with(Tenant::new);
        let lane = tenant.lanes.entry(key.endpoint_id).or_insert_with(|| Lane::new(Arc::clone(view), now));
        lane.learn(view, now);
        let has_room = has_total_room
            && lane.items < lane.items_max(&self.settings)
            && tenant.items < self.settings.tenant_items_max
            && tenant.bytes + bytes <= self.settings.tenant_bytes_max;
        // A payload that exceeds the budget by itself still has to go some time: alone.
        let is_alone = tenant.bytes == 0 && lane.items == 0 && self.held.items < self.settings.items_max;
        if !has_room && !is_alone {
            lane.has_more = true;
            return false;
        }
        lane.items += 1;
        tenant.items += 1;
        tenant.bytes += bytes;
        self.held.items += 1;
        self.held.bytes += bytes;
        true
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
        let lane = self.find_lane(key);
        let taken = lane.map_or(0, |lane| lane.items);
        let items_max = lane.map_or(wanted, |lane| lane.items_max(&self.settings));
        let half = items_max.saturating_sub(taken).div_ceil(2);
        let reserved = (0..wanted.min(half)).take_while(|_| self.reserve(key, view, 0, now)).count();
        if reserved > 0 {
            self.set_has_more(key, false);
        }
        reserved
    }

    /// Adds the bytes of a delivery that was reserved for before they were known. False, and nothing
    /// added, where the budget has no room for them.
    pub fn weigh(&mut self, key: &EndpointKey, bytes: u64) -> bool {
        let Some(tenant) = self.tenants.get_mut(&key.tenant_id) else { return false };
        let fits = self.held.bytes + bytes <= self.settings.bytes_max
            && tenant.bytes + bytes <= self.settings.tenant_bytes_max;
        if !fits && tenant.bytes > 0 {
            return false;
        }
        tenant.bytes += bytes;
        self.held.bytes += bytes;
        true
    }

    /// Takes back bytes that were weighed for a delivery that is not held after all; its room stays reserved.
    pub fn unweigh(&mut self, key: &EndpointKey, bytes: u64) {
        let tenant = self.tenants.get_mut(&key.tenant_id).expect("what was weighed belongs to a tenant");
        tenant.bytes -= bytes;
        self.held.bytes -= bytes;
    }

    /// Puts a delivery into the room reserved for it.
    pub fn fill(&mut self, key: &EndpointKey, item: T, now: Timestamp) {
        let tenant = self.tenants.get_mut(&key.tenant_id).expect("room was reserved under the tenant");
        let lane = tenant.lanes.get_mut(&key.endpoint_id).expect("room was reserved in the lane");
        lane.waiting.push_back(item);
        self.offer(key, now);
    }

    /// Says that the store has, or may have, more for the lane than it was given.
    pub fn note_more(&mut self, key: &EndpointKey) {
        self.set_has_more(key, true);
        self.note_hunger(key);
    }

    /// Chooses who sends next, if a slot is free.
    pub fn next(&mut self, now: Timestamp) -> Next<T> {
        self.release_throttled(now);
        while self.held.in_flight < self.settings.slots_max {
            let Some(tenant_id) = self.turns.first(|in_flight| self.may_grow(in_flight)).cloned() else {
                return self.next_token();
            };
            let tenant = self.tenants.get_mut(&tenant_id).expect("a turn belongs to a tenant");
            let endpoint_id =
                *tenant.turns.first(|_| true).expect("a tenant with a turn has a lane with one");
            let key = EndpointKey { tenant_id, endpoint_id };
            let lane = tenant.lanes.get_mut(&endpoint_id).expect("a turn belongs to a lane");
            let started = lane.start(now);
            if started.is_some() {
                tenant.in_flight += 1;
                self.held.in_flight += 1;
            }
            self.offer(&key, now);
            if let Some(item) = started {
                return Next::Start(item);
            }
        }
        Next::Idle
    }

    /// Says that a request ended: its slot is free. The delivery is held until it is recorded.
    pub fn request_ended(&mut self, key: &EndpointKey, now: Timestamp) {
        let tenant = self.tenants.get_mut(&key.tenant_id).expect("a request belongs to a tenant");
        let lane = tenant.lanes.get_mut(&key.endpoint_id).expect("a request belongs to a lane");
        assert!(lane.in_flight > 0, "a request that ends was in flight");
        lane.in_flight -= 1;
        tenant.in_flight -= 1;
        self.held.in_flight -= 1;
        self.offer(key, now);
    }

    /// Frees the room of one delivery: recorded, given back, or reserved and not used.
    pub fn release(&mut self, key: &EndpointKey, bytes: u64) {
        let tenant = self.tenants.get_mut(&key.tenant_id).expect("room belongs to a tenant");
        let lane = tenant.lanes.get_mut(&key.endpoint_id).expect("room belongs to a lane");
        assert!(lane.items > 0 && tenant.bytes >= bytes, "room that is freed was reserved");
        lane.items -= 1;
        tenant.items -= 1;
        tenant.bytes -= bytes;
        self.held.items -= 1;
        self.held.bytes -= bytes;
        self.note_hunger(key);
    }

    /// Takes out what waits in a lane, to be given back: the endpoint is held or gone.
    /// The caller releases the room of each.
    pub fn drain(&mut self, key: &EndpointKey, now: Timestamp) -> Vec<T> {
        let tenant = self.tenants.get_mut(&key.tenant_id);
        let Some(lane) = tenant.and_then(|tenant| tenant.lanes.get_mut(&key.endpoint_id)) else {
            return Vec::new();
        };
        let drained = lane.waiting.drain(..).collect();
        lane.has_more = false;
        self.offer(key, now);
        drained
    }

    /// Takes out everything that waits. The caller releases the room of each.
    pub fn drain_all(&mut self, now: Timestamp) -> Vec<T> {
        let keys: Vec<_> = self.keys().collect();
        keys.iter().flat_map(|key| self.drain(key, now)).collect()
    }

    /// Tells a lane of its endpoint's present limits.
    pub fn learn(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) {
        let tenant = self.tenants.get_mut(&key.tenant_id);
        if let Some(lane) = tenant.and_then(|tenant| tenant.lanes.get_mut(&key.endpoint_id))
            && lane.learn(view, now)
        {
            self.offer(key, now);
        }
    }

    /// Names the lanes that have run low while the store has more, each once.
    pub fn take_hungry(&mut self) -> Vec<EndpointKey> {
        self.hungry.drain().collect()
    }

    /// Whether a lane has run low while the store has more.
    pub fn has_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }

    fn note_hunger(&mut self, key: &EndpointKey) {
        let is_low = |lane: &Lane<T>| lane.has_more && lane.items <= lane.items_max(&self.settings) / 2;
        if self.find_lane(key).is_some_and(is_low) {
            self.hungry.insert(key.clone());
        }
    }

    fn find_lane(&self, key: &EndpointKey) -> Option<&Lane<T>> {
        self.tenants.get(&key.tenant_id)?.lanes.get(&key.endpoint_id)
    }

    fn set_has_more(&mut self, key: &EndpointKey, has_more: bool) {
        let tenant = self.tenants.get_mut(&key.tenant_id);
        if let Some(lane) = tenant.and_then(|tenant| tenant.lanes.get_mut(&key.endpoint_id)) {
            lane.has_more = has_more;
        }
    }

    /// How many more deliveries all lanes together have room for.
    pub fn room(&self) -> usize {
        self.settings.items_max.saturating_sub(self.held.items)
    }

    fn keys(&self) -> impl Iterator<Item = EndpointKey> {
        self.tenants.iter().flat_map(|(tenant_id, tenant)| {
            let key = |id: &EndpointId| EndpointKey { tenant_id: tenant_id.clone(), endpoint_id: *id };
            tenant.lanes.keys().map(key)
        })
    }

    /// Whether a tenant with this many requests in flight may have one more: beyond half of the slots
    /// only while no other tenant waits.
    fn may_grow(&self, in_flight: usize) -> bool {
        in_flight < self.settings.slots_max.div_ceil(2) || self.turns.len() == 1
    }

    fn next_token(&self) -> Next<T> {
        self.throttled.first().map_or(Next::Idle, |(ready_at, _)| Next::WaitUntil(*ready_at))
    }

    /// Puts back among the ready the lanes whose token has come.
    fn release_throttled(&mut self, now: Timestamp) {
        while self.throttled.first().is_some_and(|(ready_at, _)| *ready_at <= now) {
            let (_, key) = self.throttled.pop_first().expect("there is a first");
            let lane = self.tenants.get_mut(&key.tenant_id).and_then(|t| t.lanes.get_mut(&key.endpoint_id));
            if let Some(lane) = lane {
                lane.throttled_until = None;
            }
            self.offer(&key, now);
        }
    }

    /// Puts a lane, and its tenant, in their places in the order of turns, or out of it.
    fn offer(&mut self, key: &EndpointKey, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(&key.tenant_id) else { return };
        if let Some(lane) = tenant.lanes.get_mut(&key.endpoint_id) {
            match lane.readiness(now) {
                Readiness::Ready => tenant.turns.set(key.endpoint_id, lane.in_flight),
                Readiness::Full => tenant.turns.remove(&key.endpoint_id),
                Readiness::Throttled(ready_at) => {
                    tenant.turns.remove(&key.endpoint_id);
                    if lane.throttled_until != Some(ready_at) {
                        if let Some(earlier) = lane.throttled_until.replace(ready_at) {
                            self.throttled.remove(&(earlier, key.clone()));
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

    /// Forgets lanes that hold nothing and whose bucket is full: new ones would be the same. Called now and
    /// then rather than at every end, so that a busy lane is not made anew for each delivery.
    pub fn forget_idle(&mut self, now: Timestamp) {
        let keys: Vec<_> = self.keys().collect();
        for key in keys {
            // One that holds nothing while the store may have more for it would otherwise wait for ever.
            self.note_hunger(&key);
            self.forget_if_idle(&key, now);
        }
    }

    fn forget_if_idle(&mut self, key: &EndpointKey, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(&key.tenant_id) else { return };
        if tenant.lanes.get(&key.endpoint_id).is_some_and(|lane| lane.is_idle(now)) {
            tenant.lanes.remove(&key.endpoint_id);
            tenant.turns.remove(&key.endpoint_id);
            if tenant.lanes.is_empty() {
                self.tenants.remove(&key.tenant_id);
                self.turns.remove(&key.tenant_id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
