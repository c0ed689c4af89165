//! What can be done to an endpoint beside changing its fields.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use harbor_auth::permit::Action;
use harbor_model::endpoint::{DisabledReason, Drain, Endpoint};
use harbor_model::id::EndpointId;
use harbor_model::invalid::FieldError;
use harbor_model::policy::written::RATE;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;
use harbor_wire::endpoint as wire;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::answer;
use crate::call::{Call, parse_id};
use crate::convert::checks::Checks;
use crate::convert::endpoint::read_secret;
use crate::json::{self, NoFields};
use crate::problem::{Kind, Refusal, Result};
use crate::rest::endpoints::{change, generate_secret, show};
use crate::rest::rotation::{Rotation, read_overlap};
use crate::router::Api;

/// Takes `POST {id}:verb`.
pub(crate) async fn act(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    match call.id_and_verb() {
        Some((_, "test")) => test(&api, &call, body).await,
        Some((_, "pause")) => pause(&api, &call, body).await,
        Some((_, "resume")) => resume(&api, &call, body).await,
        Some((_, "enable")) => enable(&api, &call, body).await,
        Some((_, "disable")) => disable(&api, &call, body).await,
        Some(_) => Err(Refusal::bare(Kind::RouteNotFound)),
        None => Err(Refusal::method_not_allowed("GET,HEAD,PATCH,DELETE")),
    }
}

/// Sends the endpoint an event of type `harborhook.test`, whatever it subscribes to.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}:test", tag = "endpoints",
    operation_id = "test_endpoint",
    responses(
        (status = 200, description = "The test event is on its way.", body = wire::TestedEndpoint),
        (status = 409, description = "`endpoint_disabled`."),
        (status = 429, description = "`tenant_crowded`: nothing was sent."),
    ),
)]
async fn test(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(api, Action::Change).await?;
    let (id, NoFields {}) = begin(api, call, body).await?;
    let payload = json!({"type": "harborhook.test", "endpoint_id": id.to_string()}).to_string();

    let receipt = api.deps.publisher.publish_test(&tenant, id, Bytes::from(payload), call.trace()).await?;

    Ok(answer::ok(&wire::TestedEndpoint {
        event_id: receipt.event_id.to_string(),
        delivery_id: receipt.delivery_id.to_string(),
    }))
}

/// Pauses the endpoint: new deliveries wait. A drain ends.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}:pause", tag = "endpoints",
    operation_id = "pause_endpoint",
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
async fn pause(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let edit = |former: &Endpoint, _: &NoFields, _| Endpoint { paused: true, drain: None, ..former.clone() };
    change_by(api, call, body, edit).await
}

/// Resumes the endpoint: what waits is delivered, at most `drain_per_second` of it each second if that is
/// given.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}:resume", tag = "endpoints",
    operation_id = "resume_endpoint",
    request_body = Option<wire::ResumeEndpoint>,
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
async fn resume(api: &Api, call: &Call, body: Body) -> Result<Response> {
    change_by(api, call, body, resumed).await
}

/// Enables the endpoint: it gets events again.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}:enable", tag = "endpoints",
    operation_id = "enable_endpoint",
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
async fn enable(api: &Api, call: &Call, body: Body) -> Result<Response> {
    let edit = |former: &Endpoint, _: &NoFields, _| Endpoint { disabled: None, ..former.clone() };
    change_by(api, call, body, edit).await
}

/// Disables the endpoint: it gets no events, and its open deliveries die.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}:disable", tag = "endpoints",
    operation_id = "disable_endpoint",
    responses((status = 200, description = "The endpoint.", body = wire::Endpoint)),
)]
async fn disable(api: &Api, call: &Call, body: Body) -> Result<Response> {
    // The first reason stays: it says more than that somebody agreed.
    let disabled = |former: &Endpoint| Some(former.disabled.unwrap_or(DisabledReason::Manual));
    let edit = |former: &Endpoint, _: &NoFields, _| Endpoint { disabled: disabled(former), ..former.clone() };
    change_by(api, call, body, edit).await
}

/// Gives the endpoint a new secret; the old one also signs for a while.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/endpoints/{id}/rotate-secret", tag = "endpoints",
    operation_id = "rotate_secret",
    request_body = Option<wire::RotateSecret>,
    responses((status = 200, description = "The new secret, which is never shown again.", body = wire::RotatedSecret)),
)]
pub(crate) async fn rotate_secret(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: EndpointId = call.id(Kind::EndpointNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let rotation = read_rotation(&api, json::parse_optional(&body)?)?;

    let edit = |former: &Endpoint| {
        let secrets = rotation.of(&former.secrets);
        Ok(Endpoint { secrets, ..former.clone() })
    };
    change(&api, &call, &tenant, id, edit).await?;

    Ok(answer::secret(answer::ok(&wire::RotatedSecret {
        id: id.to_string(),
        secret: rotation.secret.expose().to_owned(),
        previous_secret_expires_at: rotation.old_ends_at.to_string(),
    })))
}

fn read_rotation(api: &Api, asked: wire::RotateSecret) -> Result<Rotation> {
    let mut checks = Checks::default();
    let secret = asked.secret.and_then(|secret| read_secret(secret, &mut checks));
    let overlap = read_overlap(asked.overlap.as_deref(), api.settings(), &mut checks);
    checks.finish()?;
    let secret = secret.unwrap_or_else(|| generate_secret(api));
    let now = api.deps.clock.now();
    Ok(Rotation { secret, now, old_ends_at: now + overlap, secrets_max: api.settings().secrets_max })
}

/// The endpoint after it was resumed. One that drains already goes on with what it drains, at the new rate.
fn resumed(former: &Endpoint, resume: &wire::ResumeEndpoint, now: Timestamp) -> Endpoint {
    let since = former.drain.filter(|_| !former.paused).map_or(now, |drain| drain.since);
    let drain = resume.drain_per_second.map(|per_second| Drain { per_second, since });
    Endpoint { paused: false, drain, ..former.clone() }
}

/// The body of an action.
trait ActionBody: DeserializeOwned + Default {
    /// Says everything that is wrong with it.
    fn check(&self) -> Result<(), Vec<FieldError>>;
}

impl ActionBody for NoFields {
    fn check(&self) -> Result<(), Vec<FieldError>> {
        Ok(())
    }
}

impl ActionBody for wire::ResumeEndpoint {
    fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut checks = Checks::default();
        if self.drain_per_second.is_some_and(|rate| !RATE.contains(&rate)) {
            checks.refuse("drain_per_second", format!("must be {} to {}", RATE.start(), RATE.end()));
        }
        checks.finish()
    }
}

/// Reads what an action has in common: an endpoint in the path, and a body that may be left out.
async fn begin<T: ActionBody>(api: &Api, call: &Call, body: Body) -> Result<(EndpointId, T)> {
    let (id, _) = call.id_and_verb().unwrap_or_default();
    let id = parse_id(id, Kind::EndpointNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let asked: T = json::parse_optional(&body)?;
    asked.check()?;
    Ok((id, asked))
}

/// Edits the endpoint, and wakes whoever delivers: it may have work now.
async fn change_by<T: ActionBody>(
    api: &Api,
    call: &Call,
    body: Body,
    edit: impl Fn(&Endpoint, &T, Timestamp) -> Endpoint,
) -> Result<Response> {
    let snapshot = call.tenant_snapshot(api, Action::Change).await?;
    let tenant_id = &snapshot.tenant.id;
    let (endpoint_id, asked) = begin(api, call, body).await?;
    let now = api.deps.clock.now();
    let endpoint = change(api, call, tenant_id, endpoint_id, |former| Ok(edit(former, &asked, now))).await?;
    api.deps.handoff.announce(&[EndpointKey { tenant_id: tenant_id.clone(), endpoint_id }]);
    show(api, &snapshot, &endpoint).await
}
