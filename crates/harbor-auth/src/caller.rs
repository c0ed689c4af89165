//! Callers: who a credential speaks for.

use harbor_model::api_key::Role;
use harbor_model::id::{ApiKeyId, TenantId};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant that the credential belongs to; none for one of the instance.
    pub tenant: Option<TenantId>,
    /// What the credential allows.
    pub role: Role,
    /// Which credential it is.
    pub credential: Credential,
}

/// Which credential a caller has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An API key that is kept in the store.
    ApiKey(ApiKeyId),
    /// The operator key of the server's settings.
    OperatorKey,
}
