//! Event bodies in memory, shared by all deliveries of an event for as long as one of them is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use harbor_model::event::EventBody;
use harbor_model::id::EventId;

/// The bodies that something still holds.
#[derive(Debug, Default)]
pub(crate) struct Bodies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bodies: HashMap<EventId, Weak<EventBody>>,
    /// The size at which what is gone is swept out.
    sweep_at: usize,
}

/// Below this many, sweeping costs more than it frees.
const SWEEP_AT_MIN: usize = 1024;

impl Bodies {
    /// Remembers a body while others hold it.
    pub(crate) fn keep(&self, body: &Arc<EventBody>) {
        let mut known = self.lock();
        if known.bodies.len() >= known.sweep_at.max(SWEEP_AT_MIN) {
            known.bodies.retain(|_, body| body.strong_count() > 0);
            known.sweep_at = known.bodies.len() * 2;
        }
        known.bodies.insert(body.id, Arc::downgrade(body));
    }

    /// The body, if something still holds it.
    pub(crate) fn find(&self, id: EventId) -> Option<Arc<EventBody>> {
        self.lock().bodies.get(&id).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no look-up panics")
    }
}
