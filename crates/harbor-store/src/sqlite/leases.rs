//! Who is at work, and who holds which delivery. In memory alone: one process owns the store, and at its
//! start everything open is free.
//!
//! # Why a delivery that was delivered is never sent again
//!
//! A delivery ceases to be due only by a transaction whose author holds it here, from before the
//! transaction until after its commit ([`LeaseTable::close_in`], [`LeaseTable::seize`],
//! [`LeaseTable::take_away`]). So what remains is a reader whose snapshot is older than that commit and who
//! asks after the holder has let go: it would see the delivery due, and free. [`Refill`] closes this: from
//! before its snapshot is taken, what is let go after a commit is noted, and what is noted is not lent to
//! it. There is one refill at a time, so the note holds only what happened within that one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use harbor_model::id::{DeliveryId, TenantId, WorkerId};
use harbor_model::port::deliveries::{Lease, LeaseKeeper, LeaseKey, LeasedDelivery};
use harbor_model::port::workers::Roll;

/// The leases of the process.
#[derive(Default)]
pub(crate) struct LeaseTable {
    state: Mutex<State>,
    refilling: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Each worker that is enlisted, with its counter. Nobody else holds anything.
    enlisted: BTreeMap<WorkerId, u64>,
    held: HashMap<DeliveryId, Held>,
    last_number: u64,
    /// What was let go after a commit while a refill reads; none where none does.
    ended: Option<HashSet<DeliveryId>>,
}

struct Held {
    tenant_id: TenantId,
    /// None where the store itself holds it, to end it.
    worker: Option<WorkerId>,
    number: u64,
    /// Whether its end is being committed: it cannot be given back now.
    is_closing: bool,
    /// Whether its attempt is known to have begun.
    is_started: bool,
}

impl State {
    fn hold(&mut self, id: DeliveryId, tenant_id: TenantId, worker: Option<WorkerId>) -> Option<u64> {
        if worker.is_some_and(|worker| !self.enlisted.contains_key(&worker)) || self.held.contains_key(&id) {
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let held = Held { tenant_id, worker, number, is_closing: worker.is_none(), is_started: false };
        self.held.insert(id, held);
        Some(number)
    }

    fn find(&mut self, key: &LeaseKey) -> Option<&mut Held> {
        let held = self.held.get_mut(&key.delivery_id)?;
        (held.number == key.number && held.worker == Some(key.worker)).then_some(held)
    }

    fn end(&mut self, id: DeliveryId) {
        self.held.remove(&id);
        if let Some(ended) = &mut self.ended {
            ended.insert(id);
        }
    }
}

impl LeaseTable {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lease table panics")
    }

    /// Registers a worker: from now on it may hold leases.
    pub(crate) fn enlist(&self, worker: WorkerId) {
        self.state().enlisted.entry(worker).or_insert(0);
    }

    /// Raises the counter of a worker that is enlisted. Answers all counters.
    pub(crate) fn beat(&self, worker: WorkerId) -> Roll {
        let mut state = self.state();
        let count = state.enlisted.get_mut(&worker);
        let is_enlisted = count.map(|count| *count += 1).is_some();
        Roll { is_enlisted, counts: state.enlisted.iter().map(|(worker, count)| (*worker, *count)).collect() }
    }

    /// Strikes a worker off whose counter still stands at `count`, and takes from it what it holds. None
    /// where its counter has moved or it is not enlisted.
    ///
    /// What is being committed is left: its end is recorded, or its guard gives it back.
    pub(crate) fn bury(self: &Arc<Self>, worker: WorkerId, count: u64) -> Option<Vec<Bereft>> {
        let mut state = self.state();
        if state.enlisted.get(&worker) != Some(&count) {
            return None;
        }
        state.enlisted.remove(&worker);
        let of_worker =
            state.held.iter_mut().filter(|(_, held)| held.worker == Some(worker) && !held.is_closing);
        let bereft = of_worker.map(|(id, held)| {
            held.worker = None;
            held.is_closing = true;
            let seized = Seized { table: self.clone(), id: *id };
            Bereft { tenant_id: held.tenant_id.clone(), is_started: held.is_started, seized }
        });
        Some(bereft.collect())
    }

    /// Strikes a worker off, and frees what it holds unless its end is being committed.
    pub(crate) fn discharge(&self, worker: WorkerId) {
        let mut state = self.state();
        state.enlisted.remove(&worker);
        state.held.retain(|_, held| held.worker != Some(worker) || held.is_closing);
    }

    /// Notes that the attempt of a lease begins. False where it was lost.
    pub(crate) fn note_start(&self, key: &LeaseKey) -> bool {
        let mut state = self.state();
        let Some(held) = state.find(key) else { return false };
        held.is_started = true;
        true
    }

    /// Lends a delivery that is being born. None where its worker is not enlisted, or where it is held,
    /// which a new id never is.
    pub(crate) fn lend_new(self: &Arc<Self>, delivery: LeasedDelivery, worker: WorkerId) -> Option<Lease> {
        let tenant_id = delivery.key.tenant_id.clone();
        let number = self.state().hold(delivery.delivery_id, tenant_id, Some(worker))?;
        Some(Lease::new(delivery, worker, number, self.clone()))
    }

    /// Begins to lend what a snapshot shows as due; the snapshot must be taken after this.
    pub(crate) fn refill(self: &Arc<Self>) -> Refill<'_> {
        // Poisoned or not, it guards nothing but the turn.
        let turn = self.refilling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.state().ended = Some(HashSet::new());
        Refill { table: self, _turn: turn }
    }

    /// Begins to end a lease: from now on it cannot be given back. False where it was lost.
    pub(crate) fn close_in(&self, key: &LeaseKey) -> bool {
        let mut state = self.state();
        let Some(held) = state.find(key) else { return false };
        held.is_closing = true;
        true
    }

    /// Undoes [`LeaseTable::close_in`], since nothing was committed.
    pub(crate) fn reopen(&self, key: &LeaseKey) {
        if let Some(held) = self.state().find(key) {
            held.is_closing = false;
        }
    }

    /// Ends a lease whose consequence is committed.
    pub(crate) fn end(&self, key: &LeaseKey) {
        let mut state = self.state();
        if state.find(key).is_some() {
            state.end(key.delivery_id);
        }
    }

    /// Takes a delivery that nobody holds, to end it.
    pub(crate) fn seize(self: &Arc<Self>, tenant_id: &TenantId, id: DeliveryId) -> Option<Seized> {
        self.state().hold(id, tenant_id.clone(), None)?;
        Some(Seized { table: self.clone(), id })
    }

    /// Takes a delivery to end it, also from a worker that holds it, whose lease is lost with that.
    ///
    /// None where somebody holds it until a commit of theirs: a result of it is part of this transaction, or
    /// the store has it in hand and will find it ended. Then nobody can lend it before this commit either.
    /// For work in the writer's turn alone.
    pub(crate) fn take_away(self: &Arc<Self>, tenant_id: &TenantId, id: DeliveryId) -> Option<Seized> {
        let mut state = self.state();
        if state.held.get(&id).is_some_and(|held| held.is_closing) {
            return None;
        }
        state.held.remove(&id);
        state.hold(id, tenant_id.clone(), None)?;
        Some(Seized { table: self.clone(), id })
    }

    /// Whether a lease still stands.
    pub(crate) fn stands(&self, key: &LeaseKey) -> bool {
        self.state().find(key).is_some()
    }

    /// Whether a worker holds it.
    pub(crate) fn is_leased(&self, id: DeliveryId) -> bool {
        self.state().held.get(&id).is_some_and(|held| held.worker.is_some())
    }

    /// What of a tenant workers hold.
    pub(crate) fn leased_of(&self, tenant_id: &TenantId) -> Vec<DeliveryId> {
        let state = self.state();
        let of_tenant =
            state.held.iter().filter(|(_, held)| held.worker.is_some() && held.tenant_id == *tenant_id);
        of_tenant.map(|(id, _)| *id).collect()
    }

    /// What anybody holds.
    pub(crate) fn held(&self) -> HashSet<DeliveryId> {
        self.state().held.keys().copied().collect()
    }

    /// What a worker holds.
    pub(crate) fn leases_of(&self, worker: WorkerId) -> Vec<LeaseKey> {
        let state = self.state();
        let of_worker = state.held.iter().filter(|(_, held)| held.worker == Some(worker));
        of_worker
            .map(|(id, held)| LeaseKey {
                tenant_id: held.tenant_id.clone(),
                delivery_id: *id,
                worker,
                number: held.number,
            })
            .collect()
    }
}

impl LeaseKeeper for LeaseTable {
    fn give_back(&self, key: LeaseKey) {
        let mut state = self.state();
        if state.find(&key).is_some_and(|held| !held.is_closing) {
            state.held.remove(&key.delivery_id);
        }
    }
}

/// A turn of lending what a snapshot shows as due.
pub(crate) struct Refill<'a> {
    table: &'a Arc<LeaseTable>,
    _turn: MutexGuard<'a, ()>,
}

impl Refill<'_> {
    /// Whether it could be lent.
    pub(crate) fn is_free(&self, id: DeliveryId) -> bool {
        let state = self.table.state();
        !state.held.contains_key(&id) && !state.ended.as_ref().is_some_and(|ended| ended.contains(&id))
    }

    /// Lends a delivery, unless it is held, its state has changed since the snapshot, or its worker is not
    /// enlisted.
    pub(crate) fn lend(&self, delivery: LeasedDelivery, worker: WorkerId) -> Option<Lease> {
        let mut state = self.table.state();
        let id = delivery.delivery_id;
        if state.ended.as_ref().is_some_and(|ended| ended.contains(&id)) {
            return None;
        }
        let number = state.hold(id, delivery.key.tenant_id.clone(), Some(worker))?;
        drop(state);
        Some(Lease::new(delivery, worker, number, self.table.clone()))
    }
}

impl Drop for Refill<'_> {
    fn drop(&mut self) {
        self.table.state().ended = None;
    }
}

/// A delivery whose holder was buried. The store holds it until the interruption is counted.
pub(crate) struct Bereft {
    pub(crate) tenant_id: TenantId,
    /// Whether its attempt is known to have begun.
    pub(crate) is_started: bool,
    seized: Seized,
}

impl Bereft {
    /// Which delivery.
    pub(crate) fn id(&self) -> DeliveryId {
        self.seized.id
    }
}

/// A delivery that the store holds itself, to end it. Dropping it lets go.
pub(crate) struct Seized {
    table: Arc<LeaseTable>,
    id: DeliveryId,
}

impl Drop for Seized {
    fn drop(&mut self) {
        // Noted even where nothing was committed: the refill under way passes it over, the next finds it.
        self.table.state().end(self.id);
    }
}

#[cfg(test)]
mod tests;
