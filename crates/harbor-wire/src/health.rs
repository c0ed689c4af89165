//! Whether the server is alive.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api_key::Role;

/// The server is there, and who it takes you for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "status": "ok",
    "version": "0.1.0",
    "time": "2026-01-31T12:00:00.000Z",
    "tenant_id": "tn_demo",
    "role": "admin",
}))]
pub struct Ping {
    /// Always `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// The server's clock.
    pub time: String,
    /// The tenant of the credential; null without one, and for one of the instance.
    #[schema(required)]
    pub tenant_id: Option<String>,
    /// The role of the credential; null without one.
    #[schema(required)]
    pub role: Option<Role>,
}

/// The process is alive, or everything it needs is reachable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"status": "ok"}))]
pub struct Health {
    /// Always `ok`; otherwise the answer is a problem.
    pub status: String,
}
