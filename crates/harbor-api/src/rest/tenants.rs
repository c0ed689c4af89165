//! Tenants, for operators.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::TenantId;
use harbor_model::tenant::Tenant;
use harbor_wire::job::Job;
use harbor_wire::list::{List, ListPage};
use harbor_wire::tenant as wire;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::etag;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::merge::merge;
use crate::problem::{Kind, Refusal, Result};
use crate::rest::change::{Kinds, ROUNDS_MAX, settle, settle_update};
use crate::router::Api;

const KINDS: Kinds = Kinds { missing: Kind::TenantNotFound, exists: Kind::TenantExists };

/// Makes a tenant.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "tenants", operation_id = "create_tenant",
    request_body = wire::CreateTenant,
    responses(
        (status = 201, description = "The tenant.", body = wire::Tenant),
        (status = 409, description = "`tenant_exists`."),
    ),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    call.instance(&api, Action::ChangeTenants).await?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let fields = convert::tenant::read(json::parse(&body)?)?;
    let now = api.deps.clock.now();
    let tenant = Tenant {
        id: fields.id.unwrap_or_else(|| TenantId::new(now, &*api.deps.rng)),
        name: fields.name,
        policy: fields.policy,
        version: 1,
        created_at: now,
        updated_at: now,
    };

    let tenant = settle(api.deps.tenants.create_tenant(tenant).await?, KINDS)?;

    Ok(show(&api, StatusCode::CREATED, &tenant))
}

/// Lists tenants, newest first.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", operation_id = "list_tenants",
    params(ListPage),
    responses((status = 200, description = "A page of tenants.", body = List<wire::Tenant>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    call.instance(&api, Action::ReadTenants).await?;
    let mut query: ListPage = call.query()?;
    let listing = Listing::new(&api.cursors, api.settings(), "tenants", owner_name(None), &mut query)?;
    let page = api.deps.tenants.tenants(listing.ask).await?;
    let instance = &api.deps.instance_policy;
    Ok(listing.answer(&api.cursors, page, |tenant| convert::tenant::write(&tenant, instance)))
}

/// Reads a tenant.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}", tag = "tenants", operation_id = "get_tenant",
    responses((status = 200, description = "The tenant.", body = wire::Tenant)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    call.instance(&api, Action::ReadTenants).await?;
    let tenant = load(&api, &tenant_id(&call)?).await?;
    Ok(show(&api, StatusCode::OK, &tenant))
}

/// Changes a tenant by a JSON merge patch; null returns a policy to the inherited value.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant_id}", tag = "tenants", operation_id = "update_tenant",
    request_body(content((wire::UpdateTenant = "application/merge-patch+json"),
        (wire::UpdateTenant = "application/json"))),
    responses((status = 200, description = "The tenant.", body = wire::Tenant)),
)]
pub(crate) async fn update(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    call.instance(&api, Action::ChangeTenants).await?;
    let id = tenant_id(&call)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let patch = json::parse_patch(&body)?;
    if patch.contains_key("id") {
        return Err(Refusal::field("id", "cannot be changed"));
    }
    for _ in 0..ROUNDS_MAX {
        let former = load(&api, &id).await?;
        etag::check(&call.headers, former.version)?;
        let tenant = patched(&former, patch.clone())?;
        if tenant == former {
            return Ok(show(&api, StatusCode::OK, &former));
        }
        let tenant = Tenant { updated_at: api.deps.clock.now(), ..tenant };
        let change = api.deps.tenants.update_tenant(tenant).await?;
        if let Some(tenant) = settle_update(change, &call.headers, KINDS)? {
            return Ok(show(&api, StatusCode::OK, &tenant));
        }
    }
    Err(Refusal::bare(Kind::ChangedMeanwhile))
}

/// Deletes a tenant: ends all its access at once. The job removes everything that belongs to it and reports
/// what that was; until it has ended the id stays taken.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}", tag = "tenants", operation_id = "delete_tenant",
    responses((status = 202, description = "The job, found at `/v1/jobs/{id}`.", body = Job)),
)]
pub(crate) async fn delete(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    call.instance(&api, Action::ChangeTenants).await?;
    let id = tenant_id(&call)?;
    etag::meant(&call.headers, async { Ok(load(&api, &id).await?.version) }).await?;
    let job = api.deps.tenant_removal.delete(&id).await?;
    api.deps.authenticator.forget_tenant(&id);
    Ok(answer::json(StatusCode::ACCEPTED, &convert::job::write(&job)))
}

fn patched(former: &Tenant, patch: Map<String, Value>) -> Result<Tenant> {
    let document = json::document(&convert::tenant::write_fields(former));
    let fields = convert::tenant::read(json::parse_document(merge(document, patch))?)?;
    Ok(Tenant { name: fields.name, policy: fields.policy, ..former.clone() })
}

fn tenant_id(call: &Call) -> Result<TenantId> {
    parse_id(call.param("tenant_id").unwrap_or_default(), Kind::TenantNotFound)
}

async fn load(api: &Api, id: &TenantId) -> Result<Tenant> {
    let found = api.deps.tenants.find_tenant(id).await?;
    found.ok_or_else(|| Refusal::bare(Kind::TenantNotFound))
}

fn show(api: &Api, status: StatusCode, tenant: &Tenant) -> Response {
    let shown = convert::tenant::write(tenant, &api.deps.instance_policy);
    answer::versioned(answer::json(status, &shown), tenant.version)
}
