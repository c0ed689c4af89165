//! Operational events: publishes what happened to a tenant's endpoints and deliveries to those who subscribe
//! to it by name.

use async_trait::async_trait;
use harbor_model::decide::fan_out::fan_out;
use harbor_model::id::NoticeId;
use harbor_model::notice::{Notice, Subject};
use harbor_model::port::Fault;
use harbor_model::port::notices::Announcer;
use serde_json::{Value, json};
use tracing::warn;

use crate::publish::{PublishRefusal, Publisher, ROUNDS_MAX};
use crate::request::PublishRequest;

/// Publishes notices like any event, but for what a publisher has to mind: they stand in no lane and count for
/// no quota. Where nobody subscribes, nothing is stored.
#[async_trait]
impl Announcer for Publisher {
    async fn announce(&self, notice: &Notice) -> Result<(), Fault> {
        let event_type = notice.subject.event_type();
        let request = PublishRequest {
            payload: payload_of(notice).into(),
            idempotency_key: Some(idempotency_key(notice.id)),
            occurred_at: Some(notice.id.made_at()),
            ..PublishRequest::default()
        };
        let accepted = self.body_of(&notice.tenant_id, request, event_type.clone());
        for _ in 0..ROUNDS_MAX {
            let Some(snapshot) = self.deps.directory.tenant(&notice.tenant_id).await? else { return Ok(()) };
            let chosen = fan_out(&snapshot, &event_type);
            if chosen.endpoints.is_empty() {
                return Ok(());
            }
            let prepared = match self.prepare(&snapshot, &accepted, chosen) {
                Ok(prepared) => prepared,
                Err(refusal) => return drop_refused(notice, refusal),
            };
            match self.store(vec![prepared]).await.pop().expect("one event has one outcome") {
                Some(Ok(_)) => return Ok(()),
                Some(Err(refusal)) => return drop_refused(notice, refusal),
                // The directory has changed: choose again.
                None => {}
            }
        }
        Err(Fault::bare("the directory changes faster than a notice can be published"))
    }
}

/// Drops a notice that cannot be published, but for what may be otherwise the next time.
fn drop_refused(notice: &Notice, refusal: PublishRefusal) -> Result<(), Fault> {
    match refusal {
        PublishRefusal::Fault(fault) => Err(fault),
        PublishRefusal::Crowded => Err(Fault::new("a notice could not be published", refusal)),
        PublishRefusal::Invalid(_)
        | PublishRefusal::TooLarge { .. }
        | PublishRefusal::FanOutTooLarge { .. }
        | PublishRefusal::KeyReused
        | PublishRefusal::NoTenant
        | PublishRefusal::NoEndpoint
        | PublishRefusal::EndpointDisabled
        | PublishRefusal::QuotaExceeded(_) => {
            let Notice { id, tenant_id, .. } = notice;
            warn!(notice_id = %id, %tenant_id, %refusal, "notice {id} is dropped: {refusal}");
            Ok(())
        }
    }
}

fn idempotency_key(id: NoticeId) -> String {
    format!("harborhook:{id}")
}

/// What the subscribers get. The same for each repetition of a notice, to the byte.
fn payload_of(notice: &Notice) -> Vec<u8> {
    let Notice { id, subject, .. } = notice;
    let mut payload = match subject {
        Subject::EndpointDisabled { endpoint_id, reason } => json!({
            "endpoint_id": endpoint_id.to_string(),
            "reason": reason.as_str(),
        }),
        Subject::CircuitOpened { endpoint_id, next_probe_at } => json!({
            "endpoint_id": endpoint_id.to_string(),
            "next_probe_at": next_probe_at.to_string(),
        }),
        Subject::DeliveryDead { delivery_id, event_id, event_type, endpoint_id, cause, attempt_count } => {
            json!({
                "delivery_id": delivery_id.to_string(),
                "event_id": event_id.to_string(),
                "event_type": event_type.as_str(),
                "endpoint_id": endpoint_id.to_string(),
                "cause": cause.as_str(),
                "attempt_count": attempt_count,
            })
        }
    };
    payload["type"] = Value::from(subject.event_type().as_str());
    payload["id"] = Value::from(id.to_string());
    payload["occurred_at"] = Value::from(id.made_at().to_string());
    payload.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
