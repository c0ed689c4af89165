//! An order of turns: the fewest in flight first, and among equals whoever has waited longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Who may take a turn, in order.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    order: BTreeMap<(usize, u64), K>,
    places: HashMap<K, (usize, u64)>,
    next_ticket: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { order: BTreeMap::new(), places: HashMap::new(), next_ticket: 0 }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Places `key` by what it has in flight. One whose count has not changed keeps its place.
    pub(crate) fn set(&mut self, key: K, in_flight: usize) {
        if self.places.get(&key).is_some_and(|(count, _)| *count == in_flight) {
            return;
        }
        self.remove(&key);
        let place = (in_flight, self.next_ticket);
        self.next_ticket += 1;
        self.order.insert(place, key.clone());
        self.places.insert(key, place);
    }

    /// Takes `key` out of the order.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// Whose turn it is, if what it has in flight is acceptable. The others have no less.
    pub(crate) fn first(&self, accepts: impl Fn(usize) -> bool) -> Option<&K> {
        let ((in_flight, _), key) = self.order.first_key_value()?;
        accepts(*in_flight).then_some(key)
    }

    /// How many wait for a turn.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
