//! Subscriptions: which event types go to which endpoint.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::patch::Patch;

/// A subscription to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event_type": "appointment.*", "endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d"}))]
pub struct CreateSubscription {
    /// An event type, `*`, or a prefix like `appointment.*`.
    pub event_type: String,
    /// Where events go that match.
    pub endpoint_id: String,
}

/// A change of a subscription: a JSON merge patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"event_type": "appointment.created"}))]
pub struct UpdateSubscription {
    /// An event type, `*`, or a prefix like `appointment.*`.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = String, required = false)]
    pub event_type: Patch<String>,
    /// Where events go that match.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = String, required = false)]
    pub endpoint_id: Patch<String>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "sub_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "event_type": "appointment.*",
    "endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "created_at": "2026-01-31T12:00:00.000Z",
    "updated_at": "2026-01-31T12:00:00.000Z",
}))]
pub struct Subscription {
    /// Names it.
    pub id: String,
    /// An event type, `*`, or a prefix like `appointment.*`.
    pub event_type: String,
    /// Where events go that match.
    pub endpoint_id: String,
    /// When it was made.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
}

/// Which subscriptions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListSubscriptions {
    /// To this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// With exactly this event type or pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The most items on a page; 50 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// The `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
