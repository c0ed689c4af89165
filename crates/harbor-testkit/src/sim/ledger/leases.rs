//! Who holds what: one at a time, and nobody who was declared dead.

use harbor_model::delivery::DeliveryStatus;
use harbor_model::id::{DeliveryId, WorkerId};
use harbor_model::port::deliveries::LeaseKey;
use harbor_model::time::Timestamp;

use crate::sim::ledger::requests::Ending;
use crate::sim::ledger::{Ledger, NodeId};

impl Ledger {
    /// Says that a lease was handed out.
    pub(crate) fn lent(&mut self, key: &LeaseKey) {
        let label = self.label_of(key.delivery_id);
        if let Some(holder) = self.leases.get(&key.delivery_id).cloned() {
            self.violated(format!(
                "{label} is lent to {} as {} while {} holds it as {}",
                self.name_of(key.worker),
                key.number,
                self.name_of(holder.worker),
                holder.number,
            ));
        }
        match self.deliveries.get(&key.delivery_id) {
            None => self.violated(format!("{label} is lent and was never stored")),
            Some(delivery) if delivery.is_final() => {
                let status = delivery.status;
                self.violated(format!("{label} is lent though it is {status}"));
            }
            Some(_) => {}
        }
        self.leases.insert(key.delivery_id, key.clone());
    }

    /// Says that a lease was given back.
    pub(crate) fn returned(&mut self, key: &LeaseKey) {
        if self.holds(key) {
            self.leases.remove(&key.delivery_id);
        }
    }

    /// Says that a delivery was ended by hand, whoever holds it.
    pub(crate) fn taken_away(&mut self, id: DeliveryId, status: DeliveryStatus, at: Timestamp) {
        self.deliveries.get_mut(&id).expect("it is known").ends(status, at);
        if self.leases.remove(&id).is_some() {
            let busy = self.nodes.iter().filter(|(_, facts)| !facts.is_settled);
            self.on_the_way.extend(busy.map(|(node, _)| (*node, id)));
        }
        self.disturb();
    }

    /// Whether this lease is in force.
    pub(crate) fn holds(&self, key: &LeaseKey) -> bool {
        self.leases.get(&key.delivery_id) == Some(key)
    }

    /// Says that a worker holds nothing any more, by its own word or another's.
    pub(crate) fn bereaved(&mut self, worker: WorkerId) {
        let name = self.name_of(worker);
        let before = self.leases.len();
        self.leases.retain(|_, key| key.worker != worker);
        let lost = before - self.leases.len();
        for request in &mut self.requests {
            let is_its = request.lease.as_ref().is_some_and(|key| key.worker == worker);
            request.is_cut |= is_its && request.ending == Ending::None;
        }
        self.deaths += 1;
        self.disturb();
        self.note(format_args!("{name} is struck off and loses {lost} leases"));
    }

    /// Says that the whole process has ended: leases that live in its memory are gone.
    pub(crate) fn all_leases_end(&mut self) {
        self.leases.clear();
    }

    /// Says that a node enlists, under a name that nobody had before.
    pub(crate) fn enlisted(&mut self, node: NodeId, worker: WorkerId) {
        let before = self.workers.insert(worker, node);
        self.hold(before.is_none_or(|before| before == node), || format!("{node} takes another's name"));
        self.disturb();
    }

    pub(crate) fn name_of(&self, worker: WorkerId) -> String {
        self.workers.get(&worker).map_or_else(|| worker.to_string(), ToString::to_string)
    }
}
