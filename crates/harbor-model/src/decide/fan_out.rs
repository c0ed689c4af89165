//! Chooses which endpoints an event goes to.

use std::collections::HashMap;

use crate::directory::TenantSnapshot;
use crate::event_type::{EventType, EventTypePattern};
use crate::id::EndpointId;

/// The subscriptions of one tenant, laid out for matching.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<EventType, Vec<EndpointId>>,
    /// Those that have to be asked one by one.
    patterns: Vec<(EventTypePattern, EndpointId)>,
}

impl Routes {
    /// Lays out subscriptions.
    pub fn new(subscriptions: impl IntoIterator<Item = (EventTypePattern, EndpointId)>) -> Self {
        let mut routes = Self::default();
        for (pattern, endpoint) in subscriptions {
            match pattern {
                EventTypePattern::Exact(event_type) => {
                    routes.exact.entry(event_type).or_default().push(endpoint)
                }
                EventTypePattern::All | EventTypePattern::Prefix(_) => {
                    routes.patterns.push((pattern, endpoint));
                }
            }
        }
        routes
    }

    /// The endpoints that want this type, each once, in the order of their ids.
    fn matching(&self, event_type: &EventType) -> Vec<EndpointId> {
        let mut found = self.exact.get(event_type).cloned().unwrap_or_default();
        let by_pattern = self.patterns.iter().filter(|(pattern, _)| pattern.matches(event_type));
        found.extend(by_pattern.map(|(_, endpoint)| *endpoint));
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Where an event goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FanOut {
    /// The endpoints that get a delivery.
    pub endpoints: Vec<EndpointId>,
    /// The endpoints that want it and are disabled.
    pub skipped: Vec<EndpointId>,
}

/// Chooses where an event of this type goes. One delivery per endpoint, however many subscriptions match.
pub fn fan_out(snapshot: &TenantSnapshot, event_type: &EventType) -> FanOut {
    let mut chosen = FanOut::default();
    for id in snapshot.routes.matching(event_type) {
        match snapshot.endpoints.get(&id) {
            Some(view) if view.endpoint.disabled.is_none() => chosen.endpoints.push(id),
            Some(_) => chosen.skipped.push(id),
            // A subscription goes with its endpoint; one that is left over names nobody.
            None => {}
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_is_named_once_however_many_subscriptions_match() {
        let [a, b, c, d] = [1, 2, 3, 4].map(EndpointId::from_number);
        let routes = Routes::new(
            [
                ("*", a),
                ("invoice.*", a),
                ("invoice.paid", a),
                ("invoice.paid", b),
                ("order.*", c),
                ("harborhook.*", d),
            ]
            .map(|(pattern, endpoint)| (pattern.parse().unwrap(), endpoint)),
        );
        let check = |event_type: &str, expected: &[EndpointId]| {
            assert_eq!(routes.matching(&event_type.parse().unwrap()), expected, "{event_type}");
        };
        check("invoice.paid", &[a, b]);
        check("invoice.sent", &[a]);
        check("order.made", &[a, c]);
        check("order", &[a]);
        check("harborhook.delivery.dead", &[d]);
    }
}
