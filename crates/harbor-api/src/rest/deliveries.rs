//! Deliveries, and their replay.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::DeliveryId;
use harbor_recover::dead_letters::ReplayRequest;
use harbor_wire::delivery::{Delivery, DeliveryWithAttempts, ListDeliveries, ReplayDelivery};
use harbor_wire::list::List;
use http::StatusCode;

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::router::Api;

/// Lists deliveries, newest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/deliveries", tag = "deliveries",
    operation_id = "list_deliveries",
    params(ListDeliveries),
    responses((status = 200, description = "A page of deliveries.", body = List<Delivery>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: ListDeliveries = call.query()?;
    let filter = convert::delivery::read_filter(&query)?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "deliveries", owner_name(Some(&tenant)), &mut query)?;
    let page = api.deps.history.deliveries(&tenant, filter, listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |delivery| convert::delivery::write(&delivery)))
}

/// Reads a delivery with everything that was tried.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/deliveries/{id}", tag = "deliveries",
    operation_id = "get_delivery",
    responses((status = 200, description = "The delivery.", body = DeliveryWithAttempts)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: DeliveryId = call.id(Kind::DeliveryNotFound)?;
    let found = api.deps.history.find_delivery(&tenant, id).await?;
    let found = found.ok_or_else(|| Refusal::bare(Kind::DeliveryNotFound))?;
    Ok(answer::ok(&convert::delivery::write_with_attempts(&found)))
}

/// Takes `POST {id}:verb`.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.id_and_verb() {
        Some((_, "replay")) => replay(&api, &call, body).await,
        Some(_) => Err(Refusal::bare(Kind::RouteNotFound)),
        None => Err(Refusal::method_not_allowed("GET,HEAD")),
    }
}

/// Replays a delivery: makes exactly one new delivery of its event.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/deliveries/{id}:replay", tag = "deliveries",
    operation_id = "replay_delivery",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "A request with the same key again makes no second replay.")),
    request_body = Option<ReplayDelivery>,
    responses(
        (status = 201, description = "The new delivery.", body = Delivery),
        (status = 409, description = "`replay_open`, `delivery_not_final`, `endpoint_unavailable` or `idempotency_key_reused`."),
        (status = 410, description = "`event_expired`."),
    ),
)]
async fn replay(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id: DeliveryId = parse_id(id, Kind::DeliveryNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let asked: ReplayDelivery = json::parse_optional(&body)?;
    let request = ReplayRequest {
        reason: asked.reason,
        new_webhook_id: asked.new_webhook_id.unwrap_or(false),
        idempotency_key: call.idempotency_key(None)?,
    };

    let delivery = api.deps.dead_letters.replay(&tenant, id, request).await?;

    Ok(answer::json(StatusCode::CREATED, &convert::delivery::write(&delivery)))
}
