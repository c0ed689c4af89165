//! One attempt: find the endpoint, sign, send, judge, record.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::decide::breaker;
use harbor_model::decide::classify::{Outcome, Verdict, classify};
use harbor_model::decide::retry::{self, INTERRUPTIONS_MAX, Next};
use harbor_model::delivery::Cause;
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::endpoint::DisabledReason;
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::id::AttemptId;
use harbor_model::policy::order::OnDead;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, EndpointKey, Finish, Lease, LeasedDelivery};
use harbor_model::port::handoff::LaneRoom;
use harbor_model::port::observer::{DisabledSeen, EndSeen};
use harbor_model::time::Timestamp;
use tracing::{error, warn};

use crate::send::Sent;
use crate::worker::line::Line;
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
    /// It ends without a request.
    Over(Cause),
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
        Ok(Ok(Course::Held)) => inner.clear(&lease.delivery.key),
        Ok(Ok(Course::Over(cause))) => end_without_request(inner, lease, Next::Dead(cause), false).await,
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
    if view.endpoint.was_disabled_since(delivery.created_at) {
        // Upkeep ends it.
        return Ok(Course::Left);
    }
    if delivery.interrupted_count >= INTERRUPTIONS_MAX {
        return Ok(Course::Over(Cause::WorkerCrash));
    }
    let Some(body) = find_body(inner, delivery, body).await? else {
        return Ok(Course::Over(Cause::EventExpired));
    };
    if !may_send(inner, lease).await? {
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

/// Whether the lease still stands. Of a delivery that was interrupted before, notes besides that it is tried
/// again: should this worker die, it is to blame.
async fn may_send(inner: &Inner, lease: &Lease) -> Result<bool, Fault> {
    if lease.delivery.interrupted_count > 0 {
        return inner.deps.deliveries.note_start(lease.key()).await;
    }
    inner.deps.deliveries.is_held(lease.key()).await
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
    let health = inner.health.saw(&lease.delivery.key, view.endpoint.url_version, verdict, decided_at);
    let attempt = Some(recorded(inner, sent, number, started_at, error_class));
    let on_dead = view.policy.on_dead.value;
    let result = AttemptResult { lease, attempt, is_interrupted: false, next, decided_at, on_dead, health };
    let finish = record(inner, result).await;
    line.tell(inner, &body, &trace, finish);
}

/// Records what becomes of a delivery of which no request is to be recorded.
async fn end_without_request(inner: &Arc<Inner>, lease: Lease, next: Next, is_interrupted: bool) {
    let delivery = lease.delivery.clone();
    let decided_at = inner.deps.clock.now();
    // Its lane is there as long as it is held, and knows the policy in force.
    let view = inner.lanes().find_view(&delivery.key);
    let on_dead = view.map_or(OnDead::default(), |view| view.policy.on_dead.value);
    let result =
        AttemptResult { lease, attempt: None, is_interrupted, next, decided_at, on_dead, health: None };
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

/// Records what came of a delivery, and sees to what follows. Where that fails, the worker takes nothing new
/// for a while: what cannot be recorded would be sent again and again.
async fn record(inner: &Inner, result: AttemptResult) -> Option<Finish> {
    let delivery_id = result.lease.delivery.delivery_id;
    let key = result.lease.delivery.key.clone();
    let (next, health) = (result.next, result.health);
    let finish = inner.deps.deliveries.finish(vec![result]).await.pop().expect("one result has one answer");
    if health.is_some() && !matches!(finish, Ok(Finish::Recorded { .. })) {
        inner.health.forget(&key);
    }
    match finish {
        Ok(finish) => {
            follow(inner, key, next, finish);
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

/// Sees to what follows from what was recorded.
fn follow(inner: &Inner, key: EndpointKey, next: Next, finish: Finish) {
    if let Finish::Recorded { disabled, lane_moved } = finish {
        if lane_moved {
            inner.look_at(std::slice::from_ref(&key));
        }
        if let Some(reason) = disabled {
            tell_disabled(inner, &key, reason);
            inner.clear(&key);
        }
    }
    if let Next::RetryAt(instant) = next {
        inner.wake_at(instant, key);
    }
}

fn tell_disabled(inner: &Inner, key: &EndpointKey, reason: DisabledReason) {
    let EndpointKey { tenant_id, endpoint_id } = key;
    let why = match reason {
        DisabledReason::Gone => "answered 410",
        DisabledReason::Failing => "has only failed for days",
        DisabledReason::Manual => "was no longer wanted",
    };
    warn!(%tenant_id, %endpoint_id, reason = reason.as_str(), "endpoint {endpoint_id} {why} and is disabled");
    inner.deps.observer.endpoint_disabled(DisabledSeen { tenant_id, endpoint_id: *endpoint_id, reason });
}
