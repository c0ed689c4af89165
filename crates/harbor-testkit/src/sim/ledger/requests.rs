//! Requests as receivers saw them: each had to be allowed when it began.

use bytes::Bytes;
use harbor_model::id::{DeliveryId, EndpointId};
use harbor_model::port::deliveries::LeaseKey;

use crate::receivers::Answer;
use crate::sim::ledger::{Ledger, NodeId};

/// A request that a receiver saw.
pub(crate) struct RequestFacts {
    pub(crate) node: NodeId,
    pub(crate) delivery: DeliveryId,
    pub(crate) endpoint: EndpointId,
    /// Which attempt it said to be.
    pub(crate) number: u16,
    /// By which lease it was made.
    pub(crate) lease: Option<LeaseKey>,
    /// None while the receiver has not answered.
    pub(crate) answer: Option<Answer>,
    /// Whether nobody waits for the answer any more.
    pub(crate) is_dropped: bool,
    /// Whether its worker died or lost its lease before it was recorded: it may be repeated.
    pub(crate) is_cut: bool,
    /// What the store made of it.
    pub(crate) ending: Ending,
}

impl RequestFacts {
    /// Whether it occupies the receiver.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.answer.is_none() && !self.is_dropped
    }
}

/// What the store made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing yet.
    None,
    /// It counts.
    Recorded,
    /// It is kept and counts for nothing.
    Superseded,
    /// Recording it failed, or seemed to: it may be repeated.
    Unrecorded,
}

/// A request as it arrives.
pub(crate) struct Arrival<'a> {
    pub(crate) node: NodeId,
    pub(crate) path: &'a str,
    pub(crate) event_id: &'a str,
    pub(crate) delivery_id: &'a str,
    pub(crate) number: u16,
    pub(crate) body: &'a Bytes,
}

impl Ledger {
    /// Takes in a request; answers its number.
    pub(crate) fn arrives(&mut self, arrival: &Arrival<'_>) -> Option<usize> {
        let Arrival { node, path, number, .. } = *arrival;
        let Ok(id) = arrival.delivery_id.parse::<DeliveryId>() else {
            self.violated(format!("a request names no delivery: {}", arrival.delivery_id));
            return None;
        };
        let Some(delivery) = self.deliveries.get(&id) else {
            self.violated(format!("{node} sends {id}, which was never stored"));
            return None;
        };
        let label = delivery.label.clone();
        let endpoint_id = delivery.endpoint;
        let request = RequestFacts {
            node,
            delivery: id,
            endpoint: endpoint_id,
            number,
            lease: self.leases.get(&id).cloned(),
            answer: None,
            is_dropped: false,
            is_cut: false,
            ending: Ending::None,
        };
        let seq = self.requests.len();
        self.note(format_args!("#{seq}: {node} sends {label} to {path}, attempt {number}"));
        self.check_content(arrival, id);
        self.check_right(&request);
        self.check_repeats(&request);
        self.check_endpoint(&request, path);
        self.check_order(&request);
        self.requests.push(request);
        Some(seq)
    }

    /// What is sent is what was published, and it is sent to whom it was owed.
    fn check_content(&mut self, arrival: &Arrival<'_>, id: DeliveryId) {
        let delivery = &self.deliveries[&id];
        let (event_id, label) = (delivery.event, delivery.label.clone());
        let event = &self.events[&event_id];
        let is_its_own = event.payload == *arrival.body && arrival.event_id == event_id.to_string();
        let prefix = format!("/{}/{}/", delivery.tenant, delivery.endpoint);
        self.hold(is_its_own, || format!("{label} carries another event"));
        self.hold(arrival.path.starts_with(&prefix), || format!("{label} goes astray to {}", arrival.path));
    }

    /// Who sends holds the delivery, which is not final.
    fn check_right(&mut self, request: &RequestFacts) {
        let Some(facts) = self.nodes.get(&request.node).copied() else {
            return self.violated(format!("{} sends though it is dead", request.node));
        };
        if facts.is_dazed || self.on_the_way.contains(&(request.node, request.delivery)) {
            return;
        }
        let label = self.label_of(request.delivery);
        let is_holder =
            request.lease.as_ref().is_some_and(|key| self.workers.get(&key.worker) == Some(&request.node));
        self.hold(is_holder, || format!("{} sends {label} without holding it", request.node));
        let delivery = &self.deliveries[&request.delivery];
        let (status, attempts) = (delivery.status, delivery.attempts);
        let is_final = delivery.is_final();
        self.hold(!is_final, || format!("{label} is sent though it is {status}"));
        self.hold(request.number == attempts + 1, || {
            format!("{label} is sent as attempt {} after {attempts}", request.number)
        });
    }

    /// The same attempt is made again only where nobody can know what came of the first.
    fn check_repeats(&mut self, request: &RequestFacts) {
        let same =
            self.requests.iter().enumerate().filter(|(_, earlier)| {
                earlier.delivery == request.delivery && earlier.number == request.number
            });
        let wrong: Vec<_> = same
            .filter(|(_, earlier)| !earlier.is_cut && earlier.ending != Ending::Unrecorded)
            .map(|(seq, _)| seq)
            .collect();
        let label = self.label_of(request.delivery);
        self.hold(wrong.is_empty(), || {
            format!("attempt {} of {label} is made again, though #{wrong:?} was not lost", request.number)
        });
    }

    /// The endpoint takes requests, and not more than it wants.
    fn check_endpoint(&mut self, request: &RequestFacts, path: &str) {
        let now = self.now();
        let node = request.node;
        let is_dazed = self.nodes.get(&node).is_none_or(|facts| facts.is_dazed);
        let of_node = |other: &&RequestFacts| {
            other.node == node && other.endpoint == request.endpoint && other.is_in_flight()
        };
        let in_flight = self.requests.iter().filter(of_node).count();
        let delivery = &self.deliveries[&request.delivery];
        let endpoint = self.endpoints.get_mut(&request.endpoint).expect("a delivery is owed to an endpoint");
        let has_outlived = endpoint.has_outlived(request.delivery, delivery);
        let sight = endpoint.sight_of(node);
        sight.has_learned = true;
        let in_flight_max = usize::try_from(sight.in_flight_max).expect("a limit fits");
        let is_over_rate = sight.bucket.as_mut().is_some_and(|bucket| bucket.take(now).is_err());
        let is_excused = sight.may_be_old || is_dazed;
        let label = endpoint.label.clone();
        let takes = endpoint.takes_requests() && !has_outlived;
        let is_path = endpoint.path == path;
        endpoint.last_started_at = Some(now);
        self.hold(takes || is_excused, || format!("{label} takes no requests and gets one"));
        self.hold(is_path || is_excused, || format!("{label} gets a request at its old URL {path}"));
        self.hold(in_flight < in_flight_max, || {
            format!("{label} gets a request from {node} with {in_flight} of {in_flight_max} in flight")
        });
        self.hold(!is_over_rate || is_dazed, || format!("{label} gets a request over its rate from {node}"));
    }

    /// Says that a receiver answers.
    pub(crate) fn answers(&mut self, seq: usize, answer: Answer) {
        self.note(format_args!("#{seq} is answered: {answer:?}"));
        self.requests[seq].answer = Some(answer);
        self.last_ended_at = Some(self.now());
    }

    /// Says that nobody waits for an answer any more.
    pub(crate) fn dropped(&mut self, seq: usize) {
        self.requests[seq].is_dropped = true;
    }

    /// The requests that wait for an answer.
    pub(crate) fn in_flight(&self) -> Vec<usize> {
        let all = self.requests.iter().enumerate();
        all.filter(|(_, request)| request.is_in_flight()).map(|(seq, _)| seq).collect()
    }
}
