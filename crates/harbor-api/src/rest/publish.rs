//! Publish: one event, or many.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use harbor_auth::permit::Action;
use harbor_ingest::publish::PublishReceipt;
use harbor_ingest::request::PublishRequest;
use harbor_model::id::TenantId;
use harbor_wire::event::{BatchPublish, BatchPublished, BatchResult, PublishEvent, PublishedEvent};

use crate::answer;
use crate::call::Call;
use crate::convert::event::{Around, read};
use crate::json::{self, BodyLimits};
use crate::problem::{Kind, Refusal, Result};
use crate::quota;
use crate::router::Api;

/// Publishes an event: stores it durably with a delivery for each endpoint that wants it.
///
/// The payload is delivered byte for byte as it stands in the request.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/events:publish", tag = "events", operation_id = "publish_event",
    params(("Idempotency-Key" = Option<String>, Header, description = "See `idempotency_key`.")),
    request_body = PublishEvent,
    responses(
        (status = 200, description = "The event is stored, or was before.", body = PublishedEvent),
        (status = 409, description = "`idempotency_key_reused`."),
        (status = 429, description = "`tenant_crowded` or `quota_exceeded`: nothing was stored."),
    ),
)]
pub(crate) async fn publish(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Publish).await?;
    let settings = api.settings();
    let limits = BodyLimits { bytes_max: settings.publish_body_bytes_max, timeout: settings.body_timeout };
    let body = call.body(body, limits).await?;
    let event = parse_event(json::text(&body)?)?;
    let payload = body.slice_ref(event.payload.get().as_bytes());
    let request = read_event(&api, &call, event, payload)?;

    let receipt = api.deps.publisher.publish(&tenant, request).await?;

    Ok(with_quota(&api, &tenant, answer::ok(&write_receipt(&receipt))).await)
}

/// Publishes many events. Each is atomic and has a result of its own; the batch is not atomic.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/events:batchPublish", tag = "events",
    operation_id = "batch_publish_events",
    request_body = BatchPublish,
    responses((
        status = 200,
        description = "What came of each event, in their order. An event that was refused has its problem as \
            `error`, with a status of its own such as 409 `idempotency_key_reused`, 429 `tenant_crowded` or 429 \
            `quota_exceeded`.",
        body = BatchPublished,
    )),
)]
pub(crate) async fn batch_publish(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Publish).await?;
    let settings = api.settings();
    let limits = BodyLimits { bytes_max: settings.batch_body_bytes_max, timeout: settings.body_timeout };
    let body = call.body(body, limits).await?;
    let requests = read_batch(&api, &call, json::text(&body)?)?;

    let mut results = Vec::with_capacity(requests.len());
    let mut accepted = Vec::with_capacity(requests.len());
    for request in requests {
        match request {
            Ok(request) => {
                accepted.push(request);
                results.push(None);
            }
            Err(refusal) => results.push(Some(Err(refusal))),
        }
    }
    let published = api.deps.publisher.publish_batch(&tenant, accepted).await;
    let mut published = published.into_iter().map(|result| result.map_err(Refusal::from));

    let result = |result: Option<Result<PublishReceipt>>| {
        let result = result.or_else(|| published.next()).expect("each accepted event has a result");
        match result {
            Ok(receipt) => BatchResult::Published(write_receipt(&receipt)),
            Err(refusal) => BatchResult::Refused { error: refusal.to_problem(call.request_id.as_str()) },
        }
    };
    let answer = answer::ok(&BatchPublished { results: results.into_iter().map(result).collect() });
    Ok(with_quota(&api, &tenant, answer).await)
}

/// The answer, with how the tenant stands with its quota, if it has one.
async fn with_quota(api: &Api, tenant: &TenantId, mut answer: Response) -> Response {
    // What is stored is stored: an answer without these headers is better than none.
    if let Ok(Some(standing)) = api.deps.publisher.quota_standing(tenant).await {
        quota::tell(standing, answer.headers_mut());
    }
    answer
}

/// Reads the events of a batch, each by itself.
fn read_batch(api: &Api, call: &Call, text: &str) -> Result<Vec<Result<PublishRequest>>> {
    if call.idempotency_key(None)?.is_some() {
        return Err(Refusal::field("Idempotency-Key", "does not go with a batch; give each event its own"));
    }
    let batch: BatchPublish<'_> =
        json::parse_borrowed(text, |text| json::attempt::<BatchPublish<'_>>(text).map(drop))?;
    let (count, max) = (batch.events.len(), api.settings().batch_events_max);
    if !(1..=max).contains(&count) {
        return Err(Refusal::field("events", format!("must be 1 to {max} events")));
    }
    Ok(batch.events.iter().map(|event| read_batch_event(api, call, event.get())).collect())
}

fn read_batch_event(api: &Api, call: &Call, text: &str) -> Result<PublishRequest> {
    let max = api.settings().publish_body_bytes_max;
    if text.len() > max {
        let detail = format!("an event may have at most {max} bytes");
        return Err(Refusal::new(Kind::PayloadTooLarge, detail));
    }
    let event = parse_event(text)?;
    // A slice of the batch would keep all of it in memory until this event is delivered.
    let payload = Bytes::copy_from_slice(event.payload.get().as_bytes());
    read_event(api, call, event, payload)
}

fn parse_event(text: &str) -> Result<PublishEvent<'_>> {
    json::parse_borrowed(text, |text| json::attempt::<PublishEvent<'_>>(text).map(drop))
}

fn read_event(api: &Api, call: &Call, mut event: PublishEvent<'_>, payload: Bytes) -> Result<PublishRequest> {
    let around = Around {
        payload,
        idempotency_key: call.idempotency_key(event.idempotency_key.take()),
        trace: call.trace(),
        settings: api.deps.publisher.settings(),
        now: api.deps.clock.now(),
    };
    Ok(read(event, around)?)
}

fn write_receipt(receipt: &PublishReceipt) -> PublishedEvent {
    PublishedEvent {
        event_id: receipt.event_id.to_string(),
        fanout_count: receipt.fan_out_count,
        duplicate: receipt.is_duplicate,
    }
}
