//! Subscriptions.

use harbor_model::event_type::EventTypePattern;
use harbor_model::id::EndpointId;
use harbor_model::invalid::FieldError;
use harbor_model::port::registry::SubscriptionFilter;
use harbor_model::subscription::Subscription;
use harbor_wire::subscription as wire;

use crate::convert::checks::Checks;

/// What a caller says of a subscription.
pub(crate) struct SubscriptionFields {
    pub(crate) pattern: EventTypePattern,
    pub(crate) endpoint_id: EndpointId,
}

/// Reads what a caller says of a subscription.
pub(crate) fn read(subscription: &wire::CreateSubscription) -> Result<SubscriptionFields, Vec<FieldError>> {
    let mut checks = Checks::default();
    let pattern = checks.ok("event_type", subscription.event_type.parse());
    let endpoint_id = checks.ok("endpoint_id", subscription.endpoint_id.parse());
    match (pattern, endpoint_id) {
        (Some(pattern), Some(endpoint_id)) => Ok(SubscriptionFields { pattern, endpoint_id }),
        (_, _) => Err(checks.finish().expect_err("a field that is not there was refused")),
    }
}

/// Writes out what may be changed of a subscription, as [`read`] reads it.
pub(crate) fn write_fields(subscription: &Subscription) -> wire::CreateSubscription {
    wire::CreateSubscription {
        event_type: subscription.pattern.to_string(),
        endpoint_id: subscription.endpoint_id.to_string(),
    }
}

/// Writes out a subscription.
pub(crate) fn write(subscription: &Subscription) -> wire::Subscription {
    wire::Subscription {
        id: subscription.id.to_string(),
        event_type: subscription.pattern.to_string(),
        endpoint_id: subscription.endpoint_id.to_string(),
        created_at: subscription.created_at.to_string(),
        updated_at: subscription.updated_at.to_string(),
    }
}

/// Reads which subscriptions a list shows.
pub(crate) fn read_filter(query: &wire::ListSubscriptions) -> Result<SubscriptionFilter, Vec<FieldError>> {
    let mut checks = Checks::default();
    let filter = SubscriptionFilter {
        endpoint_id: checks.parse("endpoint_id", query.endpoint_id.as_deref()),
        pattern: checks.parse("event_type", query.event_type.as_deref()),
    };
    checks.finish().map(|()| filter)
}
