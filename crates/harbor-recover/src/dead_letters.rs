//! What people do about deliveries that have ended: replay them, or put them aside.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::delivery::Delivery;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::invalid::FieldError;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::text::has_control;
use harbor_model::time::Clock;

/// What replaying needs.
#[derive(Clone)]
pub struct Deps {
    /// Stores replays.
    pub replays: Arc<dyn Replays>,
    /// Wakes whoever delivers.
    pub handoff: Arc<dyn Handoff>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
}

/// The limits of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most characters in a reason.
    pub reason_chars_max: usize,
    /// The most characters in an idempotency key.
    pub key_chars_max: usize,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reason_chars_max: 1024,
            key_chars_max: 255,
            idempotency_window: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// A replay that somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Why, for people.
    pub reason: Option<String>,
    /// Whether the receiver is to take it for a new webhook rather than a repeat.
    pub new_webhook_id: bool,
    /// Makes a repeated request the same one.
    pub idempotency_key: Option<String>,
}

/// Says why there is no replay.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplayRefusal {
    /// Fields break their rules.
    #[error("{} of the fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// There is no such delivery.
    #[error("the delivery does not exist")]
    NotFound,
    /// A replay of it is still under way.
    #[error("{by} already replays it and has not ended")]
    Open {
        /// That replay.
        by: DeliveryId,
    },
    /// It is itself still under way.
    #[error("the delivery has not ended yet")]
    NotFinal,
    /// The payload is no longer kept.
    #[error("the payload of the event is no longer kept")]
    Expired,
    /// There is nobody to deliver to.
    #[error("the endpoint of the delivery is deleted or disabled")]
    NoEndpoint,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another replay")]
    KeyReused,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Says why a dead letter is not discarded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiscardRefusal {
    /// There is no such dead letter.
    #[error("the dead letter does not exist")]
    NotFound,
    /// It was replayed.
    #[error("the dead letter was replayed")]
    Replayed,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Replays deliveries and discards dead letters.
#[derive(Clone)]
pub struct DeadLetters {
    deps: Deps,
    settings: Settings,
}

impl DeadLetters {
    /// With these limits.
    pub fn new(deps: Deps, settings: Settings) -> Self {
        Self { deps, settings }
    }

    /// Makes exactly one new delivery of the event that `of` owed.
    ///
    /// # Errors
    /// The delivery is missing or open, cannot be repeated, or the request breaks a rule.
    pub async fn replay(
        &self,
        tenant: &TenantId,
        of: DeliveryId,
        request: ReplayRequest,
    ) -> Result<Delivery, ReplayRefusal> {
        validate(&request, &self.settings).map_err(ReplayRefusal::Invalid)?;
        let now = self.deps.clock.now();
        let replay = NewReplay {
            id: DeliveryId::new(now, &*self.deps.rng),
            tenant_id: tenant.clone(),
            of,
            reason: request.reason,
            new_webhook_id: request.new_webhook_id,
            idempotency: request.idempotency_key.map(|key| (key, now + self.settings.idempotency_window)),
            now,
        };
        match self.deps.replays.replay(replay).await? {
            Replayed::Made(delivery) => {
                self.announce(&delivery);
                Ok(delivery)
            }
            Replayed::Missing => Err(ReplayRefusal::NotFound),
            Replayed::Open { by } => Err(ReplayRefusal::Open { by }),
            Replayed::NotFinal => Err(ReplayRefusal::NotFinal),
            Replayed::Expired => Err(ReplayRefusal::Expired),
            Replayed::NoEndpoint => Err(ReplayRefusal::NoEndpoint),
            Replayed::KeyReused => Err(ReplayRefusal::KeyReused),
        }
    }

    /// Puts a dead letter aside. Discarding it again changes nothing.
    ///
    /// # Errors
    /// There is no such dead letter, or it was replayed.
    pub async fn discard(&self, tenant: &TenantId, id: DeliveryId) -> Result<Delivery, DiscardRefusal> {
        match self.deps.replays.discard(tenant, id, self.deps.clock.now()).await? {
            Discarded::Done(delivery) => Ok(delivery),
            Discarded::Missing => Err(DiscardRefusal::NotFound),
            Discarded::Replayed => Err(DiscardRefusal::Replayed),
        }
    }

    fn announce(&self, delivery: &Delivery) {
        let key = EndpointKey { tenant_id: delivery.tenant_id.clone(), endpoint_id: delivery.endpoint_id };
        self.deps.handoff.announce(&[key]);
    }
}

fn validate(request: &ReplayRequest, settings: &Settings) -> Result<(), Vec<FieldError>> {
    let mut wrong = Vec::new();
    check_text(&mut wrong, "reason", request.reason.as_deref(), 0..=settings.reason_chars_max);
    check_text(&mut wrong, "idempotency_key", request.idempotency_key.as_deref(), 1..=settings.key_chars_max);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Holds a text against the rules of all texts, and its own length.
pub(crate) fn check_text(
    wrong: &mut Vec<FieldError>,
    field: &str,
    text: Option<&str>,
    chars: RangeInclusive<usize>,
) {
    let Some(text) = text else { return };
    if !chars.contains(&text.chars().count()) {
        let rule = format!("must be {} to {} characters", chars.start(), chars.end());
        wrong.push(FieldError::new(field, rule));
    }
    if has_control(text) {
        wrong.push(FieldError::new(field, "must not hold control characters"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_field_that_is_wrong() {
        let check = |reason: Option<&str>, key: Option<&str>, expected: &[&str]| {
            let request = ReplayRequest {
                reason: reason.map(str::to_owned),
                idempotency_key: key.map(str::to_owned),
                new_webhook_id: false,
            };
            let wrong = validate(&request, &Settings::default()).err().unwrap_or_default();
            let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{request:?}");
        };
        check(None, None, &[]);
        check(Some(""), Some("k"), &[]);
        check(Some("line\nend"), Some(&"é".repeat(255)), &[]);
        check(Some("\0"), Some(""), &["reason", "idempotency_key"]);
        check(Some(&"r".repeat(1025)), Some(&"k".repeat(256)), &["reason", "idempotency_key"]);
    }
}
