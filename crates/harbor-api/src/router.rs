//! Every route of the API, and of the ops listener what the two share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, post};
use harbor_model::chance::Rng;
use harbor_model::directory::TenantSnapshot;
use harbor_model::id::TenantId;
use harbor_model::time::Clock;

use crate::budget::BodyBudget;
use crate::cursor::CursorSeal;
use crate::deps::{Deps, Readiness};
use crate::envelope::{Envelope, wrap};
use crate::problem::{Kind, Refusal, Result};
use crate::rest::{
    api_keys, dead_letters, deliveries, documents, endpoint_actions, endpoints, events, health, ingest, jobs,
    lanes, ping, publish, replays, sources, subscriptions, tenants,
};
use crate::settings::Settings;

/// Where what belongs to a tenant is found: under the tenant's name, and for the tenant of the credential.
pub(crate) const TENANT_BASES: [&str; 2] = ["/v1/tenants/{tenant_id}", "/v1"];

/// What every handler has at hand.
pub(crate) struct Api {
    pub(crate) deps: Deps,
    pub(crate) cursors: CursorSeal,
    /// For the bodies of requests to sources, which anybody may send.
    pub(crate) ingest_bodies: BodyBudget,
}

impl Api {
    /// What is known of a tenant.
    pub(crate) async fn snapshot(&self, tenant: &TenantId) -> Result<Arc<TenantSnapshot>> {
        let found = self.deps.directory.tenant(tenant).await?;
        found.ok_or_else(|| Refusal::bare(Kind::TenantNotFound))
    }

    /// The limits.
    pub(crate) fn settings(&self) -> &Settings {
        &self.deps.settings
    }
}

/// The whole API, ready to be served.
pub fn router(deps: Deps) -> Router {
    let envelope = Envelope { clock: Arc::clone(&deps.clock), rng: Arc::clone(&deps.rng) };
    let (readiness, request_timeout) = (Arc::clone(&deps.readiness), deps.settings.request_timeout);
    let health = health::routes(readiness, deps.settings.readiness_timeout);
    let api = Arc::new(Api {
        cursors: CursorSeal::new(&deps.cursor_key),
        ingest_bodies: BodyBudget::new(deps.settings.ingest_bodies_bytes_max),
        deps,
    });

    let router = routes()
        .layer(from_fn_with_state(request_timeout, within))
        // A publish has no deadline of its own: an event that is being stored is better awaited than doubted.
        .merge(publish_routes())
        .with_state(api)
        .merge(health);
    enveloped(router, envelope)
}

/// What the ops listener shares with the API: `/healthz` and `/readyz`.
pub fn ops_router(
    readiness: Arc<dyn Readiness>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    settings: &Settings,
) -> Router {
    enveloped(health::routes(readiness, settings.readiness_timeout), Envelope { clock, rng })
}

/// Adds what stands around every request, also around those that lead nowhere.
fn enveloped(router: Router, envelope: Envelope) -> Router {
    router
        .fallback(async || Refusal::bare(Kind::RouteNotFound))
        .method_not_allowed_fallback(async || Refusal::bare(Kind::MethodNotAllowed))
        .layer(from_fn_with_state(envelope, wrap))
}

/// Ends a request that takes too long.
async fn within(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => Refusal::bare(Kind::Timeout).into_response(),
    }
}

fn routes() -> Router<Arc<Api>> {
    let router = Router::new()
        .route("/v1/ping", get(ping::ping))
        .route("/v1/tenants", get(tenants::list).post(tenants::create))
        .route("/v1/tenants/{tenant_id}", get(tenants::find).patch(tenants::update).delete(tenants::delete))
        .route("/openapi.json", get(documents::openapi))
        .route("/docs", get(documents::docs));
    let router = of_tenant(router, "/endpoints", || get(endpoints::list).post(endpoints::create));
    let router = of_tenant(router, "/endpoints/{id}", || {
        // No segment of a path can be `{id}:pause`, so one route takes all of them.
        get(endpoints::find).patch(endpoints::update).delete(endpoints::delete).post(endpoint_actions::act)
    });
    let router = of_tenant(router, "/endpoints/{id}/rotate-secret", || post(endpoint_actions::rotate_secret));
    let router = of_tenant(router, "/endpoints/{id}/lanes", || get(lanes::list));
    let router = of_tenant(router, "/endpoints/{id}/lanes/{key}", || post(lanes::act));
    let router = of_tenant(router, "/subscriptions", || get(subscriptions::list).post(subscriptions::create));
    let router = of_tenant(router, "/subscriptions/{id}", || {
        get(subscriptions::find).patch(subscriptions::update).delete(subscriptions::delete)
    });
    let router = of_tenant(router, "/sources", || get(sources::list).post(sources::create));
    let router = of_tenant(router, "/sources/{id}", || {
        get(sources::find).patch(sources::update).delete(sources::delete)
    });
    let router = of_tenant(router, "/sources/{id}/rotate-secret", || post(sources::rotate_secret));
    let router = of_tenant(router, "/sources/{id}/rejections", || get(sources::rejections));
    let router = of_tenant(router, "/events", || get(events::list));
    let router = of_tenant(router, "/events/{id}", || get(events::find));
    let router = of_tenant(router, "/events/{id}/deliveries", || get(events::deliveries));
    let router = of_tenant(router, "/events/{id}/payload", || delete(events::expunge));
    let router = of_tenant(router, "/deliveries:cancel", || post(deliveries::cancel_many));
    let router = of_tenant(router, "/deliveries", || get(deliveries::list));
    let router = of_tenant(router, "/deliveries/{id}", || get(deliveries::find).post(deliveries::act));
    let router = of_tenant(router, "/dlq", || get(dead_letters::list));
    let router = of_tenant(router, "/dlq/summary", || get(dead_letters::summary));
    let router = of_tenant(router, "/replays", || get(replays::list).post(replays::create));
    let router = of_tenant(router, "/replays/{id}", || get(replays::find).post(replays::act));
    let router = of_tenant(router, "/jobs", || get(jobs::list));
    let router = of_tenant(router, "/jobs/{id}", || get(jobs::find).post(jobs::act));
    let router = of_tenant(router, "/dlq/{id}", || post(dead_letters::act));
    let router = of_tenant(router, "/api-keys", || get(api_keys::list).post(api_keys::create));
    of_tenant(router, "/api-keys/{id}", || delete(api_keys::delete))
}

fn publish_routes() -> Router<Arc<Api>> {
    // Providers see to their handshakes by various methods.
    let router = Router::new().route("/ingest/{id}", any(ingest::ingest));
    let router = of_tenant(router, "/events:publish", || post(publish::publish));
    of_tenant(router, "/events:batchPublish", || post(publish::batch_publish))
}

/// Adds a resource of tenants at each of its places.
fn of_tenant(
    router: Router<Arc<Api>>,
    path: &str,
    methods: impl Fn() -> MethodRouter<Arc<Api>>,
) -> Router<Arc<Api>> {
    TENANT_BASES.iter().fold(router, |router, base| router.route(&format!("{base}{path}"), methods()))
}

#[cfg(test)]
mod tests;
