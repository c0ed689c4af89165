//! Ordered lanes of an endpoint: see them, and release one that does not move.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{DeliveryId, EndpointId, TenantId};
use harbor_model::lane::LaneKey;
use harbor_recover::interventions::ReleaseRefusal;
use harbor_wire::lane::{OrderedLane, ReleasedLane};
use harbor_wire::list::{List, ListPage};

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::json::{self, NoFields};
use crate::list::Listing;
use crate::problem::{Kind, Refusal, Result};
use crate::rest::endpoints::must_exist;
use crate::router::Api;

/// Lists the ordered lanes of an endpoint that have somebody in them or are held, the youngest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/endpoints/{id}/lanes", tag = "endpoints",
    operation_id = "list_lanes",
    params(ListPage),
    responses((status = 200, description = "A page of lanes.", body = List<OrderedLane>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: EndpointId = call.id(Kind::EndpointNotFound)?;
    let mut query: ListPage = call.query()?;
    let owner = format!("{tenant}/{id}");
    let listing = Listing::new(&api.cursors, api.settings(), "lanes", owner, &mut query)?;
    let page = api.deps.lanes.lanes(&tenant, id, listing.ask).await?;
    // Only an empty list raises the question whether the endpoint is there at all.
    if page.items.is_empty() {
        must_exist(&api, &tenant, id).await?;
    }
    Ok(listing.answer(&api.cursors, page, |lane| convert::lane::write(&lane)))
}

/// Takes `POST {key}:verb`. A key may hold colons itself, so the last one counts.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.param("key").and_then(|segment| segment.rsplit_once(':')) {
        Some((_, "skip")) => skip(&api, &call, body).await,
        Some((_, "retry")) => retry(&api, &call, body).await,
        Some(_) | None => Err(Refusal::bare(Kind::RouteNotFound)),
    }
}

/// Passes over the head of a lane: one that is open is cancelled, one that is dead stays so. The next one goes.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}/lanes/{key}:skip", tag = "endpoints",
    operation_id = "skip_lane_head",
    responses(
        (status = 200, description = "The lane moves.", body = ReleasedLane),
        (status = 409, description = "`endpoint_unavailable`."),
    ),
)]
async fn skip(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let (tenant, endpoint, key) = begin(api, call, body).await?;
    settle(&key, api.deps.interventions.skip_lane(&tenant, endpoint, &key).await)
}

/// Tries the head of a lane now. For one that is dead, a replay takes its place.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}/lanes/{key}:retry", tag = "endpoints",
    operation_id = "retry_lane_head",
    responses(
        (status = 200, description = "The lane moves.", body = ReleasedLane),
        (status = 409, description = "`endpoint_unavailable`."),
        (status = 410, description = "`event_expired`: the dead head cannot be repeated. It can be skipped."),
    ),
)]
async fn retry(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let (tenant, endpoint, key) = begin(api, call, body).await?;
    settle(&key, api.deps.interventions.retry_lane(&tenant, endpoint, &key).await)
}

/// Reads what releases have in common: a lane in the path, and nothing in the body.
async fn begin(api: &Api, call: &Call, body: Body) -> Result<(TenantId, EndpointId, LaneKey)> {
    let tenant = call.tenant(api, Action::Change).await?;
    let endpoint: EndpointId = call.id(Kind::EndpointNotFound)?;
    let (key, _) = call.param("key").and_then(|segment| segment.rsplit_once(':')).unwrap_or_default();
    let body = call.body(body, api.settings().body_limits()).await?;
    json::parse_optional::<NoFields>(&body)?;
    must_exist(api, &tenant, endpoint).await?;
    Ok((tenant, endpoint, LaneKey::new(key)))
}

fn settle(key: &LaneKey, released: Result<Option<DeliveryId>, ReleaseRefusal>) -> Result<Response> {
    Ok(answer::ok(&ReleasedLane { key: key.to_string(), delivery_id: released?.map(|id| id.to_string()) }))
}
