//! What the lanes hold: room that is reserved, filled and freed, and the books of it.

use std::sync::Arc;

use harbor_model::directory::EndpointView;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::lane::{self, Gate};
use crate::lanes::room::BytesHeld;
use crate::lanes::{Lanes, place};

/// Whether a lane takes more.
pub(super) enum Admission {
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
    /// Takes no more than an endpoint that drains has tokens for, and at most half of the lane's room: the store
    /// is being asked meanwhile, and what is published in the meantime is to find room as well. What finds none
    /// is noted from here on, since the answer of the store will not show it.
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
        let allowance = self.allowance(key, now);
        let reserved = wanted.min(room.div_ceil(2)).min(allowance);
        if reserved > 0 {
            self.hold(key, view, reserved, 0, now);
            self.take_tokens(key, reserved, now);
            self.set_has_more(key, false);
        } else if allowance == 0 {
            self.set_has_more(key, true);
        }
        if reserved == allowance {
            self.run_dry(key, now);
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

    /// Frees the room of deliveries that the store was asked for and did not have.
    pub fn release_unused(&mut self, key: &EndpointKey, count: usize) {
        self.give_back_tokens(key, count);
        for _ in 0..count {
            self.release(key, 0);
        }
    }

    /// Takes out what waits in a lane, to be given back: the endpoint is held or gone.
    /// The caller releases the room of each.
    pub fn clear(&mut self, key: &EndpointKey, now: Timestamp) -> Vec<T> {
        let Some(lane) = self.find_lane_mut(key) else { return Vec::new() };
        let cleared = lane.waiting.drain(..).collect();
        lane.has_more = false;
        self.offer(key, now);
        cleared
    }

    /// Takes out everything that waits. The caller releases the room of each.
    pub fn clear_all(&mut self, now: Timestamp) -> Vec<T> {
        self.keys().iter().flat_map(|key| self.clear(key, now)).collect()
    }

    /// Whether the lane takes more. Makes the lane of a breaker that is known to be open, and of an endpoint
    /// that drains.
    fn admission(&mut self, key: &EndpointKey, view: &Arc<EndpointView>, now: Timestamp) -> Admission {
        let part = self.part_of(view);
        let is_held_back = self.known.contains_key(key) || view.endpoint.drain.is_some();
        if self.find_lane(key).is_none() && part.is_some() && is_held_back {
            self.make_lane(key, view, now);
        }
        let me = self.fleet.me();
        let (gate, items_max, items) = match (self.find_lane(key), part) {
            (Some(lane), _) => {
                let (items_max, items) = match lane.gate(me) {
                    // A probe is one more, whatever is still in flight from before.
                    Gate::Probe => (usize::from(!lane.has_probe()), 0),
                    Gate::Open | Gate::Shut => (lane.items_max(&self.settings), lane.items),
                };
                (lane.gate(me), items_max, items)
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
}
