//! Jobs that cancel deliveries, of a tenant, and jobs that remove tenants, of the instance.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{JobId, TenantId};
use harbor_model::job::JobKind;
use harbor_wire::job::Job;
use harbor_wire::list::{List, ListPage};

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert;
use crate::json::{self, NoFields};
use crate::list::{Listing, owner_name};
use crate::problem::{Kind, Refusal, Result};
use crate::router::Api;

/// The kinds of jobs that are shown of a tenant, or of the instance: a purge outlives its tenant.
fn kinds_of(owner: Option<&TenantId>) -> &'static [JobKind] {
    match owner {
        Some(_) => &[JobKind::Cancel],
        None => &[JobKind::Purge],
    }
}

/// Lists jobs that cancel deliveries, newest first. At `/v1/jobs` an operator sees those that remove tenants.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/jobs", tag = "jobs", operation_id = "list_jobs",
    params(ListPage),
    responses((status = 200, description = "A page of jobs.", body = List<Job>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let (_, owner) = call.owner(&api, Action::Read).await?;
    let mut query: ListPage = call.query()?;
    let listing = Listing::new(&api.cursors, api.settings(), "jobs", owner_name(owner.as_ref()), &mut query)?;
    let page = api.deps.jobs.list(owner.as_ref(), kinds_of(owner.as_ref()), listing.ask).await?;
    Ok(listing.answer(&api.cursors, page, |job| convert::job::write(&job)))
}

/// Reads a job and how far it has come. At `/v1/jobs/{id}` an operator sees one that removes a tenant.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/jobs/{id}", tag = "jobs", operation_id = "get_job",
    responses((status = 200, description = "The job.", body = Job)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let (_, owner) = call.owner(&api, Action::Read).await?;
    let id: JobId = call.id(Kind::JobNotFound)?;
    let job = api.deps.jobs.find(owner.as_ref(), kinds_of(owner.as_ref()), id).await?;
    let job = job.ok_or_else(|| Refusal::bare(Kind::JobNotFound))?;
    Ok(answer::ok(&convert::job::write(&job)))
}

/// Takes `POST {id}:verb`.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.id_and_verb() {
        Some((_, "cancel")) => cancel(&api, &call, body).await,
        Some(_) => Err(Refusal::bare(Kind::RouteNotFound)),
        None => Err(Refusal::method_not_allowed("GET,HEAD")),
    }
}

/// Stops a job that cancels deliveries. What it did stays. One that removes a tenant is not stopped.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/jobs/{id}:cancel", tag = "jobs", operation_id = "cancel_job",
    responses(
        (status = 200, description = "The job.", body = Job),
        (status = 409, description = "`job_final`."),
    ),
)]
async fn cancel(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id: JobId = parse_id(id, Kind::JobNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    json::parse_optional::<NoFields>(&body)?;

    let job = api.deps.jobs.stop(&tenant, kinds_of(Some(&tenant)), id).await?;

    Ok(answer::ok(&convert::job::write(&job)))
}
