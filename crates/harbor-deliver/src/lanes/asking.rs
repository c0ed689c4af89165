//! Which lanes want more from the store, and when they may ask for it.

use std::sync::Arc;

use harbor_model::directory::EndpointView;
use harbor_model::id::TenantId;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::Lanes;
use crate::lanes::holding::Admission;
use crate::lanes::lane::Gate;
use crate::lanes::room::LANE_ITEMS_FLOOR;

impl<T> Lanes<T> {
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
            Some(lane) if lane.items > 0 || lane.is_dry() => {
                self.note_hunger(key);
                true
            }
            _ => self.note_waiting(key),
        }
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

    /// Notes that something was not admitted, and waits in the store.
    pub(super) fn note_refused(&mut self, key: &EndpointKey, admission: &Admission) {
        self.set_has_more(key, true);
        match self.find_lane(key) {
            _ if matches!(admission, Admission::Shut) => {}
            Some(lane) if lane.items > 0 || lane.is_dry() => self.note_hunger(key),
            // Nothing will leave the lane and tell of its hunger: it waits for room of its tenant's.
            Some(_) | None => self.note_waiting_again(key),
        }
    }

    /// Notes that a lane waits for room, where it has run low while the store has more.
    pub(super) fn note_hunger(&mut self, key: &EndpointKey) {
        let me = self.fleet.me();
        let tenant_items = self.tenants.get(&key.tenant_id).map_or(0, |tenant| tenant.items);
        let Some(lane) = self.find_lane(key).filter(|lane| !lane.is_dry()) else { return };
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
    pub(super) fn note_food(&mut self, tenant_id: &TenantId) {
        if self.is_hungry || !self.hunger.has(tenant_id) {
            return;
        }
        let items = self.tenants.get(tenant_id).map_or(0, |tenant| tenant.items);
        let limit = self.settings.tenant_items_limit(self.held.items);
        self.is_hungry = items + LANE_ITEMS_FLOOR.min(limit.max(1)) <= limit;
    }

    pub(super) fn set_has_more(&mut self, key: &EndpointKey, has_more: bool) {
        if let Some(lane) = self.find_lane_mut(key) {
            lane.has_more = has_more;
        }
    }
}
