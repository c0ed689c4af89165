//! Events: facts that tenants published.

pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::trace::TraceContext;
use crate::event_type::EventType;
use crate::id::{EndpointId, EventId, TenantId};
use crate::time::Timestamp;

/// What of an event a request to an endpoint needs. Shared by all deliveries of the event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBody {
    /// Names the event.
    pub id: EventId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its type.
    pub event_type: EventType,
    /// The bytes as they were published or received.
    pub payload: Bytes,
    /// The media type of the payload; none for JSON that was published.
    pub content_type: Option<String>,
    /// The original headers of a relayed request.
    pub headers: Vec<(String, String)>,
    /// The trace that began at publish.
    pub trace: TraceContext,
    /// When it was published.
    pub created_at: Timestamp,
}

/// An event with everything that was said of it, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What a request needs of it.
    pub body: Arc<EventBody>,
    /// When it happened, if the publisher said so.
    pub occurred_at: Option<Timestamp>,
    /// When its deliveries are first tried, if not at once.
    pub deliver_at: Option<Timestamp>,
    /// What it is ordered by.
    pub ordering_key: Option<String>,
    /// What makes a repeated publish of it a duplicate.
    pub idempotency_key: Option<String>,
    /// For programs.
    pub metadata: BTreeMap<String, String>,
    /// Whom it went to.
    pub fan_out: FanOutRecord,
    /// Whether its payload was removed for good. An empty payload alone does not say so.
    pub is_expunged: bool,
}

/// What is kept of a fan-out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FanOutRecord {
    /// How many deliveries it made.
    pub count: u32,
    /// Endpoints that it was for and that were disabled, or had been deleted; at most [`SKIPPED_KEPT_MAX`].
    pub skipped: Vec<EndpointId>,
}

/// The most endpoints that an event names as skipped.
pub const SKIPPED_KEPT_MAX: usize = 100;

/// Why an event made no delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// No subscription matches its type.
    NoSubscription,
    /// Every endpoint that wants it is disabled.
    EndpointsDisabled,
}

impl FanOutRecord {
    /// Why there is no delivery, if there is none.
    pub fn unmatched(&self) -> Option<Unmatched> {
        match (self.count, self.skipped.is_empty()) {
            (0, true) => Some(Unmatched::NoSubscription),
            (0, false) => Some(Unmatched::EndpointsDisabled),
            (_, _) => None,
        }
    }
}

/// An event as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSummary {
    /// Names it.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it was published.
    pub created_at: Timestamp,
    /// When it happened, if the publisher said so.
    pub occurred_at: Option<Timestamp>,
    /// What makes a repeated publish of it a duplicate.
    pub idempotency_key: Option<String>,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// How many deliveries it made.
    pub fan_out_count: u32,
}
