//! API keys as they are kept: by their hash alone.

use async_trait::async_trait;

use crate::api_key::{ApiKey, ApiKeyHash};
use crate::id::{ApiKeyId, TenantId};
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::port::registry::Change;

/// Keeps API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Adds a key. [`Change::Missing`] where its tenant does not exist.
    async fn create_api_key(&self, key: ApiKey, hash: ApiKeyHash) -> Result<Change<ApiKey>, Fault>;

    /// Finds the key with this hash, expired or not.
    async fn find_api_key(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Fault>;

    /// Lists the keys of a tenant, or of the instance, newest first.
    async fn api_keys(&self, owner: Option<&TenantId>, page: PageAsk) -> Result<Page<ApiKey>, Fault>;

    /// Revokes a key of a tenant, or of the instance. False where there is none.
    async fn delete_api_key(&self, owner: Option<&TenantId>, id: ApiKeyId) -> Result<bool, Fault>;

    /// Whether no key was ever made: the store is new.
    async fn has_no_api_key(&self) -> Result<bool, Fault>;
}
