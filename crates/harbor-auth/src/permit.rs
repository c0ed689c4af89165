//! What a caller may do, and where. Pure decisions.
//!
//! The order of refusals is part of the contract: first whether the role may do such a thing at all,
//! then whether it may do it there. So nobody learns which tenants exist.

use harbor_model::api_key::Role;
use harbor_model::id::TenantId;

use crate::caller::Caller;

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish events.
    Publish,
    /// See what belongs to a tenant.
    Read,
    /// Change what belongs to a tenant.
    Change,
    /// Make and revoke API keys.
    ChangeKeys,
    /// See tenants.
    ReadTenants,
    /// Make and change tenants.
    ChangeTenants,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Publish, Self::Read, Self::Change, Self::ChangeKeys, Self::ReadTenants, Self::ChangeTenants];
}

/// Says why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// The role does not allow it anywhere.
    #[error("the role `{role}` does not allow this")]
    Forbidden {
        /// The caller's role.
        role: Role,
    },
    /// The path names another tenant than the caller's.
    #[error("the credential belongs to another tenant")]
    TenantMismatch,
    /// The path names no tenant, and the caller has none.
    #[error("the credential belongs to the instance; name a tenant in the path")]
    TenantRequired,
    /// The path names what cannot be a tenant.
    #[error("the tenant does not exist")]
    TenantNotFound,
    /// The role does not fit the owner of the key.
    #[error("a key of {owner} cannot have the role `{role}`")]
    RoleNotForOwner {
        /// The role that was asked for.
        role: Role,
        /// Whose key it would be.
        owner: &'static str,
    },
}

/// Whether `caller` may do `action` anywhere.
fn may(caller: &Caller, action: Action) -> bool {
    let of_instance = caller.tenant.is_none();
    match (caller.role, action) {
        (Role::Operator, _) => of_instance,
        (Role::Admin, Action::Publish | Action::Read | Action::Change | Action::ChangeKeys) => !of_instance,
        (Role::Admin, Action::ReadTenants | Action::ChangeTenants) => false,
        (Role::Publisher, Action::Publish) | (Role::Viewer, Action::Read) => true,
        (Role::Publisher, _) => false,
        (Role::Viewer, Action::ReadTenants) => of_instance,
        (Role::Viewer, Action::Publish | Action::Change | Action::ChangeKeys | Action::ChangeTenants) => {
            false
        }
    }
}

fn must(caller: &Caller, action: Action) -> Result<(), PermitError> {
    if may(caller, action) { Ok(()) } else { Err(PermitError::Forbidden { role: caller.role }) }
}

/// Permits `action` on what belongs to the instance.
///
/// # Errors
/// The role does not allow it.
pub fn permit_instance(caller: &Caller, action: Action) -> Result<(), PermitError> {
    must(caller, action)
}

/// Permits `action` on what belongs to a tenant: the one that the path names, or the caller's own.
///
/// # Errors
/// The role does not allow it, or not there.
pub fn permit_tenant(caller: &Caller, action: Action, named: Option<&str>) -> Result<TenantId, PermitError> {
    permit_owner(caller, action, named)?.ok_or(PermitError::TenantRequired)
}

/// Permits `action` on what belongs to a tenant or, where neither the path nor the caller has one, to the
/// instance.
///
/// # Errors
/// The role does not allow it, or not there.
pub fn permit_owner(
    caller: &Caller,
    action: Action,
    named: Option<&str>,
) -> Result<Option<TenantId>, PermitError> {
    must(caller, action)?;
    match (&caller.tenant, named) {
        (own, None) => Ok(own.clone()),
        (Some(own), Some(named)) if own.as_str() == named => Ok(Some(own.clone())),
        (Some(_), Some(_)) => Err(PermitError::TenantMismatch),
        (None, Some(named)) => named.parse().map(Some).map_err(|_| PermitError::TenantNotFound),
    }
}

/// Permits `caller` to make a key with `role` for `owner`: a tenant, or the instance.
///
/// # Errors
/// The caller may not give away what it does not have, or such an owner has no such keys.
pub fn permit_grant(caller: &Caller, role: Role, owner: Option<&TenantId>) -> Result<(), PermitError> {
    if role == Role::Operator && caller.role != Role::Operator {
        return Err(PermitError::Forbidden { role: caller.role });
    }
    match (role, owner) {
        (Role::Operator, Some(_)) => Err(PermitError::RoleNotForOwner { role, owner: "a tenant" }),
        (Role::Admin, None) => Err(PermitError::RoleNotForOwner { role, owner: "the instance" }),
        (Role::Operator, None)
        | (Role::Admin, Some(_))
        | (Role::Publisher | Role::Viewer, Some(_) | None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
