//! What filters let through, for the part of them that no index knows.

use harbor_model::delivery::Delivery;
use harbor_model::event::EventSummary;
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter, EventFilter};
use harbor_model::port::registry::SubscriptionFilter;
use harbor_model::subscription::Subscription;

/// Whether a list of events shows this one; its time apart.
pub(crate) fn is_event_wanted(event: &EventSummary, filter: &EventFilter) -> bool {
    let EventFilter { event_type, idempotency_key, since: _, until: _ } = filter;
    event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
        && idempotency_key.as_ref().is_none_or(|wanted| Some(wanted) == event.idempotency_key.as_ref())
}

/// Whether a list of deliveries shows this one; its time apart.
pub(crate) fn is_delivery_wanted(delivery: &Delivery, filter: &DeliveryFilter) -> bool {
    let DeliveryFilter { endpoint_id, event_id, event_type, status, since: _, until: _ } = filter;
    endpoint_id.is_none_or(|wanted| wanted == delivery.endpoint_id)
        && event_id.is_none_or(|wanted| wanted == delivery.event_id)
        && event_type.as_ref().is_none_or(|wanted| *wanted == delivery.event_type)
        && status.is_none_or(|wanted| wanted == delivery.status)
}

/// Whether a list of dead letters shows this delivery; its endpoint and state apart.
pub(crate) fn is_dead_and_wanted(delivery: &Delivery, filter: &DeadLetterFilter) -> bool {
    let Some(dead) = &delivery.dead_letter else { return false };
    let DeadLetterFilter { endpoint_id: _, event_type, cause, state: _, since, until } = filter;
    event_type.as_ref().is_none_or(|wanted| *wanted == delivery.event_type)
        && cause.is_none_or(|wanted| wanted == dead.cause)
        && since.is_none_or(|since| dead.dead_at >= since)
        && until.is_none_or(|until| dead.dead_at < until)
}

/// Whether a list of subscriptions shows this one.
pub(crate) fn is_subscription_wanted(subscription: &Subscription, filter: &SubscriptionFilter) -> bool {
    filter.endpoint_id.is_none_or(|id| id == subscription.endpoint_id)
        && filter.pattern.as_ref().is_none_or(|pattern| *pattern == subscription.pattern)
}
