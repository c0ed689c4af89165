//! What may be gone by its age.

use std::collections::BTreeSet;
use std::time::Duration;

use harbor_model::id::{DeliveryId, EventId};
use harbor_model::policy::retention::{DEAD_LETTERS_DEFAULT, HISTORY_DEFAULT};
use harbor_model::time::Timestamp;

use crate::sim::ledger::{DeliveryFacts, Ledger};

impl Ledger {
    /// Whether an event may be gone: it is old, and nothing of it is needed any more.
    pub(crate) fn was_swept(&self, id: EventId) -> bool {
        let now = self.now();
        let event = &self.events[&id];
        let is_over = |since: Timestamp, kept: Duration| now.since(since) >= kept;
        is_over(event.created_at, HISTORY_DEFAULT)
            && self.deliveries.values().filter(|one| one.event == id).all(|one| self.may_go(one))
    }

    fn may_go(&self, delivery: &DeliveryFacts) -> bool {
        let now = self.now();
        delivery.is_final()
            && delivery.dead_at.is_none_or(|dead_at| now.since(dead_at) >= DEAD_LETTERS_DEFAULT)
    }

    /// Forgets old deliveries that the store no longer has, with the events of which nothing is left.
    pub(crate) fn forget_swept(&mut self, seen: &BTreeSet<DeliveryId>, events: &BTreeSet<EventId>) {
        let now = self.now();
        let gone: Vec<_> = self
            .deliveries
            .iter()
            .filter(|(id, one)| {
                !seen.contains(id) && now.since(id.made_at()) >= HISTORY_DEFAULT && self.may_go(one)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.deliveries.remove(&id);
        }
        let gone: Vec<_> =
            self.events.keys().filter(|id| !events.contains(id) && self.was_swept(**id)).copied().collect();
        for id in gone {
            self.events.remove(&id);
        }
    }
}
