//! Who sends next: the order of turns, and the tokens of rate limits.

use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::lane::Readiness;
use crate::lanes::{Lanes, Next, SLOTS_FLOOR, place};

impl<T> Lanes<T> {
    /// Chooses who sends next, if a slot is free.
    pub fn next(&mut self, now: Timestamp) -> Next<T> {
        self.release_throttled(now);
        self.release_dry(now);
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

    /// Whether a tenant with this many requests in flight may have one more: as long as it has no more than
    /// what is free, since a slow receiver holds its slot long after others have come, and beyond half of
    /// the slots only while no other tenant waits.
    fn may_grow(&self, in_flight: usize) -> bool {
        let free = self.settings.slots_max - self.held.in_flight;
        in_flight < free.max(SLOTS_FLOOR)
            && (in_flight < self.settings.slots_max.div_ceil(2) || self.turns.len() == 1)
    }

    fn next_token(&self) -> Next<T> {
        let token_at = self.throttled.first().into_iter().chain(self.dry.first()).map(|(at, _)| *at).min();
        token_at.map_or(Next::Idle, Next::WaitUntil)
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
    pub(super) fn offer(&mut self, key: &EndpointKey, now: Timestamp) {
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
}
