//! Publish: an event and its deliveries, committed together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::event::{EventBody, FanOutRecord};
use crate::id::{DeliveryId, EndpointId, EventId, WorkerId};
use crate::lane::LaneKey;
use crate::port::Fault;
use crate::port::deliveries::Lease;
use crate::time::Timestamp;

/// Takes events in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Stores each event with its deliveries, durably, and answers for each.
    ///
    /// Each event is atomic, the batch is not. Answers stand in the order of the events.
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>>;
}

/// An event to be stored, with its fan-out.
#[derive(Debug)]
pub struct NewEvent {
    /// What requests need of it.
    pub body: Arc<EventBody>,
    /// See [`crate::event::Event::occurred_at`].
    pub occurred_at: Option<Timestamp>,
    /// See [`crate::event::Event::deliver_at`].
    pub deliver_at: Option<Timestamp>,
    /// See [`crate::event::Event::ordering_key`].
    pub ordering_key: Option<String>,
    /// What makes a repeat of it a duplicate.
    pub idempotency: Option<IdempotencyClaim>,
    /// See [`crate::event::Event::metadata`].
    pub metadata: BTreeMap<String, String>,
    /// What is kept of its fan-out.
    pub fan_out: FanOutRecord,
    /// Its deliveries; as many as `fan_out` counts.
    pub deliveries: Vec<NewDelivery>,
    /// The version of the tenant's directory that the fan-out was chosen by; none where it does not
    /// depend on subscriptions.
    pub directory_version: Option<u64>,
}

/// A delivery to be stored with its event.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Names it.
    pub id: DeliveryId,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// When it is first tried; in an ordered lane, as soon as it is the head.
    pub due_at: Timestamp,
    /// The ordered lane that it joins. It is then not born leased.
    pub lane: Option<LaneKey>,
    /// The worker that it is born leased to; none where it waits in the store.
    pub leased_to: Option<WorkerId>,
}

/// A claim on an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// The key as the caller wrote it.
    pub key: String,
    /// SHA-256 of the event's type and payload bytes: what a repeat must agree in. Of an event that came in at a
    /// source, of the source alone: the key says enough.
    pub fingerprint: [u8; 32],
    /// When the key is free again.
    pub expires_at: Timestamp,
    /// Whether each repeat moves that time to its own `expires_at`.
    pub slides: bool,
}

/// What came of one event.
#[derive(Debug)]
pub enum Published {
    /// It is on durable storage with its deliveries.
    Stored {
        /// The leases of those that were born leased, in the order of the deliveries.
        leases: Vec<Lease>,
    },
    /// The key was used for the same event before. Nothing was stored.
    Duplicate {
        /// The first event.
        event_id: EventId,
        /// The fan-out of the first event.
        fan_out_count: u32,
    },
    /// The key was used for another event. Nothing was stored.
    KeyReused,
    /// The directory has changed since the fan-out was chosen. Nothing was stored; choose again.
    Stale {
        /// The directory's present version.
        directory_version: u64,
    },
    /// The tenant is gone. Nothing was stored.
    NoTenant,
    /// The tenant has more waiting to be stored than its share. Nothing was stored; try again soon.
    Crowded,
}
