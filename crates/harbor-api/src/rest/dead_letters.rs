//! Dead letters: deliveries that are tried no more.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::DeliveryId;
use harbor_wire::delivery::{DeadLetter, DeadLetterSummary, ListDeadLetters};
use harbor_wire::list::List;

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::json::{self, NoFields};
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::router::Api;

/// Lists dead letters, newest first; the open ones unless asked otherwise.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/dlq", tag = "dead letters", operation_id = "list_dead_letters",
    params(ListDeadLetters),
    responses((status = 200, description = "A page of dead letters.", body = List<DeadLetter>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: ListDeadLetters = call.query()?;
    let filter = convert::delivery::read_dead_letter_filter(&query)?;
    let listing = Listing::new(&api.cursors, api.settings(), "dlq", owner_name(Some(&tenant)), &mut query)?;
    let page = api.deps.history.dead_letters(&tenant, filter, listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |delivery| convert::delivery::write_dead_letter(&delivery)))
}

/// Counts open dead letters by endpoint and cause, the most first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/dlq/summary", tag = "dead letters",
    operation_id = "summarize_dead_letters",
    responses(
        (status = 200, description = "The counts.", body = DeadLetterSummary),
        (status = 422, description = "`validation_failed`."),
    ),
)]
pub(crate) async fn summary(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let NoFields {} = call.query()?;
    let summary = api.deps.history.dead_letter_summary(&tenant).await?;
    Ok(answer::ok(&convert::delivery::write_dead_letter_summary(&summary)))
}

/// Takes `POST {id}:verb`.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.id_and_verb() {
        Some((_, "discard")) => discard(&api, &call, body).await,
        Some(_) | None => Err(Refusal::bare(Kind::RouteNotFound)),
    }
}

/// Puts a dead letter aside.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/dlq/{id}:discard", tag = "dead letters",
    operation_id = "discard_dead_letter",
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetter),
        (status = 409, description = "`dead_letter_replayed`."),
    ),
)]
async fn discard(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id: DeliveryId = parse_id(id, Kind::DeadLetterNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    json::parse_optional::<NoFields>(&body)?;

    let delivery = api.deps.dead_letters.discard(&tenant, id).await?;

    Ok(answer::ok(&convert::delivery::write_dead_letter(&delivery)))
}
