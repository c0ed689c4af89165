//! Endpoints: make, read, change and remove them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::directory::TenantSnapshot;
use harbor_model::endpoint::Endpoint;
use harbor_model::event_type::EventTypePattern;
use harbor_model::id::{EndpointId, SubscriptionId, TenantId};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::subscription::Subscription;
use harbor_model::time::Timestamp;
use harbor_wire::endpoint as wire;
use harbor_wire::list::{List, ListPage};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::convert::endpoint::{EndpointFields, Surroundings};
use crate::etag;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::merge::merge;
use crate::problem::{Kind, Refusal, Result};
use crate::rest::change::{Kinds, ROUNDS_MAX, settle, settle_update};
use crate::router::Api;

pub(crate) const KINDS: Kinds = Kinds { missing: Kind::EndpointNotFound, exists: Kind::EndpointExists };

/// Makes an endpoint, and subscribes it at once to the event types that are given.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints", tag = "endpoints",
    operation_id = "create_endpoint",
    request_body = wire::CreateEndpoint,
    responses(
        (status = 201, description = "The endpoint with its secret, which is never shown again.", body = wire::Endpoint),
        (status = 409, description = "`limit_reached`."),
    ),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let snapshot = call.tenant_snapshot(&api, Action::Change).await?;
    let around = surroundings(&api, &snapshot);
    let body = call.body(body, api.settings().body_limits()).await?;
    let fields = convert::endpoint::read(json::parse(&body)?, around, None)?;
    let now = api.deps.clock.now();
    let secret = fields.secret.clone().unwrap_or_else(|| generate_secret(&api));
    let (endpoint, subscriptions) = made(&api, &snapshot.tenant.id, fields, secret.clone(), now);

    let max = api.settings().endpoints_max;
    let endpoint = settle(api.deps.endpoints.create_endpoint(endpoint, subscriptions, max).await?, KINDS)?;

    let shown = wire::Endpoint {
        secret: Some(secret.expose().to_owned()),
        // Nothing was sent to it yet, so its breaker is closed.
        ..convert::endpoint::write(&endpoint, around, None)
    };
    let response = answer::versioned(answer::json(StatusCode::CREATED, &shown), endpoint.version);
    Ok(answer::secret(response))
}

/// An endpoint that has these fields, and its first subscriptions.
fn made(
    api: &Api,
    tenant_id: &TenantId,
    fields: EndpointFields,
    secret: Secret,
    now: Timestamp,
) -> (Endpoint, Vec<Subscription>) {
    let id = EndpointId::new(now, &*api.deps.rng);
    let subscription = |pattern: EventTypePattern| Subscription {
        id: SubscriptionId::new(now, &*api.deps.rng),
        tenant_id: tenant_id.clone(),
        pattern,
        endpoint_id: id,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let subscriptions = fields.patterns.into_iter().map(subscription).collect();
    let endpoint = Endpoint {
        id,
        tenant_id: tenant_id.clone(),
        name: fields.name,
        description: fields.description,
        url: fields.url,
        secrets: vec![TimedSecret::lasting(secret)],
        headers: fields.headers,
        policy: fields.policy,
        metadata: fields.metadata,
        paused: false,
        drain: None,
        disabled: None,
        enabled_at: None,
        version: 1,
        url_version: 1,
        created_at: now,
        updated_at: now,
    };
    (endpoint, subscriptions)
}

/// Lists endpoints, newest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/endpoints", tag = "endpoints", operation_id = "list_endpoints",
    params(ListPage),
    responses((status = 200, description = "A page of endpoints.", body = List<wire::Endpoint>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let snapshot = call.tenant_snapshot(&api, Action::Read).await?;
    let tenant = &snapshot.tenant.id;
    let mut query: ListPage = call.query()?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "endpoints", owner_name(Some(tenant)), &mut query)?;
    let page = api.deps.endpoints.endpoints(tenant, listing.ask).await?;
    let around = surroundings(&api, &snapshot);
    let breakers = api.deps.breakers.open_breakers().await?;
    let breakers: HashMap<_, _> = breakers.iter().map(|breaker| (&breaker.key, breaker)).collect();
    Ok(listing.answer(&api.cursors, page, |endpoint| {
        let key = EndpointKey { tenant_id: tenant.clone(), endpoint_id: endpoint.id };
        convert::endpoint::write(&endpoint, around, breakers.get(&key).copied())
    }))
}

/// Reads an endpoint with the policies in force.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/endpoints/{id}", tag = "endpoints",
    operation_id = "get_endpoint",
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let snapshot = call.tenant_snapshot(&api, Action::Read).await?;
    let endpoint = load(&api, &snapshot.tenant.id, call.id(Kind::EndpointNotFound)?).await?;
    show(&api, &snapshot, &endpoint).await
}

/// Changes an endpoint by a JSON merge patch; null returns a policy to the inherited value.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant_id}/endpoints/{id}", tag = "endpoints",
    operation_id = "update_endpoint",
    request_body(content((wire::UpdateEndpoint = "application/merge-patch+json"),
        (wire::UpdateEndpoint = "application/json"))),
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
pub(crate) async fn update(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let snapshot = call.tenant_snapshot(&api, Action::Change).await?;
    let id: EndpointId = call.id(Kind::EndpointNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let patch = lower_header_names(json::parse_patch(&body)?);
    for (field, instead) in
        [("secret", "cannot be changed so; use rotate-secret"), ("event_types", "belongs to subscriptions")]
    {
        if patch.contains_key(field) {
            return Err(Refusal::field(field, instead));
        }
    }
    let around = surroundings(&api, &snapshot);
    let edit = |former: &Endpoint| patched(former, patch.clone(), around);
    let endpoint = change(&api, &call, &snapshot.tenant.id, id, edit).await?;
    show(&api, &snapshot, &endpoint).await
}

/// Names of headers are the same in any case, and kept in lower case.
fn lower_header_names(mut patch: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(headers)) = patch.get_mut("headers") {
        let lowered =
            std::mem::take(headers).into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        *headers = lowered.collect();
    }
    patch
}

fn patched(former: &Endpoint, patch: Map<String, Value>, around: Surroundings<'_>) -> Result<Endpoint> {
    let document = json::document(&convert::endpoint::write_fields(former));
    let endpoint = json::parse_document(merge(document, patch))?;
    let fields = convert::endpoint::read(endpoint, around, Some(former))?;
    let is_same_url = fields.url == former.url;
    Ok(Endpoint {
        name: fields.name,
        description: fields.description,
        url: fields.url,
        headers: fields.headers,
        policy: fields.policy,
        metadata: fields.metadata,
        // A 410 speaks for the URL that was asked; see the model.
        url_version: if is_same_url { former.url_version } else { former.version + 1 },
        ..former.clone()
    })
}

/// Removes an endpoint and its subscriptions; its open deliveries are cancelled.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/endpoints/{id}", tag = "endpoints",
    operation_id = "delete_endpoint",
    responses((status = 204, description = "It is gone.")),
)]
pub(crate) async fn delete(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: EndpointId = call.id(Kind::EndpointNotFound)?;
    let stored = async { Ok(load(&api, &tenant, id).await?.version) };
    let version = etag::meant(&call.headers, stored).await?;
    let now = api.deps.clock.now();
    let change = api.deps.endpoints.delete_endpoint(&tenant, id, version, now).await?;
    settle_update(change, &call.headers, KINDS)?;
    Ok(answer::gone())
}

/// Reads an endpoint, edits it and puts it back; again where somebody else was faster.
pub(crate) async fn change(
    api: &Api,
    call: &Call,
    tenant: &TenantId,
    id: EndpointId,
    edit: impl Fn(&Endpoint) -> Result<Endpoint>,
) -> Result<Endpoint> {
    for _ in 0..ROUNDS_MAX {
        let former = load(api, tenant, id).await?;
        etag::check(&call.headers, former.version)?;
        let endpoint = edit(&former)?;
        if endpoint == former {
            return Ok(former);
        }
        let endpoint = Endpoint { updated_at: api.deps.clock.now(), ..endpoint };
        let change = api.deps.endpoints.update_endpoint(endpoint).await?;
        if let Some(endpoint) = settle_update(change, &call.headers, KINDS)? {
            return Ok(endpoint);
        }
    }
    Err(Refusal::bare(Kind::ChangedMeanwhile))
}

async fn load(api: &Api, tenant: &TenantId, id: EndpointId) -> Result<Endpoint> {
    let found = api.deps.endpoints.find_endpoint(tenant, id).await?;
    found.ok_or_else(|| Refusal::bare(Kind::EndpointNotFound))
}

/// Refuses an endpoint that does not exist.
pub(crate) async fn must_exist(api: &Api, tenant: &TenantId, id: EndpointId) -> Result<()> {
    load(api, tenant, id).await.map(drop)
}

/// The endpoint as it is answered.
pub(crate) async fn show(api: &Api, snapshot: &TenantSnapshot, endpoint: &Endpoint) -> Result<Response> {
    let breaker = api.deps.breakers.find_breaker(&endpoint.tenant_id, endpoint.id).await?;
    let shown = convert::endpoint::write(endpoint, surroundings(api, snapshot), breaker.as_ref());
    Ok(answer::versioned(answer::ok(&shown), endpoint.version))
}

fn surroundings<'a>(api: &'a Api, snapshot: &'a TenantSnapshot) -> Surroundings<'a> {
    Surroundings {
        addresses: &snapshot.addresses,
        instance: &api.deps.instance_policy.delivery,
        tenant: &snapshot.tenant.policy.delivery,
    }
}

/// Makes a secret for an endpoint.
pub(crate) fn generate_secret(api: &Api) -> Secret {
    let mut random = [0; 32];
    api.deps.rng.fill_secret(&mut random);
    Secret::new(harbor_signature::generate_secret(&random))
}
