//! The circuit breakers of lanes: what each worker makes of its own requests, and what all agree on.

use std::collections::BTreeSet;

use harbor_model::decide::breaker::{Breaker, Passage, Seen, Wish};
use harbor_model::port::breakers::{BreakerState, OpenBreaker};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::Lanes;
use crate::lanes::lane::{Asked, Gate, Lane};

/// A breaker that changed, as the store tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerNews {
    /// Of which endpoint.
    pub key: EndpointKey,
    /// How it stands now.
    pub state: BreakerState,
    /// How many are not closed now.
    pub open_breakers: usize,
}

impl<T> Lanes<T> {
    /// Takes in what came of a request to the URL of this version.
    pub fn saw(&mut self, key: &EndpointKey, url_version: u64, seen: Seen, now: Timestamp) {
        let me = self.fleet.me();
        let Some(lane) = self.find_lane_mut(key) else { return };
        // What another URL did says nothing of this one.
        if lane.view.endpoint.url_version != url_version {
            return;
        }
        let before = lane.breaker.passage(me);
        let policy = lane.view.policy.breaker;
        let wish = lane.breaker.saw(seen, &policy, me, now);
        lane.used_at = now;
        self.wish(key, wish);
        self.settle_breaker(key, before, now);
    }

    /// Takes in what is in force after a wish was carried out; none: closed.
    pub fn granted(&mut self, key: &EndpointKey, in_force: Option<OpenBreaker>, now: Timestamp) {
        self.asked_count -= 1;
        self.note_known(key, in_force);
        let me = self.fleet.me();
        let step = self.next_step();
        let lane = self.find_lane_mut(key).expect("a lane that wishes is not forgotten");
        let asked = lane.asked.take();
        lane.changed_in = step;
        if lane.wish.is_some() {
            // Overtaken: what is wished now decides.
            self.wishing.insert(key.clone());
            return;
        }
        let before = lane.breaker.passage(me);
        let is_of_this_url = asked.is_none_or(|asked| asked.url_version == lane.view.endpoint.url_version);
        self.adopt_known(key, is_of_this_url);
        self.settle_breaker(key, before, now);
    }

    /// Says that nobody knows whether a wish was carried out. It is wished again after
    /// [`Lanes::wish_again`].
    pub fn not_granted(&mut self, key: &EndpointKey) {
        self.asked_count -= 1;
        let lane = self.find_lane_mut(key).expect("a lane that wishes is not forgotten");
        let asked = lane.asked.take();
        if lane.wish.is_none() {
            lane.wish = asked.map(|asked| asked.wish);
        }
        self.failed_wishes.insert(key.clone());
    }

    /// Wishes again what could not be carried out.
    pub fn wish_again(&mut self) {
        let mut failed = std::mem::take(&mut self.failed_wishes);
        self.wishing.append(&mut failed);
    }

    /// Whether the store is being asked for something.
    pub fn has_wishes(&self) -> bool {
        self.asked_count > 0 || !self.wishing.is_empty()
    }

    /// Counts the changes of breakers, to tell [`Lanes::adopt`] what is older than a list.
    pub fn breaker_step(&self) -> u64 {
        self.breaker_step
    }

    /// Takes in the breakers that are not closed, as they were read after `step`. Where all were listed, the
    /// others are closed. What has changed here since is newer than the list.
    pub fn adopt(&mut self, listed: Vec<OpenBreaker>, is_complete: bool, step: u64, now: Timestamp) {
        let named: BTreeSet<_> = listed.iter().map(|open| &open.key).collect();
        let is_gone = |key: &&EndpointKey| is_complete && !named.contains(key);
        let gone: Vec<_> = self.known.keys().filter(is_gone).cloned().collect();
        let closed = gone.into_iter().map(|key| (key, None));
        let open = listed.into_iter().map(|open| (open.key.clone(), Some(open)));
        for (key, in_force) in closed.chain(open) {
            let is_newer =
                |lane: &Lane<T>| lane.wish.is_some() || lane.asked.is_some() || lane.changed_in > step;
            if self.find_lane(&key).is_some_and(is_newer) {
                continue;
            }
            self.note_known(&key, in_force);
            let me = self.fleet.me();
            let Some(lane) = self.find_lane(&key) else { continue };
            let before = lane.breaker.passage(me);
            self.adopt_known(&key, true);
            self.settle_breaker(&key, before, now);
        }
    }

    /// Asks to probe, where it is time. True where the breaker holds the lane shut.
    pub(super) fn ask_to_probe(&mut self, key: &EndpointKey, now: Timestamp) -> bool {
        let me = self.fleet.me();
        let Some(lane) = self.find_lane_mut(key) else { return false };
        let before = lane.breaker.passage(me);
        if !matches!(before, Passage::Held { .. }) {
            return false;
        }
        lane.has_more = true;
        let timeout = lane.view.policy.timeout.value;
        let wish = lane.breaker.ask_to_probe(me, timeout, now);
        self.wish(key, wish);
        self.settle_breaker(key, before, now);
        true
    }

    /// Forgets what was counted of a URL that is no longer the endpoint's.
    pub(super) fn forget_breaker(&mut self, key: &EndpointKey, now: Timestamp) {
        // The store forgets it with the change of the URL.
        self.note_known(key, None);
        let me = self.fleet.me();
        let step = self.next_step();
        let Some(lane) = self.find_lane_mut(key) else { return };
        let before = lane.breaker.passage(me);
        lane.changed_in = step;
        lane.wish = None;
        lane.breaker = Breaker::default();
        self.wishing.remove(key);
        self.failed_wishes.remove(key);
        self.settle_breaker(key, before, now);
    }

    /// Closes a breaker that is not to open, here and in the store.
    pub(super) fn lift_breaker(&mut self, key: &EndpointKey, now: Timestamp) {
        let me = self.fleet.me();
        let Some(lane) = self.find_lane_mut(key) else { return };
        if lane.breaker.is_closed() {
            return;
        }
        let before = lane.breaker.passage(me);
        // Whatever was wished and not yet asked for is no longer wanted.
        lane.wish = None;
        let wish = lane.breaker.lift();
        self.wish(key, wish);
        self.settle_breaker(key, before, now);
    }

    /// Brings a lane's breaker to what is known. One that is not to stand, since it is of another URL or its
    /// policy was switched off, is closed.
    pub(super) fn adopt_known(&mut self, key: &EndpointKey, is_of_this_url: bool) {
        let known = self.known.get(key);
        let tenant = self.tenants.get_mut(&key.tenant_id);
        let Some(lane) = tenant.and_then(|tenant| tenant.lanes.get_mut(&key.endpoint_id)) else { return };
        lane.breaker.adopt(known);
        if !is_of_this_url || !lane.view.policy.breaker.is_enabled {
            let wish = lane.breaker.lift();
            self.wish(key, wish);
        }
    }

    /// Does what follows from another passage than `before`: what waits behind a breaker that is open goes
    /// back, what is free again is asked for.
    fn settle_breaker(&mut self, key: &EndpointKey, before: Passage, now: Timestamp) {
        let me = self.fleet.me();
        let Some(lane) = self.find_lane(key) else { return };
        let passage = lane.breaker.passage(me);
        if passage == before {
            return;
        }
        if let Passage::Held { until } = passage {
            self.effects.wakeups.push((until, key.clone()));
        }
        self.settle_gate(key, now);
    }

    /// Does what follows from what may go through a lane now.
    pub(super) fn settle_gate(&mut self, key: &EndpointKey, now: Timestamp) {
        let me = self.fleet.me();
        let tenant = self.tenants.get_mut(&key.tenant_id);
        let Some(lane) = tenant.and_then(|tenant| tenant.lanes.get_mut(&key.endpoint_id)) else { return };
        let kept = match lane.gate(me) {
            Gate::Open => lane.waiting.len(),
            Gate::Probe => 1,
            Gate::Shut => 0,
        };
        if lane.waiting.len() > kept {
            self.effects.returned.extend(lane.waiting.drain(kept..));
            lane.has_more = true;
        }
        self.note_hunger(key);
        self.offer(key, now);
    }

    fn wish(&mut self, key: &EndpointKey, wish: Option<Wish>) {
        let Some(wish) = wish else { return };
        let step = self.next_step();
        let Some(lane) = self.find_lane_mut(key) else { return };
        lane.wish = Some(wish);
        lane.changed_in = step;
        // One at a time, or the store might hear them in another order.
        if lane.asked.is_none() {
            self.wishing.insert(key.clone());
        }
        self.failed_wishes.remove(key);
    }

    /// Takes the wishes that are to be carried out; each is to be answered by [`Lanes::granted`] or
    /// [`Lanes::not_granted`].
    pub(super) fn take_wishes(&mut self) -> Vec<(EndpointKey, Wish)> {
        let mut wishes = Vec::new();
        for key in std::mem::take(&mut self.wishing) {
            let Some(lane) = self.find_lane_mut(&key) else { continue };
            if let Some(wish) = lane.wish.take() {
                lane.asked = Some(Asked { wish, url_version: lane.view.endpoint.url_version });
                wishes.push((key, wish));
            }
        }
        self.asked_count += wishes.len();
        wishes
    }

    /// Notes how a breaker stands in the store, and tells where that is news.
    fn note_known(&mut self, key: &EndpointKey, in_force: Option<OpenBreaker>) {
        let state_of = |open: Option<&OpenBreaker>| open.map_or(BreakerState::Closed, OpenBreaker::state);
        let before = state_of(self.known.get(key));
        let state = state_of(in_force.as_ref());
        if let Some(open) = in_force {
            self.known.insert(key.clone(), open);
        } else {
            self.known.remove(key);
        }
        if state != before {
            let open_breakers = self.known.len();
            self.effects.breakers.push(BreakerNews { key: key.clone(), state, open_breakers });
        }
    }

    fn next_step(&mut self) -> u64 {
        self.breaker_step += 1;
        self.breaker_step
    }
}
