//! Reading what happened.

use async_trait::async_trait;

use crate::delivery::{Cause, DeadLetterState, Delivery, DeliveryStatus, DeliveryWithAttempts};
use crate::event::{Event, EventSummary};
use crate::event_type::EventType;
use crate::id::{DeliveryId, EndpointId, EventId, TenantId};
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::time::Timestamp;

/// Reads events, deliveries and dead letters, always of one tenant.
#[async_trait]
pub trait History: Send + Sync {
    /// Lists events, newest first.
    async fn events(
        &self,
        tenant: &TenantId,
        filter: EventFilter,
        page: PageAsk,
    ) -> Result<Page<EventSummary>, Fault>;

    /// Reads one event.
    async fn find_event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, Fault>;

    /// Lists deliveries, newest first.
    async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: DeliveryFilter,
        page: PageAsk,
    ) -> Result<Page<Delivery>, Fault>;

    /// Lists the deliveries of one event with their attempts, newest first.
    async fn deliveries_of_event(
        &self,
        tenant: &TenantId,
        event: EventId,
        filter: DeliveryFilter,
        page: PageAsk,
    ) -> Result<Page<DeliveryWithAttempts>, Fault>;

    /// Reads one delivery with its attempts.
    async fn find_delivery(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryWithAttempts>, Fault>;

    /// Lists dead deliveries, newest first.
    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: DeadLetterFilter,
        page: PageAsk,
    ) -> Result<Page<Delivery>, Fault>;

    /// Counts open dead letters by endpoint and cause.
    async fn dead_letter_summary(&self, tenant: &TenantId) -> Result<DeadLetterSummary, Fault>;
}

/// Open dead letters, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterSummary {
    /// By endpoint and cause, the most first.
    pub groups: Vec<DeadLetterGroup>,
    /// Whether all were counted: at most [`DEAD_LETTERS_COUNTED_MAX`] are.
    pub is_complete: bool,
}

/// Open dead letters of one endpoint that died of one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterGroup {
    /// Of which endpoint.
    pub endpoint_id: EndpointId,
    /// Dead of what.
    pub cause: Cause,
    /// How many.
    pub count: u64,
    /// When the first of them died.
    pub first_dead_at: Timestamp,
    /// When the last of them died.
    pub last_dead_at: Timestamp,
}

/// The most dead letters that a summary counts.
pub const DEAD_LETTERS_COUNTED_MAX: u64 = 1_000_000;

/// Which events a list shows. What is `None` does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Published with this key.
    pub idempotency_key: Option<String>,
    /// Published at or after.
    pub since: Option<Timestamp>,
    /// Published before.
    pub until: Option<Timestamp>,
}

/// Which deliveries a list shows. What is `None` does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// To this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Of this event.
    pub event_id: Option<EventId>,
    /// Of events of this type.
    pub event_type: Option<EventType>,
    /// That stand so.
    pub status: Option<DeliveryStatus>,
    /// Made at or after.
    pub since: Option<Timestamp>,
    /// Made before.
    pub until: Option<Timestamp>,
}

/// Which dead letters a list shows. What is `None` does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// To this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Of events of this type.
    pub event_type: Option<EventType>,
    /// Dead for this cause.
    pub cause: Option<Cause>,
    /// In this state.
    pub state: Option<DeadLetterState>,
    /// Dead at or after.
    pub since: Option<Timestamp>,
    /// Dead before.
    pub until: Option<Timestamp>,
}
