//! The way from publish to a worker in the same process, past the queue and the store.

use std::sync::Arc;

use crate::directory::EndpointView;
use crate::event::EventBody;
use crate::id::WorkerId;
use crate::port::deliveries::{EndpointKey, Lease};

/// Takes deliveries that were just committed straight into a worker's lanes.
///
/// `reserve`, commit, `hand_over`, in this order: a delivery is handed over only after its commit is
/// confirmed, and only into room that was there before it was born leased.
pub trait Handoff: Send + Sync {
    /// Reserves lane room for deliveries of one event, before they are stored. What is `None` asks for none:
    /// it waits in the store.
    fn reserve(&self, wanted: Vec<Option<LaneWanted>>, payload_bytes: u64) -> Reservation;

    /// Takes over deliveries that were born leased, after their commit is confirmed.
    fn hand_over(&self, event: Arc<EventBody>, leases: Vec<Lease>, reservation: Reservation);

    /// Says that deliveries of these endpoints may be due in the store. A hint: losing it costs time only.
    fn announce(&self, keys: &[EndpointKey]);
}

/// No worker in this process: everything waits in the store for the workers of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorker;

impl Handoff for NoWorker {
    fn reserve(&self, _: Vec<Option<LaneWanted>>, _: u64) -> Reservation {
        Reservation::none()
    }

    fn hand_over(&self, _: Arc<EventBody>, leases: Vec<Lease>, _: Reservation) {
        // Nothing is born leased without room. Dropped, they are free again.
        drop(leases);
    }

    fn announce(&self, _: &[EndpointKey]) {}
}

/// A lane that room is wanted in.
#[derive(Clone, Debug)]
pub struct LaneWanted {
    /// Which lane.
    pub key: EndpointKey,
    /// The endpoint as the publisher saw it: the lane learns its limits from it.
    pub view: Arc<EndpointView>,
}

/// Takes back room that was reserved.
pub trait LaneRoom: Send + Sync {
    /// Frees the room of one delivery in the lane.
    fn release(&self, key: &EndpointKey, payload_bytes: u64);
}

/// Room in lanes for the deliveries of one event. Dropping it frees what was not used.
pub struct Reservation {
    /// Who has the room; none where nobody has any.
    pub worker: Option<WorkerId>,
    granted: Vec<Option<EndpointKey>>,
    payload_bytes: u64,
    room: Option<Arc<dyn LaneRoom>>,
}

impl Reservation {
    /// Room for none: everything waits in the store.
    pub fn none() -> Self {
        Self { worker: None, granted: Vec::new(), payload_bytes: 0, room: None }
    }

    /// Room for those that are named, by position of the deliveries asked for. For workers alone.
    pub fn new(
        worker: WorkerId,
        granted: Vec<Option<EndpointKey>>,
        payload_bytes: u64,
        room: Arc<dyn LaneRoom>,
    ) -> Self {
        Self { worker: Some(worker), granted, payload_bytes, room: Some(room) }
    }

    /// The worker that has room for the delivery at this position.
    pub fn granted(&self, position: usize) -> Option<WorkerId> {
        self.granted.get(position)?.as_ref().and(self.worker)
    }

    /// Ends the reservation: its room is used. For workers alone.
    pub fn settle(mut self) {
        self.room = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        for key in self.granted.iter().flatten() {
            room.release(key, self.payload_bytes);
        }
    }
}
