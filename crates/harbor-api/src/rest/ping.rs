//! Ping: the server is there, and whom it takes the caller for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use harbor_wire::health::Ping;

use crate::answer;
use crate::call::Call;
use crate::convert::api_key::write_role;
use crate::problem::Result;
use crate::router::Api;

/// Says that the server is there, and whom it takes the credential for, if there is one.
#[utoipa::path(
    get, path = "/v1/ping", tag = "server", operation_id = "ping",
    responses((status = 200, description = "The server is there.", body = Ping)),
    security((), ("api_key" = [])),
)]
pub(crate) async fn ping(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let caller = if call.has_credential() { Some(call.caller(&api).await?) } else { None };
    Ok(answer::ok(&Ping {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: api.deps.clock.now().to_string(),
        tenant_id: caller.as_ref().and_then(|caller| caller.tenant.as_ref()).map(ToString::to_string),
        role: caller.map(|caller| write_role(caller.role)),
    }))
}
