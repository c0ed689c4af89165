//! Lanes for which the store has more, in the order in which they get room.
//!
//! Each tenant has a queue of its own, and tenants take turns. Who was served joins the end of the queue, so
//! that among thousands of endpoints that share little room each has its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use harbor_model::id::{EndpointId, TenantId};
use harbor_model::port::deliveries::EndpointKey;

/// Who waits for room.
#[derive(Debug)]
pub(crate) struct Hunger {
    queues: BTreeMap<TenantId, VecDeque<EndpointId>>,
    members: BTreeSet<EndpointKey>,
    endpoints_max: usize,
    /// Whether an endpoint found no place since all of them last did.
    has_turned_away: bool,
    /// The tenant that was served last.
    served_last: Option<TenantId>,
}

impl Hunger {
    /// Nobody waits; at most `endpoints_max` ever do.
    pub(crate) fn new(endpoints_max: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            members: BTreeSet::new(),
            endpoints_max,
            has_turned_away: false,
            served_last: None,
        }
    }

    /// Puts an endpoint at the end of its tenant's queue, unless it waits already. False where there is no
    /// place for it.
    pub(crate) fn add(&mut self, key: &EndpointKey) -> bool {
        if self.members.contains(key) {
            return true;
        }
        if self.is_full() {
            self.has_turned_away = true;
            return false;
        }
        self.members.insert(key.clone());
        self.queues.entry(key.tenant_id.clone()).or_default().push_back(key.endpoint_id);
        true
    }

    /// Does the same for one that has been here before. While others find no place, it waits until they
    /// have had their turn, or those that are served would never leave a place to them.
    pub(crate) fn add_again(&mut self, key: &EndpointKey) {
        if !self.has_turned_away {
            self.add(key);
        }
    }

    /// Says that everyone who has more in the store has found a place.
    pub(crate) fn all_found_place(&mut self) {
        self.has_turned_away = false;
    }

    /// Whether no more can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.members.len() >= self.endpoints_max
    }

    /// Whether an endpoint of this tenant waits.
    pub(crate) fn has(&self, tenant: &TenantId) -> bool {
        self.queues.contains_key(tenant)
    }

    /// Takes out, for each tenant in turn, as many as `room` allows it of those that wait longest.
    pub(crate) fn take(&mut self, room: impl Fn(&TenantId) -> usize) -> Vec<EndpointKey> {
        let first = self.served_last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.queues.range::<TenantId, _>((first, Bound::Unbounded));
        let turns: Vec<_> = after.chain(&self.queues).map(|(tenant, _)| tenant.clone()).collect();
        let mut taken = Vec::new();
        for tenant in turns.into_iter().take(self.queues.len()) {
            let Some(queue) = self.queues.get_mut(&tenant) else { continue };
            let count = room(&tenant).min(queue.len());
            if count == 0 {
                continue;
            }
            for endpoint_id in queue.drain(..count) {
                let key = EndpointKey { tenant_id: tenant.clone(), endpoint_id };
                self.members.remove(&key);
                taken.push(key);
            }
            if queue.is_empty() {
                self.queues.remove(&tenant);
            }
            self.served_last = Some(tenant);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, endpoint: u128) -> EndpointKey {
        EndpointKey { tenant_id: tenant.parse().unwrap(), endpoint_id: EndpointId::from_number(endpoint) }
    }

    fn taken(hunger: &mut Hunger, room: usize) -> Vec<String> {
        let keys = hunger.take(|_| room);
        keys.iter().map(|key| format!("{}{}", key.tenant_id, key.endpoint_id.number())).collect()
    }

    #[test]
    fn who_was_served_waits_behind_the_others() {
        let mut hunger = Hunger::new(100);
        for endpoint in [3, 1, 2, 1] {
            assert!(hunger.add(&key("a", endpoint)));
        }
        assert_eq!(taken(&mut hunger, 2), ["a3", "a1"]);
        hunger.add(&key("a", 3));
        assert_eq!(taken(&mut hunger, 2), ["a2", "a3"]);
        assert!(!hunger.has(&"a".parse().unwrap()));
        assert_eq!(taken(&mut hunger, 2), [""; 0]);
    }

    #[test]
    fn tenants_take_turns() {
        let mut hunger = Hunger::new(100);
        for tenant in ["a", "b", "c"] {
            (0..3).for_each(|endpoint| assert!(hunger.add(&key(tenant, endpoint))));
        }
        let only = |name: &'static str| move |tenant: &TenantId| usize::from(tenant.to_string() == name);
        assert_eq!(hunger.take(only("b")), [key("b", 0)]);
        assert_eq!(taken(&mut hunger, 1), ["c0", "a0", "b1"], "after the one that was served last");
        assert_eq!(taken(&mut hunger, 1), ["c1", "a1", "b2"]);
    }

    #[test]
    fn no_more_wait_than_there_are_places() {
        let mut hunger = Hunger::new(2);
        assert!(hunger.add(&key("a", 1)));
        assert!(hunger.add(&key("a", 2)));
        assert!(hunger.is_full());
        assert!(!hunger.add(&key("a", 3)));
        assert!(hunger.add(&key("a", 1)), "it waits already");
        assert_eq!(taken(&mut hunger, 1), ["a1"]);
        hunger.add_again(&key("a", 1));
        assert!(hunger.add(&key("a", 3)), "it is not for those that were served");
        assert_eq!(taken(&mut hunger, 9), ["a2", "a3"]);
        hunger.all_found_place();
        hunger.add_again(&key("a", 1));
        assert_eq!(taken(&mut hunger, 9), ["a1"]);
    }
}
