//! When the store is worth a look: the retries to come of this worker's own deliveries, and the next token.
//!
//! Notes save waiting, nothing more: whatever is forgotten, the walk over due endpoints finds.

use std::collections::BTreeSet;

use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

/// When to look, and where.
#[derive(Debug)]
pub(crate) struct Wakeups {
    notes: BTreeSet<(Timestamp, EndpointKey)>,
    notes_max: usize,
    token_at: Option<Timestamp>,
}

impl Wakeups {
    pub(crate) fn new(notes_max: usize) -> Self {
        Self { notes: BTreeSet::new(), notes_max, token_at: None }
    }

    /// Notes a look at an endpoint; says whether it is now the first of all.
    pub(crate) fn note(&mut self, instant: Timestamp, key: EndpointKey) -> bool {
        let is_first = self.next().is_none_or(|first| instant < first);
        if self.notes.len() < self.notes_max {
            self.notes.insert((instant, key));
        }
        is_first
    }

    /// Notes when a lane's next token comes; says whether it is now the first of all.
    pub(crate) fn note_token(&mut self, instant: Timestamp) -> bool {
        let is_first = self.next().is_none_or(|first| instant < first);
        self.token_at = Some(self.token_at.map_or(instant, |earlier| earlier.min(instant)));
        is_first
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let note = self.notes.first().map(|(instant, _)| *instant);
        note.into_iter().chain(self.token_at).min()
    }

    /// Takes the endpoints that are worth a look by `now`, each once.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<EndpointKey> {
        if self.token_at.is_some_and(|instant| instant <= now) {
            self.token_at = None;
        }
        let mut due = Vec::new();
        while self.notes.first().is_some_and(|(instant, _)| *instant <= now) {
            let (_, key) = self.notes.pop_first().expect("there is a first");
            due.push(key);
        }
        due.sort_unstable();
        due.dedup();
        due
    }
}

#[cfg(test)]
mod tests {
    use harbor_model::id::EndpointId;

    use super::*;

    #[test]
    fn the_earliest_note_comes_first_and_each_endpoint_once() {
        let key =
            |n| EndpointKey { tenant_id: "t".parse().unwrap(), endpoint_id: EndpointId::from_number(n) };
        let at = Timestamp::from_unix_ms;
        let mut wakeups = Wakeups::new(3);

        assert!(wakeups.note(at(50), key(1)));
        assert!(!wakeups.note(at(60), key(2)));
        assert!(wakeups.note(at(40), key(1)));
        assert!(!wakeups.note(at(70), key(3)), "there is no room, and it is not the first");
        assert!(wakeups.note_token(at(30)));
        assert_eq!(wakeups.next(), Some(at(30)));
        assert_eq!(wakeups.take(at(35)), []);
        assert_eq!(wakeups.next(), Some(at(40)));
        assert_eq!(wakeups.take(at(60)), [key(1), key(2)]);
        assert_eq!(wakeups.next(), None);
    }
}
