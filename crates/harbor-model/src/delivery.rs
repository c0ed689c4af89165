//! Deliveries: one event owed to one endpoint. The delivery row is the truth.

use crate::attempt::Attempt;
use crate::event_type::EventType;
use crate::id::{DeliveryId, EndpointId, EventId, TenantId};
use crate::time::Timestamp;

/// One event owed to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names it.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What is owed.
    pub event_id: EventId,
    /// The type of what is owed.
    pub event_type: EventType,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts are recorded.
    pub attempt_count: u16,
    /// When it is tried next, while it waits.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the endpoint took it.
    pub delivered_at: Option<Timestamp>,
    /// The delivery that it repeats.
    pub replay_of: Option<DeliveryId>,
    /// What stands of it as a dead letter, once it is dead.
    pub dead_letter: Option<DeadLetter>,
}

/// A delivery that we stopped trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub cause: Cause,
    /// When.
    pub dead_at: Timestamp,
    /// What people made of it.
    pub state: DeadLetterState,
    /// The delivery that repeats it, once it was replayed.
    pub replayed_by: Option<DeliveryId>,
}

/// A delivery with its attempts, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryWithAttempts {
    /// The delivery.
    pub delivery: Delivery,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// Gives an enum its stable names, as users, the store and metrics know them.
macro_rules! names {
    ($name:ident { $($variant:ident = $text:literal,)* }) => {
        impl $name {
            /// Every one, in reading order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryStatus {
    /// Waiting for its first attempt, also while a limit or a pause holds it.
    Queued,
    /// A request is under way.
    Inflight,
    /// The endpoint took it.
    Delivered,
    /// It is tried again at its next time.
    Failed,
    /// It is tried no more.
    Dead,
    /// Someone called it off.
    Cancelled,
}

names!(DeliveryStatus {
    Queued = "queued",
    Inflight = "inflight",
    Delivered = "delivered",
    Failed = "failed",
    Dead = "dead",
    Cancelled = "cancelled",
});

/// Why a delivery is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Every attempt that the policy allows failed.
    AttemptsExhausted,
    /// The endpoint answered with a 4xx that asks for no repeat.
    ClientError,
    /// The endpoint answered with a 3xx.
    Redirect,
    /// The endpoint answered 410.
    EndpointGone,
    /// The endpoint was disabled.
    EndpointDisabled,
    /// The endpoint's address is one that we do not connect to.
    BlockedAddress,
    /// The event's payload is no longer kept.
    EventExpired,
    /// Workers ended in the middle of it again and again.
    WorkerCrash,
}

names!(Cause {
    AttemptsExhausted = "attempts_exhausted",
    ClientError = "client_error",
    Redirect = "redirect",
    EndpointGone = "endpoint_gone",
    EndpointDisabled = "endpoint_disabled",
    BlockedAddress = "blocked_address",
    EventExpired = "event_expired",
    WorkerCrash = "worker_crash",
});

/// What people made of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadLetterState {
    /// Nothing yet.
    Open,
    /// A new delivery repeats it.
    Replayed,
    /// Someone put it aside.
    Discarded,
}

names!(DeadLetterState { Open = "open", Replayed = "replayed", Discarded = "discarded", });
