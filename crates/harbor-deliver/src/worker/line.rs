//! What those who watch are told of an attempt: one wide line, and counts.

use std::net::SocketAddr;
use std::time::Duration;

use harbor_model::attempt::ErrorClass;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::port::deliveries::{EndpointKey, Finish, LeasedDelivery};
use harbor_model::port::observer::{AttemptSeen, EndSeen};
use harbor_model::time::Timestamp;
use tracing::info;

use crate::worker::Inner;

/// What those who watch are told of an attempt.
pub(super) struct Line {
    pub(super) delivery: LeasedDelivery,
    pub(super) number: u16,
    pub(super) error_class: Option<ErrorClass>,
    pub(super) http_status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) latency: Duration,
    pub(super) remote_address: Option<SocketAddr>,
    pub(super) next: Next,
    pub(super) decided_at: Timestamp,
}

impl Line {
    /// Tells of the attempt in one wide line, and counts it.
    pub(super) fn tell(&self, inner: &Inner, body: &EventBody, trace: &TraceContext, finish: Option<Finish>) {
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
        if let Some(Finish::Recorded { .. }) = finish {
            self.count(inner, cause);
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
