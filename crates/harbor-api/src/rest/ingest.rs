//! Ingest: what providers send to a source.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use harbor_ingest::receive::{Door, Inbound, ReceiveRefusal, Received};
use harbor_model::event::trace::TraceContext;
use harbor_model::source::SourceResponse;
use harbor_signature::source::Handshake;
use harbor_wire::source::ReceivedEvent;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::answer;
use crate::budget::BodyShare;
use crate::call::parse_id;
use crate::convert::source::write_received;
use crate::json::{self, BodyLimits};
use crate::peer::remote_address;
use crate::problem::{Kind, Result};
use crate::router::Api;

/// Names the event in the answer, whatever its body is.
const EVENT_ID: HeaderName = HeaderName::from_static("x-harborhook-event-id");

/// The media type of a source's own response that names none.
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Where sources are reached; what follows is the source's id.
const BASE: &str = "/ingest/";

/// Takes a webhook of a provider in: verifies it, stores it as an event with all its deliveries, and answers.
///
/// Handshakes of providers that come by other methods, such as `GET`, are answered here too.
#[utoipa::path(
    post, path = "/ingest/{id}", tag = "sources", operation_id = "ingest",
    request_body(
        content((Vec<u8> = "*/*")),
        description = "What the provider sends, of any media type.",
    ),
    responses(
        (
            status = 200,
            description = "The event is stored, or was before. The source may set another answer.",
            body = ReceivedEvent,
        ),
        (status = 401, description = "`invalid_signature` or `stale_timestamp`: nothing was stored."),
        (status = 403, description = "`address_not_allowed`."),
        (status = 404, description = "`source_not_found`."),
        (status = 413, description = "`payload_too_large`."),
        (status = 503, description = "`storage_unavailable` or `overloaded`: nothing was stored."),
        (status = 429, description = "`rate_limited`, `quota_exceeded` or `tenant_crowded`: nothing was stored."),
    ),
    security(()),
)]
pub(crate) async fn ingest(State(api): State<Arc<Api>>, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let id = parse_id(head.uri.path().strip_prefix(BASE).unwrap_or_default(), Kind::SourceNotFound)?;
    let settings = api.settings();
    let remote = remote_address(&head.extensions, &head.headers, &settings.trusted_proxies);
    let inlet = &api.deps.inlet;
    let door = inlet.knock(id, remote, head.method.clone()).await?;
    let share = api.ingest_bodies.share();
    let body = read_body(&api, &door, &head, body, &share).await?;
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let trace = text("traceparent").and_then(|parent| TraceContext::parse(parent, text("tracestate")));
    let inbound = Inbound { url: called_url(&api, &head), headers: head.headers, body, trace };

    let received = inlet.receive(&door, inbound).await?;

    Ok(match (&received, write_received(&received)) {
        (Received::Handshake(handshake), _) => answer_handshake(handshake),
        (_, Some(shown)) => answer_event(&shown, door.response()),
        (_, None) => unreachable!("what is no handshake is an event"),
    })
}

async fn read_body(api: &Api, door: &Door, head: &Parts, body: Body, share: &BodyShare) -> Result<Bytes> {
    let settings = api.settings();
    let limits = BodyLimits { bytes_max: settings.ingest_body_bytes_max, timeout: settings.body_timeout };
    json::read_any(&head.headers, body, limits, share).await.map_err(|refusal| match refusal.kind {
        Kind::PayloadTooLarge => {
            let refused: ReceiveRefusal = api.deps.inlet.refuse_body(door, limits.bytes_max);
            refused.into()
        }
        _ => refusal,
    })
}

/// The URL that the provider called: by the public URL where one is set, else by what the request says itself.
fn called_url(api: &Api, head: &Parts) -> String {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if let Some(public_url) = &api.deps.public_url {
        return format!("{public_url}{path}");
    }
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    match authority.or(host) {
        Some(host) => format!("http://{host}{path}"),
        None => format!("{}{path}", api.deps.base_url),
    }
}

fn answer_event(shown: &ReceivedEvent, response: Option<&SourceResponse>) -> Response {
    let mut answer = match response {
        None => answer::ok(shown),
        Some(response) => own_answer(response),
    };
    let event_id = HeaderValue::from_str(&shown.event_id).expect("an id is ASCII");
    answer.headers_mut().insert(EVENT_ID, event_id);
    answer
}

fn own_answer(response: &SourceResponse) -> Response {
    let mut answer = Response::new(Body::from(response.body.clone()));
    *answer.status_mut() =
        StatusCode::from_u16(response.status).expect("a status was checked when it was set");
    if !response.body.is_empty() {
        let content_type = response.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        answer.headers_mut().insert(CONTENT_TYPE, content_type.unwrap_or(PLAIN_TEXT));
    }
    answer
}

fn answer_handshake(handshake: &Handshake) -> Response {
    let mut answer = Response::new(Body::from(handshake.body.clone()));
    *answer.status_mut() = StatusCode::from_u16(handshake.status).expect("handshakes have valid statuses");
    for (name, value) in handshake.headers() {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
