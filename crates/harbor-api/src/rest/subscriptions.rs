//! Subscriptions.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{SubscriptionId, TenantId};
use harbor_model::subscription::Subscription;
use harbor_wire::list::List;
use harbor_wire::subscription as wire;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::etag;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::merge::merge;
use crate::problem::{Kind, Refusal, Result};
use crate::rest::change::{Kinds, ROUNDS_MAX, settle, settle_update};
use crate::rest::endpoints::must_exist;
use crate::router::Api;

const KINDS: Kinds = Kinds { missing: Kind::SubscriptionNotFound, exists: Kind::SubscriptionExists };

/// Subscribes an endpoint to an event type or pattern.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/subscriptions", tag = "subscriptions",
    operation_id = "create_subscription",
    request_body = wire::CreateSubscription,
    responses(
        (status = 201, description = "The subscription.", body = wire::Subscription),
        (status = 404, description = "`endpoint_not_found`."),
        (status = 409, description = "`subscription_exists` or `limit_reached`."),
    ),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant_id = call.tenant(&api, Action::Change).await?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let fields = convert::subscription::read(&json::parse(&body)?)?;
    let now = api.deps.clock.now();
    let subscription = Subscription {
        id: SubscriptionId::new(now, &*api.deps.rng),
        tenant_id,
        pattern: fields.pattern,
        endpoint_id: fields.endpoint_id,
        version: 1,
        created_at: now,
        updated_at: now,
    };

    let max = api.settings().subscriptions_per_endpoint_max;
    let change = api.deps.subscriptions.create_subscription(subscription, max).await?;
    // What can be missing here is the endpoint.
    let subscription = settle(change, Kinds { missing: Kind::EndpointNotFound, ..KINDS })?;

    Ok(show(StatusCode::CREATED, &subscription))
}

/// Lists subscriptions, newest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/subscriptions", tag = "subscriptions",
    operation_id = "list_subscriptions",
    params(wire::ListSubscriptions),
    responses((status = 200, description = "A page of subscriptions.", body = List<wire::Subscription>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: wire::ListSubscriptions = call.query()?;
    let filter = convert::subscription::read_filter(&query)?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "subscriptions", owner_name(Some(&tenant)), &mut query)?;
    let page = api.deps.subscriptions.subscriptions(&tenant, filter, listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |found| convert::subscription::write(&found)))
}

/// Reads a subscription.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/subscriptions/{id}", tag = "subscriptions",
    operation_id = "get_subscription",
    responses((status = 200, description = "The subscription.", body = wire::Subscription)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let subscription = load(&api, &tenant, call.id(Kind::SubscriptionNotFound)?).await?;
    Ok(show(StatusCode::OK, &subscription))
}

/// Changes a subscription by a JSON merge patch.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant_id}/subscriptions/{id}", tag = "subscriptions",
    operation_id = "update_subscription",
    request_body(content((wire::UpdateSubscription = "application/merge-patch+json"),
        (wire::UpdateSubscription = "application/json"))),
    responses(
        (status = 200, description = "The subscription.", body = wire::Subscription),
        (status = 409, description = "`subscription_exists`."),
    ),
)]
pub(crate) async fn update(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: SubscriptionId = call.id(Kind::SubscriptionNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let patch = json::parse_patch(&body)?;
    for _ in 0..ROUNDS_MAX {
        let former = load(&api, &tenant, id).await?;
        etag::check(&call.headers, former.version)?;
        let subscription = patched(&former, patch.clone())?;
        if subscription == former {
            return Ok(show(StatusCode::OK, &former));
        }
        if subscription.endpoint_id != former.endpoint_id {
            must_exist(&api, &tenant, subscription.endpoint_id).await?;
        }
        let subscription = Subscription { updated_at: api.deps.clock.now(), ..subscription };
        let change = api.deps.subscriptions.update_subscription(subscription).await?;
        if let Some(subscription) = settle_update(change, &call.headers, KINDS)? {
            return Ok(show(StatusCode::OK, &subscription));
        }
    }
    Err(Refusal::bare(Kind::ChangedMeanwhile))
}

fn patched(former: &Subscription, patch: Map<String, Value>) -> Result<Subscription> {
    let document = json::document(&convert::subscription::write_fields(former));
    let fields = convert::subscription::read(&json::parse_document(merge(document, patch))?)?;
    Ok(Subscription { pattern: fields.pattern, endpoint_id: fields.endpoint_id, ..former.clone() })
}

/// Removes a subscription.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/subscriptions/{id}", tag = "subscriptions",
    operation_id = "delete_subscription",
    responses((status = 204, description = "It is gone.")),
)]
pub(crate) async fn delete(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: SubscriptionId = call.id(Kind::SubscriptionNotFound)?;
    let stored = async { Ok(load(&api, &tenant, id).await?.version) };
    let version = etag::meant(&call.headers, stored).await?;
    let change = api.deps.subscriptions.delete_subscription(&tenant, id, version).await?;
    settle_update(change, &call.headers, KINDS)?;
    Ok(answer::gone())
}

async fn load(api: &Api, tenant: &TenantId, id: SubscriptionId) -> Result<Subscription> {
    let found = api.deps.subscriptions.find_subscription(tenant, id).await?;
    found.ok_or_else(|| Refusal::bare(Kind::SubscriptionNotFound))
}

fn show(status: StatusCode, subscription: &Subscription) -> Response {
    let shown = convert::subscription::write(subscription);
    answer::versioned(answer::json(status, &shown), subscription.version)
}
