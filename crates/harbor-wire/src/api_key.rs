//! API keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything on the instance. Only for keys of the instance.
    Operator,
    /// Everything in its tenant. Only for keys of a tenant.
    Admin,
    /// Publish. A key of the instance publishes into any tenant.
    Publisher,
    /// Read. A key of the instance reads any tenant.
    Viewer,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing service", "role": "publisher"}))]
pub struct CreateApiKey {
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// When it ceases to work; never unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2027-01-31T00:00:00.000Z")]
    pub expires_at: Option<String>,
    /// What its holder may do.
    pub role: Role,
}

/// A key that was just made. The key itself is never shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "key_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "key": "hhk_9Qm3…",
    "tenant_id": "tn_demo",
    "name": "billing service",
    "role": "publisher",
    "created_at": "2026-01-31T12:00:00.000Z",
    "expires_at": null,
}))]
pub struct CreatedApiKey {
    /// Names the key.
    pub id: String,
    /// The key itself; keep it safe.
    pub key: String,
    /// Whose it is; null for a key of the instance.
    #[schema(required)]
    pub tenant_id: Option<String>,
    /// For people.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made.
    pub created_at: String,
    /// When it ceases to work; null for never.
    #[schema(required)]
    pub expires_at: Option<String>,
}

/// A key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "key_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "tenant_id": "tn_demo",
    "name": "billing service",
    "role": "publisher",
    "created_at": "2026-01-31T12:00:00.000Z",
    "expires_at": null,
}))]
pub struct ApiKey {
    /// Names the key.
    pub id: String,
    /// Whose it is; null for a key of the instance.
    #[schema(required)]
    pub tenant_id: Option<String>,
    /// For people.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made.
    pub created_at: String,
    /// When it ceases to work; null for never.
    #[schema(required)]
    pub expires_at: Option<String>,
}
