//! Turns the `Authorization` header into a caller.

use std::sync::{Arc, Mutex};

use harbor_model::api_key::{API_KEY_PREFIX, ApiKey, ApiKeyHash, Role};
use harbor_model::id::{ApiKeyId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::secret::Secret;
use harbor_model::time::Clock;

use crate::cache::{KeyCache, Remembered};
use crate::caller::{Caller, Credential};
use crate::key::{KEY_CHARS_MAX, KeyHasher, is_same};

/// Says why nobody is known to be calling.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialError {
    /// No credential was shown.
    #[error("no credential was given; send `Authorization: Bearer` and an API key")]
    Missing,
    /// The credential is malformed, unknown or revoked.
    #[error("the credential is not valid")]
    Invalid,
    /// The credential was valid once.
    #[error("the credential has expired")]
    Expired,
    /// It could not be looked up.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Knows who is calling.
pub struct Authenticator {
    api_keys: Arc<dyn ApiKeys>,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
    operator: Option<ApiKeyHash>,
    cache: Mutex<KeyCache>,
}

impl Authenticator {
    /// Looks keys up in `api_keys` by their hash under `pepper`. The operator key of the settings, if
    /// there is one, is not looked up.
    pub fn new(
        api_keys: Arc<dyn ApiKeys>,
        pepper: &[u8; 32],
        clock: Arc<dyn Clock>,
        operator_key: Option<&Secret>,
    ) -> Self {
        let hasher = KeyHasher::new(pepper);
        let operator = operator_key.map(|key| hasher.hash(key.expose()));
        Self { api_keys, hasher, clock, operator, cache: Mutex::default() }
    }

    /// How keys are hashed, for those who make them.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Finds out who shows this `Authorization` header.
    ///
    /// # Errors
    /// There is none, or nobody to whom it belongs.
    pub async fn authenticate(&self, authorization: Option<&str>) -> Result<Caller, CredentialError> {
        let bearer = bearer(authorization.ok_or(CredentialError::Missing)?)?;
        if !bearer.starts_with(API_KEY_PREFIX) || bearer.len() > KEY_CHARS_MAX {
            return Err(CredentialError::Invalid);
        }
        let hash = self.hasher.hash(bearer);
        if self.operator.as_ref().is_some_and(|operator| is_same(operator, &hash)) {
            return Ok(Caller { tenant: None, role: Role::Operator, credential: Credential::OperatorKey });
        }
        let key = self.find(hash).await?.ok_or(CredentialError::Invalid)?;
        if key.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return Err(CredentialError::Expired);
        }
        Ok(Caller { tenant: key.tenant_id, role: key.role, credential: Credential::ApiKey(key.id) })
    }

    /// Forgets a key that was just revoked, so that this process refuses it at once.
    pub fn forget(&self, id: ApiKeyId) {
        self.cache().forget(id);
    }

    /// Forgets the keys of a tenant that was just deleted, so that this process refuses them at once.
    pub fn forget_tenant(&self, tenant: &TenantId) {
        self.cache().forget_tenant(tenant);
    }

    async fn find(&self, hash: ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        // The age counts from before the read: what is changed during it may be missing in it.
        let began = self.clock.elapsed();
        let generation = match self.cache().find(&hash, began) {
            Remembered::Known(key) => return Ok(key.cloned()),
            Remembered::Nothing(generation) => generation,
        };
        let found = self.api_keys.find_api_key(&hash).await?;
        self.cache().remember(hash, found.clone(), began, generation);
        Ok(found)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, KeyCache> {
        self.cache.lock().expect("no holder of the cache panics")
    }
}

/// The token of a `Bearer` header; the scheme is read in any case.
fn bearer(authorization: &str) -> Result<&str, CredentialError> {
    let (scheme, token) = authorization.trim().split_once(' ').ok_or(CredentialError::Invalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialError::Invalid);
    }
    Ok(token.trim_start())
}

#[cfg(test)]
mod tests;
