//! Keys that the instance makes by itself: the operator's of a new store, and those of `--dev`.

use harbor_auth::authenticator::Authenticator;
use harbor_auth::caller::Caller;
use harbor_auth::key::generate_key;
use harbor_model::api_key::{ApiKey, Role};
use harbor_model::chance::Rng;
use harbor_model::id::{ApiKeyId, TenantId};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::registry::Change;
use harbor_model::secret::Secret;
use harbor_model::time::Clock;

/// Makes and recognises keys.
pub(crate) struct KeyMaker<'a> {
    pub(crate) api_keys: &'a dyn ApiKeys,
    pub(crate) authenticator: &'a Authenticator,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) rng: &'a dyn Rng,
}

impl KeyMaker<'_> {
    /// Makes a key of the tenant, or of the instance.
    pub(crate) async fn make(
        &self,
        tenant: Option<TenantId>,
        role: Role,
        name: &str,
    ) -> Result<Secret, Fault> {
        let key = generate_key(self.rng);
        let now = self.clock.now();
        let kept = ApiKey {
            id: ApiKeyId::new(now, self.rng),
            tenant_id: tenant,
            role,
            name: name.to_owned(),
            created_at: now,
            expires_at: None,
        };
        let hash = self.authenticator.hasher().hash(key.expose());
        match self.api_keys.create_api_key(kept, hash).await? {
            Change::Done(_) => Ok(key),
            Change::Missing | Change::Conflict | Change::Exists | Change::TooMany => {
                Err(Fault::bare("the store did not take a new API key"))
            }
        }
    }

    /// The operator key of a store that never had a key. It is not made again.
    pub(crate) async fn first_operator_key(&self) -> Result<Option<Secret>, Fault> {
        if !self.api_keys.has_no_api_key().await? {
            return Ok(None);
        }
        self.make(None, Role::Operator, "first start").await.map(Some)
    }

    /// Whom the key speaks for, if it works.
    pub(crate) async fn caller(&self, key: &Secret) -> Option<Caller> {
        self.authenticator.authenticate(Some(&format!("Bearer {}", key.expose()))).await.ok()
    }
}

/// Tells the operator key, once.
pub(crate) fn notice(key: &Secret) -> String {
    format!(
        "This instance is new. Its operator key is shown this once; keep it in a safe place:\n\n  {}\n\n",
        key.expose()
    )
}
