//! API keys.

use harbor_model::api_key::{ApiKey, Role};
use harbor_model::invalid::FieldError;
use harbor_model::time::Timestamp;
use harbor_wire::api_key as wire;

use crate::convert::checks::{Checks, NAME_CHARS};

/// What a caller says of a key.
pub(crate) struct ApiKeyFields {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Reads what a caller says of a key.
pub(crate) fn read(key: wire::CreateApiKey, now: Timestamp) -> Result<ApiKeyFields, Vec<FieldError>> {
    let mut checks = Checks::default();
    checks.text("name", Some(&key.name), NAME_CHARS);
    let expires_at: Option<Timestamp> = checks.parse("expires_at", key.expires_at.as_deref());
    if expires_at.is_some_and(|end| end <= now) {
        checks.refuse("expires_at", "must lie in the future");
    }
    checks.finish()?;
    Ok(ApiKeyFields { name: key.name, role: read_role(key.role), expires_at })
}

fn read_role(role: wire::Role) -> Role {
    match role {
        wire::Role::Operator => Role::Operator,
        wire::Role::Admin => Role::Admin,
        wire::Role::Publisher => Role::Publisher,
        wire::Role::Viewer => Role::Viewer,
    }
}

/// Writes out a role.
pub(crate) fn write_role(role: Role) -> wire::Role {
    match role {
        Role::Operator => wire::Role::Operator,
        Role::Admin => wire::Role::Admin,
        Role::Publisher => wire::Role::Publisher,
        Role::Viewer => wire::Role::Viewer,
    }
}

/// Writes out what is kept of a key.
pub(crate) fn write(key: &ApiKey) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id.to_string(),
        tenant_id: key.tenant_id.as_ref().map(ToString::to_string),
        name: key.name.clone(),
        role: write_role(key.role),
        created_at: key.created_at.to_string(),
        expires_at: key.expires_at.map(|end| end.to_string()),
    }
}

/// Writes out a key that was just made, with the key itself.
pub(crate) fn write_created(key: &ApiKey, secret: &str) -> wire::CreatedApiKey {
    let wire::ApiKey { id, tenant_id, name, role, created_at, expires_at } = write(key);
    wire::CreatedApiKey { id, key: secret.to_owned(), tenant_id, name, role, created_at, expires_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_and_does_not_begin_expired() {
        let now = Timestamp::from_unix_ms(1_700_000_000_000);
        let check = |name: &str, expires_at: Option<&str>, expected: &[&str]| {
            let key = wire::CreateApiKey {
                name: name.to_owned(),
                expires_at: expires_at.map(str::to_owned),
                role: wire::Role::Viewer,
            };
            let wrong = read(key, now).err().unwrap_or_default();
            let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{name} {expires_at:?}");
        };
        check("ci", None, &[]);
        check("ci", Some("2030-01-01T00:00:00Z"), &[]);
        check("ci", Some(&now.to_string()), &["expires_at"]);
        check("", Some("never"), &["name", "expires_at"]);
    }
}
