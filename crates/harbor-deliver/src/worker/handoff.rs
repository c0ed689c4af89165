//! What a publisher in the same process hands over: room for it, and the work itself.

use std::sync::Arc;

use harbor_model::event::EventBody;
use harbor_model::port::deliveries::{EndpointKey, Lease};
use harbor_model::port::handoff::{Handoff, LaneRoom, LaneWanted, Reservation};

use crate::worker::{Inner, Work, Worker};

impl LaneRoom for Inner {
    fn release(&self, key: &EndpointKey, payload_bytes: u64) {
        let is_hungry = {
            let mut lanes = self.lanes();
            lanes.release(key, payload_bytes);
            lanes.has_hungry()
        };
        self.left.notify_waiters();
        if is_hungry {
            self.look.notify_one();
        }
    }
}

impl Handoff for Worker {
    fn reserve(&self, mut wanted: Vec<Option<LaneWanted>>, payload_bytes: u64) -> Reservation {
        let inner = &self.0;
        if inner.stopping.is_cancelled() || inner.has_trouble() {
            return Reservation::none();
        }
        let Some(me) = inner.acting() else { return Reservation::none() };
        let now = inner.deps.clock.now();
        let (granted, effects) = {
            let mut lanes = inner.lanes();
            let mut grant = |wanted: &mut Option<LaneWanted>| {
                let LaneWanted { key, view } = wanted.take()?;
                lanes.reserve(&key, &view, payload_bytes, now).then_some(key)
            };
            let granted = wanted.iter_mut().map(&mut grant).collect();
            (granted, lanes.take_effects())
        };
        inner.carry_out(effects);
        Reservation::new(me, granted, payload_bytes, Arc::clone(inner) as Arc<dyn LaneRoom>)
    }

    fn hand_over(&self, event: Arc<EventBody>, leases: Vec<Lease>, reservation: Reservation) {
        let bytes = u64::try_from(event.payload.len()).expect("a length fits 64 bits");
        self.0.bodies.keep(&event);
        let work = |lease| Work { lease, body: Some(Arc::clone(&event)), bytes };
        self.0.fill(leases.into_iter().map(work).collect());
        reservation.settle();
        self.0.pump();
    }

    fn announce(&self, keys: &[EndpointKey]) {
        self.0.look_at(keys);
    }
}
