//! One attempt: find the endpoint, sign, send, judge, record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::decide::breaker;
use harbor_model::decide::classify::{Outcome, Verdict, classify};
use harbor_model::decide::retry::{self, Next};
use harbor_model::delivery::Cause;
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::id::AttemptId;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, EndpointKey, Finish, Lease, LeasedDelivery};
use harbor_model::port::handoff::LaneRoom;
use harbor_model::port::observer::{AttemptSeen, EndSeen};
use harbor_model::time::Timestamp;
use tracing::{error, info, warn};

use crate::send::Sent;
use crate::worker::prepared::Planned;
use crate::worker::unwind;
use crate::worker::{Inner, Work};

/// Takes one delivery through one attempt. Whatever happens, its slot and its room are free afterwards,
/// and its lease is recorded or given back.
pub(super) async fn run(inner: Arc<Inner>, work: Work, is_probe: bool) {
    let Work { lease, body, bytes } = work;
    let key = lease.delivery.key.clone();
    let mut place = Place { inner: Arc::clone(&inner), key, bytes, is_in_flight: true, is_probe };
    tokio::select! {
        biased;
        () = deliver(&inner, lease, body, &mut place) => {}
        // The lease went down with the future: given back.
        () = inner.abandoning.cancelled() => {}
    }
}

/// What an attempt occupies in the lanes.
struct Place {
    inner: Arc<Inner>,
    key: EndpointKey,
    bytes: u64,
    is_in_flight: bool,
    is_probe: bool,
}

impl Place {
    /// Frees the slot once the request is over: recording it must not keep others from sending.
    fn free_slot(&mut self) {
        if std::mem::take(&mut self.is_in_flight) {
            let now = self.inner.deps.clock.now();
            self.inner.lanes().request_ended(&self.key, self.is_probe, now);
            self.inner.pump();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.free_slot();
        self.inner.release(&self.key, self.bytes);
    }
}

/// What became of a delivery whose turn had come, before anything is recorded.
enum Course {
    /// A request was made.
    Sent(Box<Tried>),
    /// The endpoint takes nothing now: what waits for it goes back to the store.
    Held,
    /// The event is no longer kept.
    Expired,
    /// Somebody else holds the delivery, or may by now: it is left to whoever does.
    Left,
}

/// A request that was made.
struct Tried {
    view: Arc<EndpointView>,
    body: Arc<EventBody>,
    trace: TraceContext,
    number: u16,
    started_at: Timestamp,
    sent: Sent,
    verdict: Verdict,
    error_class: Option<ErrorClass>,
}

async fn deliver(inner: &Arc<Inner>, lease: Lease, body: Option<Arc<EventBody>>, place: &mut Place) {
    match unwind::caught(send(inner, &lease, body, place)).await {
        Ok(Ok(Course::Sent(tried))) => conclude(inner, lease, *tried).await,
        Ok(Ok(Course::Held)) => inner.drain(&lease.delivery.key),
        Ok(Ok(Course::Expired)) => {
            let next = Next::Dead(Cause::EventExpired);
            end_without_request(inner, lease, next, false).await;
        }
        Ok(Ok(Course::Left)) => {}
        Ok(Err(fault)) => {
            error!(delivery_id = %lease.delivery.delivery_id, %fault, "cannot prepare an attempt: {fault}");
        }
        Err(panic) => {
            place.free_slot();
            let LeasedDelivery { delivery_id, interrupted_count, .. } = lease.delivery;
            error!(%delivery_id, interrupted_count, "an attempt of {delivery_id} broke off: {panic}");
            let next = retry::after_interruption(interrupted_count + 1, inner.deps.clock.now());
            end_without_request(inner, lease, next, true).await;
        }
    }
}

/// Makes the request, unless something stands in its way, and judges what came of it.
async fn send(
    inner: &Arc<Inner>,
    lease: &Lease,
    body: Option<Arc<EventBody>>,
    place: &mut Place,
) -> Result<Course, Fault> {
    let deps = &inner.deps;
    let delivery = &lease.delivery;
    let Some((snapshot, view)) = find_endpoint(inner, delivery).await? else { return Ok(Course::Held) };
    let Some(body) = find_body(inner, delivery, body).await? else { return Ok(Course::Expired) };
    if delivery.interrupted_count > 0 && !deps.deliveries.note_start(lease.key()).await? {
        return Ok(Course::Left);
    }
    let started_at = deps.clock.now();
    let number = delivery.attempt_count + 1;
    let trace = body.trace.child(&*deps.rng);
    let planned = Planned { delivery, body: &body, number, trace: &trace };
    let request = inner.prepared.of(&delivery.key, &view, &snapshot.addresses).request(&planned, started_at);
    // The process may have stood still at any point up to here, and others have taken over what it held.
    if inner.acting() != Some(lease.key().worker) {
        return Ok(Course::Left);
    }

    let sent = deps.sender.send(request).await;

    let (verdict, error_class) = classify(sent.outcome);
    let seen = breaker::Seen { verdict, started_at, latency: sent.latency };
    // Before the slot is free, so that none follows a failure that opens the breaker.
    inner.lanes().saw(&delivery.key, view.endpoint.url_version, seen, deps.clock.now());
    place.free_slot();
    let tried = Tried { view, body, trace, number, started_at, sent, verdict, error_class };
    Ok(Course::Sent(Box::new(tried)))
}

/// The endpoint as it is now; none where it takes nothing.
async fn find_endpoint(
    inner: &Inner,
    delivery: &LeasedDelivery,
) -> Result<Option<(Arc<TenantSnapshot>, Arc<EndpointView>)>, Fault> {
    let tenant_id = &delivery.key.tenant_id;
    inner.deps.directory.observe(tenant_id, delivery.directory_version);
    let Some(snapshot) = inner.deps.directory.tenant(tenant_id).await? else { return Ok(None) };
    let Some(view) = snapshot.endpoints.get(&delivery.key.endpoint_id).cloned() else { return Ok(None) };
    if view.endpoint.paused || view.endpoint.disabled.is_some() {
        return Ok(None);
    }
    inner.lanes().learn(&delivery.key, &view, inner.deps.clock.now());
    Ok(Some((snapshot, view)))
}

/// The event; none where it is no longer kept.
async fn find_body(
    inner: &Inner,
    delivery: &LeasedDelivery,
    body: Option<Arc<EventBody>>,
) -> Result<Option<Arc<EventBody>>, Fault> {
    if let Some(body) = body.or_else(|| inner.bodies.find(delivery.event_id)) {
        return Ok(Some(body));
    }
    let ask = (delivery.key.tenant_id.clone(), delivery.event_id);
    let body = inner.deps.deliveries.load_events(vec![ask]).await?.pop().flatten();
    if let Some(body) = &body {
        inner.bodies.keep(body);
    }
    Ok(body)
}

/// Records what came of a request.
async fn conclude(inner: &Arc<Inner>, lease: Lease, tried: Tried) {
    let Tried { view, body, trace, number, started_at, sent, verdict, error_class } = tried;
    let decided_at = inner.deps.clock.now();
    let next = retry::decide(verdict, number, &view.policy.retry, decided_at, inner.deps.rng.unit());
    let line = Line {
        delivery: lease.delivery.clone(),
        number,
        error_class,
        http_status: status_of(sent.outcome),
        error: sent.error.clone(),
        latency: sent.latency,
        remote_address: sent.remote_address,
        next,
        decided_at,
    };
    let gone_url_version = matches!(verdict, Verdict::Gone).then_some(view.endpoint.url_version);
    let attempt = Some(recorded(inner, sent, number, started_at, error_class));
    let result = AttemptResult { lease, attempt, is_interrupted: false, next, decided_at, gone_url_version };
    let finish = record(inner, result).await;
    line.tell(inner, &body, &trace, finish);
}

/// Records what becomes of a delivery of which no request is to be recorded.
async fn end_without_request(inner: &Arc<Inner>, lease: Lease, next: Next, is_interrupted: bool) {
    let delivery = lease.delivery.clone();
    let decided_at = inner.deps.clock.now();
    let result =
        AttemptResult { lease, attempt: None, is_interrupted, next, decided_at, gone_url_version: None };
    let finish = record(inner, result).await;
    if let (Some(Finish::Recorded { .. }), Next::Dead(cause)) = (finish, next) {
        let EndpointKey { tenant_id, endpoint_id } = &delivery.key;
        let took = decided_at.since(delivery.created_at);
        let cause = Some(cause);
        inner.deps.observer.ended(EndSeen { tenant_id, endpoint_id: *endpoint_id, cause, took });
    }
}

fn status_of(outcome: Outcome) -> Option<u16> {
    match outcome {
        Outcome::Answered { status, .. } => Some(status),
        Outcome::Unreachable(_) => None,
    }
}

/// What is kept of an attempt.
fn recorded(
    inner: &Inner,
    sent: Sent,
    number: u16,
    started_at: Timestamp,
    error_class: Option<ErrorClass>,
) -> Attempt {
    Attempt {
        id: AttemptId::new(started_at, &*inner.deps.rng),
        number: Some(number),
        started_at,
        latency: sent.latency,
        http_status: status_of(sent.outcome),
        error_class,
        error: sent.error,
        response_body: sent.response_body,
        response_headers: sent.response_headers,
        remote_address: sent.remote_address,
    }
}

/// Records what came of a delivery. Where that fails, the worker takes nothing new for a while: what
/// cannot be recorded would be sent again and again.
async fn record(inner: &Inner, result: AttemptResult) -> Option<Finish> {
    let delivery_id = result.lease.delivery.delivery_id;
    let key = result.lease.delivery.key.clone();
    let next = result.next;
    let mut finishes = inner.deps.deliveries.finish(vec![result]).await;
    match finishes.pop().expect("one result has one answer") {
        Ok(finish) => {
            if let Next::RetryAt(instant) = next {
                inner.wake_at(instant, key);
            }
            Some(finish)
        }
        Err(fault) => {
            inner.is_troubled.store(true, Ordering::Relaxed);
            inner.look.notify_one();
            error!(%delivery_id, %fault, "cannot record an attempt of {delivery_id}, it will be repeated: {fault}");
            None
        }
    }
}

/// What those who watch are told of an attempt.
struct Line {
    delivery: LeasedDelivery,
    number: u16,
    error_class: Option<ErrorClass>,
    http_status: Option<u16>,
    error: Option<String>,
    latency: Duration,
    remote_address: Option<SocketAddr>,
    next: Next,
    decided_at: Timestamp,
}

impl Line {
    /// Tells of the attempt in one wide line, and counts it.
    fn tell(&self, inner: &Inner, body: &EventBody, trace: &TraceContext, finish: Option<Finish>) {
        let Self { delivery, number, next, .. } = self;
        let EndpointKey { tenant_id, endpoint_id } = &delivery.key;
        let outcome = match (finish, next) {
            (Some(Finish::Superseded), _) => "superseded",
            (None, _) => "unrecorded",
            (Some(Finish::Recorded { .. }), Next::Delivered) => "delivered",
            (Some(Finish::Recorded { .. }), Next::RetryAt(_)) => "failed",
            (Some(Finish::Recorded { .. }), Next::Dead(_)) => "dead",
        };
        let (next_attempt_at, cause) = match next {
            Next::Delivered => (None, None),
            Next::RetryAt(instant) => (Some(instant), None),
            Next::Dead(cause) => (None, Some(*cause)),
        };
        info!(
            delivery_id = %delivery.delivery_id,
            event_id = %delivery.event_id,
            tenant_id = %tenant_id,
            endpoint_id = %endpoint_id,
            event_type = %body.event_type,
            trace_id = trace.trace_id_text(),
            attempt = number,
            outcome,
            http_status = self.http_status,
            error_class = self.error_class.map(ErrorClass::as_str),
            error = self.error,
            cause = cause.map(Cause::as_str),
            next_attempt_at = next_attempt_at.map(tracing::field::display),
            remote_address = self.remote_address.map(tracing::field::display),
            duration_ms = self.latency.as_secs_f64() * 1000.0,
            payload_bytes = body.payload.len(),
            "attempt {number} of {}: {outcome}",
            delivery.delivery_id,
        );
        if let Some(Finish::Recorded { endpoint_disabled }) = finish {
            self.count(inner, cause);
            if endpoint_disabled {
                warn!(%tenant_id, %endpoint_id, "endpoint {endpoint_id} answered 410 and is disabled");
                inner.drain(&delivery.key);
            }
        }
    }

    fn count(&self, inner: &Inner, cause: Option<Cause>) {
        let EndpointKey { tenant_id, endpoint_id } = &self.delivery.key;
        let observer = &inner.deps.observer;
        let is_retried = matches!(self.next, Next::RetryAt(_));
        observer.attempted(AttemptSeen {
            tenant_id,
            endpoint_id: *endpoint_id,
            error_class: self.error_class,
            is_retried,
            took: self.latency,
        });
        if !is_retried {
            let took = self.decided_at.since(self.delivery.created_at);
            observer.ended(EndSeen { tenant_id, endpoint_id: *endpoint_id, cause, took });
        }
    }
}
