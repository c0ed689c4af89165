//! Deliveries, and what can be done to them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_recover::dead_letters::ReplayRequest;
use harbor_wire::delivery::{
    CancelDeliveries, Delivery, DeliveryWithAttempts, ListDeliveries, ReplayDelivery,
};
use harbor_wire::job::Job;
use harbor_wire::list::List;
use http::StatusCode;

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::convert::checks::Checks;
use crate::json::{self, NoFields};
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
        Some((_, "retry")) => retry(&api, &call, body).await,
        Some((_, "cancel")) => cancel(&api, &call, body).await,
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

/// Makes an open delivery due now instead of at its next time. One that is in flight is left as it is.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/deliveries/{id}:retry", tag = "deliveries",
    operation_id = "retry_delivery",
    responses(
        (status = 200, description = "The delivery.", body = Delivery),
        (status = 409, description = "`delivery_final` or `delivery_behind`."),
    ),
)]
async fn retry(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let (tenant, id) = begin(api, call, body).await?;
    let delivery = api.deps.interventions.retry(&tenant, id).await?;
    Ok(answer::ok(&convert::delivery::write(&delivery)))
}

/// Cancels an open delivery at once. What comes of a request under way is kept as an attempt without a number.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/deliveries/{id}:cancel", tag = "deliveries",
    operation_id = "cancel_delivery",
    responses(
        (status = 200, description = "The delivery.", body = Delivery),
        (status = 409, description = "`delivery_final`."),
    ),
)]
async fn cancel(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let (tenant, id) = begin(api, call, body).await?;
    let delivery = api.deps.interventions.cancel(&tenant, id).await?;
    Ok(answer::ok(&convert::delivery::write(&delivery)))
}

/// Cancels all open deliveries that match and were made before, as a job. An empty filter matches all.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/deliveries:cancel", tag = "deliveries",
    operation_id = "cancel_deliveries",
    request_body = CancelDeliveries,
    responses(
        (status = 202, description = "The job.", body = Job),
        (status = 409, description = "`limit_reached`: too many jobs are open."),
    ),
)]
pub(crate) async fn cancel_many(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let asked: CancelDeliveries = json::parse(&body)?;
    let mut checks = Checks::default();
    let filter = convert::job::read_filter(&asked.filter, &mut checks);
    checks.finish()?;

    let job = api.deps.jobs.start_cancel(&tenant, filter).await?;

    Ok(answer::json(StatusCode::ACCEPTED, &convert::job::write(&job)))
}

/// Reads what actions without fields have in common: a delivery in the path, and nothing in the body.
async fn begin(api: &Api, call: &Call, body: Body) -> Result<(TenantId, DeliveryId)> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id = parse_id(id, Kind::DeliveryNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    json::parse_optional::<NoFields>(&body)?;
    Ok((tenant, id))
}
