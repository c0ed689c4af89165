//! API keys: who may call, and as what. The key itself is known only to its holder.

use crate::delivery::names;
use crate::id::{ApiKeyId, TenantId};
use crate::time::Timestamp;

/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "hhk_";

/// A keyed hash of an API key.
pub type ApiKeyHash = [u8; 32];

/// What is kept of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Names it.
    pub id: ApiKeyId,
    /// Whose it is; none for one of the instance.
    pub tenant_id: Option<TenantId>,
    /// What its holder may do.
    pub role: Role,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to work; none for never.
    pub expires_at: Option<Timestamp>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything on the instance.
    Operator,
    /// Everything in its tenant.
    Admin,
    /// Publish.
    Publisher,
    /// Read.
    Viewer,
}

names!(Role { Operator = "operator", Admin = "admin", Publisher = "publisher", Viewer = "viewer", });
