//! Subscriptions: which event types go to which endpoint.

use crate::event_type::EventTypePattern;
use crate::id::{EndpointId, SubscriptionId, TenantId};
use crate::time::Timestamp;

/// An event type pattern and the endpoint that wants what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Names it.
    pub id: SubscriptionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it matches.
    pub pattern: EventTypePattern,
    /// Where that goes.
    pub endpoint_id: EndpointId,
    /// Raised by every change; guards changes against each other.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
