//! Replays of many deliveries, as jobs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{ReplayId, TenantId};
use harbor_model::job::JobKind;
use harbor_recover::jobs::StopRefusal;
use harbor_wire::job::{CreateReplay, Replay};
use harbor_wire::list::{List, ListPage};
use http::StatusCode;

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::convert::job::job_of;
use crate::json::{self, BodyLimits, NoFields};
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::router::Api;

const KINDS: [JobKind; 1] = [JobKind::Replay];

/// Replays many deliveries, as a job. All are of before the request, and none was replayed before: the same
/// range twice replays nothing twice.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/replays", tag = "replays", operation_id = "create_replay",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "A request with the same key again makes no second job.")),
    request_body = CreateReplay,
    responses(
        (status = 202, description = "The job.", body = Replay),
        (status = 409, description = "`idempotency_key_reused`, or `limit_reached`: too many jobs are open."),
    ),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let settings = api.settings();
    // Room for the most ids.
    let limits = BodyLimits { bytes_max: settings.publish_body_bytes_max, timeout: settings.body_timeout };
    let body = call.body(body, limits).await?;
    let request = convert::job::read_replay(json::parse(&body)?, call.idempotency_key(None))?;

    let job = api.deps.jobs.start_replay(&tenant, request).await?;

    Ok(answer::json(StatusCode::ACCEPTED, &convert::job::write_replay(&job)))
}

/// Lists replays, newest first, without the ids of those that name them.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/replays", tag = "replays", operation_id = "list_replays",
    params(ListPage),
    responses((status = 200, description = "A page of replays.", body = List<Replay>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: ListPage = call.query()?;
    let listing =
        Listing::new(&api.cursors, api.settings(), "replays", owner_name(Some(&tenant)), &mut query)?;
    let page = api.deps.jobs.list(Some(&tenant), &KINDS, listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |job| convert::job::write_replay_summary(&job)))
}

/// Reads a replay and how far it has come.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/replays/{id}", tag = "replays", operation_id = "get_replay",
    responses((status = 200, description = "The replay.", body = Replay)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: ReplayId = call.id(Kind::ReplayNotFound)?;
    let job = api.deps.jobs.find(Some(&tenant), &KINDS, job_of(id)).await?;
    let job = job.ok_or_else(|| Refusal::bare(Kind::ReplayNotFound))?;
    Ok(answer::ok(&convert::job::write_replay(&job)))
}

/// Takes `POST {id}:verb`.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.id_and_verb() {
        Some((_, "cancel")) => cancel(&api, &call, body).await,
        Some(_) => Err(Refusal::bare(Kind::RouteNotFound)),
        None => Err(Refusal::method_not_allowed("GET,HEAD")),
    }
}

/// Stops a replay. What it did stays.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/replays/{id}:cancel", tag = "replays",
    operation_id = "cancel_replay",
    responses(
        (status = 200, description = "The replay.", body = Replay),
        (status = 409, description = "`job_final`."),
    ),
)]
async fn cancel(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id: ReplayId = parse_id(id, Kind::ReplayNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    json::parse_optional::<NoFields>(&body)?;
    stop(api, &tenant, id).await
}

async fn stop(api: &Api, tenant: &TenantId, id: ReplayId) -> Result<Response> {
    match api.deps.jobs.stop(tenant, &KINDS, job_of(id)).await {
        Ok(job) => Ok(answer::ok(&convert::job::write_replay(&job))),
        Err(StopRefusal::NotFound) => Err(Refusal::bare(Kind::ReplayNotFound)),
        Err(refusal @ (StopRefusal::Final(_) | StopRefusal::Fault(_))) => Err(refusal.into()),
    }
}
