//! API keys of a tenant or of the instance.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::key::generate_key;
use harbor_auth::permit::{Action, permit_grant};
use harbor_model::api_key::ApiKey;
use harbor_model::id::ApiKeyId;
use harbor_wire::api_key as wire;
use harbor_wire::list::{List, ListPage};
use http::StatusCode;

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::rest::change::{Kinds, settle};
use crate::router::Api;

const KINDS: Kinds = Kinds { missing: Kind::TenantNotFound, exists: Kind::ApiKeyExists };

/// Makes an API key. At `/v1/api-keys` an operator makes keys of the instance, anybody else of its tenant.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/api-keys", tag = "api keys", operation_id = "create_api_key",
    request_body = wire::CreateApiKey,
    responses((status = 201, description = "The key, which is never shown again.", body = wire::CreatedApiKey)),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let (caller, owner) = call.owner(&api, Action::ChangeKeys).await?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let now = api.deps.clock.now();
    let fields = convert::api_key::read(json::parse(&body)?, now)?;
    permit_grant(&caller, fields.role, owner.as_ref())?;
    let secret = generate_key(&*api.deps.rng);
    let hash = api.deps.authenticator.hasher().hash(secret.expose());
    let key = ApiKey {
        id: ApiKeyId::new(now, &*api.deps.rng),
        tenant_id: owner,
        role: fields.role,
        name: fields.name,
        created_at: now,
        expires_at: fields.expires_at,
    };

    let key = settle(api.deps.api_keys.create_api_key(key, hash).await?, KINDS)?;

    let shown = convert::api_key::write_created(&key, secret.expose());
    Ok(answer::secret(answer::json(StatusCode::CREATED, &shown)))
}

/// Lists API keys, newest first, without the keys themselves.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/api-keys", tag = "api keys", operation_id = "list_api_keys",
    params(ListPage),
    responses((status = 200, description = "A page of keys.", body = List<wire::ApiKey>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let (_, owner) = call.owner(&api, Action::Read).await?;
    let mut query: ListPage = call.query()?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "api_keys", owner_name(owner.as_ref()), &mut query)?;
    let page = api.deps.api_keys.api_keys(owner.as_ref(), listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |key| convert::api_key::write(&key)))
}

/// Revokes an API key; it is refused everywhere within two seconds.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/api-keys/{id}", tag = "api keys",
    operation_id = "delete_api_key",
    responses((status = 204, description = "It is revoked.")),
)]
pub(crate) async fn delete(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let (_, owner) = call.owner(&api, Action::ChangeKeys).await?;
    let id: ApiKeyId = call.id(Kind::ApiKeyNotFound)?;
    if !api.deps.api_keys.delete_api_key(owner.as_ref(), id).await? {
        return Err(Refusal::bare(Kind::ApiKeyNotFound));
    }
    api.deps.authenticator.forget(id);
    Ok(answer::gone())
}
