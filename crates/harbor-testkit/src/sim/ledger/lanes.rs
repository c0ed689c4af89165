//! Ordered lanes: what of one key was published before goes before.

use std::collections::BTreeSet;

use harbor_model::id::{DeliveryId, EndpointId};
use harbor_model::lane::{LaneKey, OrderedLane};
use harbor_model::policy::order::OnDead;
use harbor_model::time::Timestamp;

use crate::sim::ledger::requests::RequestFacts;
use crate::sim::ledger::{DeliveryFacts, Ledger};

impl Ledger {
    /// A request of an ordered lane is that of its head: nobody of the lane is in flight, nobody who was published
    /// before it is open, and no dead head holds it.
    pub(crate) fn check_order(&mut self, request: &RequestFacts) {
        let delivery = &self.deliveries[&request.delivery];
        let Some(lane) = delivery.lane.clone() else { return };
        let (label, endpoint, event) = (delivery.label.clone(), delivery.endpoint, delivery.event);
        let is_replay = delivery.replay_of.is_some();
        let is_dazed = self.nodes.get(&request.node).is_none_or(|facts| facts.is_dazed);
        let was_disabled = self.endpoints[&endpoint].was_disabled;
        let is_held = self.held_lanes.contains(&(endpoint, lane.clone()));
        self.hold(!is_held || was_disabled || is_dazed, || {
            format!("{label} is sent though its lane is held")
        });

        let asked = self.events[&event].asked;
        let of_lane = self.deliveries.iter().filter(|(id, other)| {
            **id != request.delivery
                && other.endpoint == endpoint
                && other.lane.as_ref() == Some(&lane)
                && !other.is_final()
        });
        let mut overtaken = Vec::new();
        let mut beside = Vec::new();
        for (id, other) in of_lane {
            let was_first = self.events[&other.event].answered.is_some_and(|answered| answered < asked);
            if was_first && !is_replay && other.replay_of.is_none() {
                overtaken.push(other.label.clone());
            }
            let is_beside = |one: &&RequestFacts| one.delivery == *id && one.is_in_flight() && !one.is_cut;
            if self.requests.iter().any(|one| is_beside(&one)) {
                beside.push(other.label.clone());
            }
        }
        self.hold(overtaken.is_empty() || is_dazed, || {
            format!("{label} overtakes {overtaken:?} in its lane")
        });
        self.hold(beside.is_empty() || is_dazed, || {
            format!("{label} is sent while {beside:?} of its lane is")
        });
    }

    /// When a delivery is due; one that waits behind the head of its lane is not.
    pub(crate) fn due_at_of(&self, id: DeliveryId, delivery: &DeliveryFacts) -> Option<Timestamp> {
        match delivery.lane {
            None => delivery.due_at,
            // The store alone knows when the turn of one came.
            Some(_) => self.heads.get(&id).copied().flatten(),
        }
    }

    /// Says that the head of a lane died by an attempt, or for want of one.
    pub(crate) fn head_died(&mut self, id: DeliveryId) {
        let delivery = &self.deliveries[&id];
        let Some(lane) = delivery.lane.clone() else { return };
        if self.endpoints[&delivery.endpoint].on_dead == OnDead::Hold {
            let place = (delivery.endpoint, lane);
            self.held_lanes.insert(place);
        }
    }

    /// Says that a lane moves again.
    pub(crate) fn lane_moves(&mut self, endpoint: EndpointId, key: &LaneKey) {
        self.note(format_args!("the lane `{key}` of {endpoint} is released"));
        self.held_lanes.remove(&(endpoint, key.clone()));
    }

    /// Holds the lanes of an endpoint against what the store shows of them: whoever is open in a lane has a head
    /// before it, or is one.
    pub(crate) fn see_lanes(&mut self, endpoint: EndpointId, lanes: &[OrderedLane]) {
        for lane in lanes {
            let Some(head) = &lane.head else { continue };
            let is_held = lane.held_at.is_some();
            let known = self.deliveries.get(&head.delivery_id);
            let is_open = known.is_some_and(|delivery| !delivery.is_final());
            self.hold(is_held || is_open, || {
                format!(
                    "the lane `{}` of {endpoint} has a head that has ended and does not hold it",
                    lane.key
                )
            });
            if is_open {
                self.heads.insert(head.delivery_id, head.next_attempt_at);
            }
            let expected = self.held_lanes.contains(&(endpoint, lane.key.clone()));
            self.hold(!is_held || expected, || {
                format!("the lane `{}` of {endpoint} is held by itself", lane.key)
            });
        }
        let shown: BTreeSet<&LaneKey> = lanes.iter().map(|lane| &lane.key).collect();
        let stuck = self.deliveries.values().find(|delivery| {
            delivery.endpoint == endpoint
                && !delivery.is_final()
                && delivery.replay_of.is_none()
                && delivery.lane.as_ref().is_some_and(|lane| !shown.contains(lane))
        });
        if let Some(stuck) = stuck {
            let label = stuck.label.clone();
            self.violated(format!("{label} waits in a lane that is not there"));
        }
        let shown: BTreeSet<LaneKey> = shown.into_iter().cloned().collect();
        let was_disabled = self.endpoints[&endpoint].was_disabled;
        let gone: Vec<_> = self
            .held_lanes
            .iter()
            .filter(|(of, lane)| *of == endpoint && !shown.contains(lane))
            .cloned()
            .collect();
        self.hold(gone.is_empty() || was_disabled, || format!("lanes that are held have gone: {gone:?}"));
        for place in gone {
            self.held_lanes.remove(&place);
        }
    }
}
