//! Whether what is due starts in time, while nothing stands in its way.
//!
//! This is what finds a wake-up that was lost: no rule is broken then, only nothing happens.

use std::time::Duration;

use harbor_deliver::{lanes, worker};

use crate::sim::ledger::{EndpointFacts, Ledger};
use crate::sim::node::Node;
use crate::sim::wire::Weather;

/// How long the engine may take to be itself again after a disturbance: a pause after trouble, a beat that is
/// confirmed, a walk; with several workers a death that has to be noticed first.
fn recovery(nodes: usize) -> Duration {
    Duration::from_secs(if nodes == 1 { 20 } else { 50 })
}

/// How long the longest due may wait where workers may hold next to nothing: endpoints take turns then, one
/// with each walk.
const PATIENCE_IN_WANT: Duration = Duration::from_secs(40);

fn is_scarce(settings: &worker::Settings) -> bool {
    settings.lanes.items_max < lanes::Settings::default().items_max
}

/// Holds what is due against the clock. All nodes must be at rest.
pub(crate) fn check(ledger: &mut Ledger, nodes: &[Node], settings: &worker::Settings) {
    let now = ledger.now();
    let recovery = recovery(nodes.len());
    let is_calm = nodes.iter().all(|node| !node.is_frozen && node.line.weather() == Weather::Fair)
        && ledger.nodes.values().all(|facts| facts.is_settled)
        && ledger.calm_since + recovery <= now;
    if !is_calm || !has_room(nodes, settings) {
        return;
    }
    let since = |instant| now.since(instant);
    let patience = if is_scarce(settings) { PATIENCE_IN_WANT } else { settings.refill_interval };
    let is_late = |instant| since(instant) >= patience;
    let in_flight = ledger.in_flight();
    let late = ledger.deliveries.iter().find(|(id, delivery)| {
        ledger.due_at_of(**id, delivery).is_some_and(is_late)
            && !in_flight.iter().any(|seq| ledger.requests[*seq].delivery == **id)
            && {
                let endpoint = &ledger.endpoints[&delivery.endpoint];
                endpoint.takes_requests()
                    && !endpoint.is_draining
                    && !endpoint.has_outlived(**id, delivery)
                    && since(endpoint.changed_at) >= recovery
                    && endpoint.breaker_seen_at.is_none_or(|seen_at| since(seen_at) >= recovery)
                    && ledger.last_ended_at.is_none_or(is_late)
                    && has_pace(ledger, endpoint, nodes, settings)
            }
    });
    if let Some((id, delivery)) = late {
        let held_by = ledger.leases.get(id).map_or("nobody".to_owned(), |key| ledger.name_of(key.worker));
        let due_at = delivery.due_at.map_or_else(String::new, |due_at| due_at.to_string());
        let label = &delivery.label;
        let what = format!("{label} is due since {due_at}, held by {held_by}, and does not start");
        ledger.violated(what);
    }
}

/// Whether every worker has room for more of anything.
fn has_room(nodes: &[Node], settings: &worker::Settings) -> bool {
    let lanes = &settings.lanes;
    nodes.iter().all(|node| {
        let held = node.worker().held();
        held.in_flight < lanes.slots_max / 2
            && held.items < lanes.tenant_items_max
            && held.bytes * 2 < lanes.tenant_bytes_max
    })
}

/// Whether the endpoint would take one more request from every worker.
fn has_pace(ledger: &Ledger, endpoint: &EndpointFacts, nodes: &[Node], settings: &worker::Settings) -> bool {
    // With several workers each has a part of the limits, which may be none.
    let parts = u32::try_from(nodes.len()).expect("there are few nodes");
    let share = usize::try_from(endpoint.max_in_flight / parts).expect("a limit fits");
    // Where little may be held, a lane that has something waits until it is low before it takes more.
    let in_flight_max = if is_scarce(settings) { share.min(1) } else { share };
    let has_slot = nodes.iter().all(|node| {
        let of_node = ledger.in_flight().into_iter().map(|seq| &ledger.requests[seq]);
        let of_node = of_node.filter(|request| request.node == node.id);
        of_node.filter(|request| request.endpoint == endpoint.key.endpoint_id).count() < in_flight_max
    });
    let has_token = endpoint.rate.is_none_or(|rate| {
        let share = rate.per_second / parts;
        let wait = Duration::from_secs(2) / share.max(1);
        share > 0 && endpoint.last_started_at.is_none_or(|started_at| ledger.now().since(started_at) > wait)
    });
    has_slot && has_token
}
