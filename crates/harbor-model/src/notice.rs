//! Notices: what of our own doings a tenant may subscribe to, by name, as operational events.
//!
//! A store writes a notice in the transaction that it tells of, for tenants that have a subscription to
//! such events. Later it is published like any event, once, and forgotten.

use crate::delivery::Cause;
use crate::endpoint::DisabledReason;
use crate::event_type::EventType;
use crate::id::{DeliveryId, EndpointId, EventId, NoticeId, TenantId};
use crate::time::Timestamp;

/// Something that happened, to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it; its time is when it happened.
    pub id: NoticeId,
    /// Whose.
    pub tenant_id: TenantId,
    /// What.
    pub subject: Subject,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An endpoint was disabled.
    EndpointDisabled {
        /// Which.
        endpoint_id: EndpointId,
        /// Why.
        reason: DisabledReason,
    },
    /// The circuit breaker of an endpoint opened.
    CircuitOpened {
        /// Of which endpoint.
        endpoint_id: EndpointId,
        /// When it is probed.
        next_probe_at: Timestamp,
    },
    /// A delivery is dead. Never one of an operational event: they beget no others.
    DeliveryDead {
        /// Which.
        delivery_id: DeliveryId,
        /// Of which event.
        event_id: EventId,
        /// Of which type.
        event_type: EventType,
        /// To whom.
        endpoint_id: EndpointId,
        /// Why.
        cause: Cause,
        /// How many attempts are recorded.
        attempt_count: u16,
    },
}

impl Subject {
    /// The type of the operational event.
    pub fn event_type(&self) -> EventType {
        let text = match self {
            Self::EndpointDisabled { .. } => ENDPOINT_DISABLED,
            Self::CircuitOpened { .. } => CIRCUIT_OPENED,
            Self::DeliveryDead { .. } => DELIVERY_DEAD,
        };
        text.parse().expect("our own types are well-formed")
    }
}

/// The type of [`Subject::EndpointDisabled`].
pub const ENDPOINT_DISABLED: &str = "harborhook.endpoint.disabled";

/// The type of [`Subject::CircuitOpened`].
pub const CIRCUIT_OPENED: &str = "harborhook.endpoint.circuit_opened";

/// The type of [`Subject::DeliveryDead`].
pub const DELIVERY_DEAD: &str = "harborhook.delivery.dead";
