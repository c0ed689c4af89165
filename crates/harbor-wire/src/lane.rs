//! Ordered lanes: deliveries of one endpoint that go one after the other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::delivery::DeliveryStatus;

/// A lane that has somebody in it, or is held. Only its head is ever tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "key": "appointment-42",
    "head": {
        "delivery_id": "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d",
        "status": "failed",
        "attempt_count": 2,
        "next_attempt_at": "2026-01-31T12:00:05.000Z",
    },
    "waiting_count": 3,
    "held_at": null,
}))]
pub struct OrderedLane {
    /// The `ordering_key` of its events; empty for the one lane of an endpoint that orders everything.
    pub key: String,
    /// Who is next, or who holds it dead; null where that one is no longer kept.
    #[schema(required)]
    pub head: Option<LaneHead>,
    /// How many wait behind the head; counted up to 10,000.
    pub waiting_count: u64,
    /// Since when its dead head holds it; null where it moves.
    #[schema(required)]
    pub held_at: Option<String>,
}

/// The first delivery of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaneHead {
    /// Which one.
    #[schema(example = "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub delivery_id: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts were made.
    pub attempt_count: u16,
    /// When it is tried next; null where it is not.
    #[schema(required)]
    pub next_attempt_at: Option<String>,
}

/// A lane that moves again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"key": "appointment-42", "delivery_id": "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d"}))]
pub struct ReleasedLane {
    /// Which lane.
    pub key: String,
    /// The delivery that was skipped, or that is tried now; null where it is no longer kept.
    #[schema(required)]
    pub delivery_id: Option<String>,
}
