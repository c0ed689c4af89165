use super::*;
use crate::caller::Credential;

fn caller(role: Role, tenant: Option<&str>) -> Caller {
    let tenant = tenant.map(|id| id.parse().unwrap());
    Caller { tenant, role, credential: Credential::OperatorKey }
}

#[test]
fn each_role_may_what_it_is_for() {
    use Action::{Change, ChangeKeys, ChangeTenants, Publish, Read, ReadTenants};
    let check = |role, tenant, allowed: &[Action]| {
        let caller = caller(role, tenant);
        let found: Vec<_> = Action::ALL.into_iter().filter(|action| may(&caller, *action)).collect();
        assert_eq!(found, allowed, "{role} of {tenant:?}");
    };
    check(Role::Operator, None, &[Publish, Read, Change, ChangeKeys, ReadTenants, ChangeTenants]);
    check(Role::Admin, Some("acme"), &[Publish, Read, Change, ChangeKeys]);
    check(Role::Publisher, Some("acme"), &[Publish]);
    check(Role::Publisher, None, &[Publish]);
    check(Role::Viewer, Some("acme"), &[Read]);
    check(Role::Viewer, None, &[Read, ReadTenants]);
    // Nobody can make these; should they be there, they may nothing.
    check(Role::Operator, Some("acme"), &[]);
    check(Role::Admin, None, &[]);
}

#[test]
fn a_caller_stays_in_its_tenant_and_the_instance_goes_anywhere() {
    let check = |role, tenant, action, named, expected: Result<&str, PermitError>| {
        let found = permit_tenant(&caller(role, tenant), action, named);
        assert_eq!(found.as_ref().map(TenantId::as_str).map_err(|e| *e), expected, "{role} {named:?}");
    };
    let forbidden = |role| Err(PermitError::Forbidden { role });
    check(Role::Admin, Some("acme"), Action::Change, None, Ok("acme"));
    check(Role::Admin, Some("acme"), Action::Change, Some("acme"), Ok("acme"));
    check(Role::Admin, Some("acme"), Action::Change, Some("other"), Err(PermitError::TenantMismatch));
    check(Role::Admin, Some("acme"), Action::Change, Some("NO ID"), Err(PermitError::TenantMismatch));
    // The role comes first: it does not matter whose the tenant is.
    check(Role::Viewer, Some("acme"), Action::Change, Some("other"), forbidden(Role::Viewer));
    check(Role::Publisher, Some("acme"), Action::Read, Some("acme"), forbidden(Role::Publisher));
    check(Role::Publisher, None, Action::Publish, Some("acme"), Ok("acme"));
    check(Role::Publisher, None, Action::Publish, None, Err(PermitError::TenantRequired));
    check(Role::Operator, None, Action::Change, Some("NO ID"), Err(PermitError::TenantNotFound));
    check(Role::Operator, None, Action::Read, None, Err(PermitError::TenantRequired));
}

#[test]
fn keys_without_a_tenant_are_the_instances() {
    let operator = caller(Role::Operator, None);
    assert_eq!(permit_owner(&operator, Action::ChangeKeys, None), Ok(None));
    let viewer = caller(Role::Viewer, None);
    assert_eq!(permit_owner(&viewer, Action::Read, None), Ok(None));
    let admin = caller(Role::Admin, Some("acme"));
    assert_eq!(permit_owner(&admin, Action::ChangeKeys, None), Ok(Some("acme".parse().unwrap())));
}

#[test]
fn nobody_gives_away_more_than_there_is_to_give() {
    let acme: TenantId = "acme".parse().unwrap();
    let (operator, admin) = (caller(Role::Operator, None), caller(Role::Admin, Some("acme")));
    for role in [Role::Admin, Role::Publisher, Role::Viewer] {
        assert_eq!(permit_grant(&admin, role, Some(&acme)), Ok(()), "{role}");
        assert_eq!(permit_grant(&operator, role, Some(&acme)), Ok(()), "{role}");
    }
    for role in [Role::Operator, Role::Publisher, Role::Viewer] {
        assert_eq!(permit_grant(&operator, role, None), Ok(()), "{role}");
    }
    assert_eq!(
        permit_grant(&admin, Role::Operator, Some(&acme)),
        Err(PermitError::Forbidden { role: Role::Admin })
    );
    assert!(matches!(
        permit_grant(&operator, Role::Operator, Some(&acme)),
        Err(PermitError::RoleNotForOwner { .. })
    ));
    assert!(matches!(permit_grant(&operator, Role::Admin, None), Err(PermitError::RoleNotForOwner { .. })));
}
