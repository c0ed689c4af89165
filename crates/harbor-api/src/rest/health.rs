//! Health: whether the process is alive, and whether what it needs is reachable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use harbor_wire::health::Health;
use tracing::warn;

use crate::answer;
use crate::deps::Readiness;
use crate::problem::{Kind, Refusal, Result};

#[derive(Clone)]
pub(crate) struct Check {
    readiness: Arc<dyn Readiness>,
    timeout: Duration,
}

/// `/healthz` and `/readyz`.
pub(crate) fn routes(readiness: Arc<dyn Readiness>, timeout: Duration) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Check { readiness, timeout })
}

/// Says that the process is alive.
#[utoipa::path(
    get, path = "/healthz", tag = "server", operation_id = "healthz",
    responses((status = 200, description = "The process is alive.", body = Health)),
    security(()),
)]
pub(crate) async fn healthz() -> Response {
    ok()
}

/// Says whether what the server needs is reachable.
#[utoipa::path(
    get, path = "/readyz", tag = "server", operation_id = "readyz",
    responses(
        (status = 200, description = "The server is ready.", body = Health),
        (status = 503, description = "`not_ready`."),
    ),
    security(()),
)]
pub(crate) async fn readyz(State(check): State<Check>) -> Result<Response> {
    match tokio::time::timeout(check.timeout, check.readiness.check()).await {
        Ok(Ok(())) => Ok(ok()),
        Ok(Err(fault)) => {
            warn!(%fault, "not ready: {fault}");
            Err(Refusal::new(Kind::NotReady, "the store does not answer as it should"))
        }
        Err(_) => Err(Refusal::new(Kind::NotReady, "the store does not answer in time")),
    }
}

fn ok() -> Response {
    answer::ok(&Health { status: "ok".to_owned() })
}
