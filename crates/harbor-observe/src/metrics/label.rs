//! Labels, each with a bounded set of values.

use std::collections::HashSet;
use std::fmt::{self, Display, Write};
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use harbor_model::id::{EndpointId, TenantId};
use prometheus_client::encoding::{
    EncodeLabel, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

/// The first ids that were seen, up to a number. The rest have no name of their own.
///
/// Whose place was taken keeps it until the process ends: a series that is counted on under another
/// name would look as if it had been reset.
pub(crate) struct Capped<Id> {
    known: ArcSwap<HashSet<Id>>,
    max: usize,
}

/// One of the ids that have a place, or all the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CappedId<Id> {
    /// This one.
    One(Id),
    /// One of the rest.
    Other,
}

impl<Id: Clone + Eq + Hash> Capped<Id> {
    /// Has room for so many.
    pub(crate) fn new(max: usize) -> Self {
        Self { known: ArcSwap::default(), max }
    }

    /// Gives the id a place, if there is one.
    ///
    /// The set is copied when an id is new, which happens at most as often as it has room, and read
    /// without a lock at all other times.
    pub(crate) fn admit(&self, id: &Id) -> CappedId<Id> {
        let known = self.known.load();
        if known.contains(id) {
            return CappedId::One(id.clone());
        }
        if known.len() >= self.max {
            return CappedId::Other;
        }
        drop(known);
        self.known.rcu(|known| {
            let mut grown = HashSet::clone(known);
            if grown.len() < self.max {
                grown.insert(id.clone());
            }
            Arc::new(grown)
        });
        if self.known.load().contains(id) { CappedId::One(id.clone()) } else { CappedId::Other }
    }
}

impl<Id: Display> EncodeLabelValue for CappedId<Id> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::One(id) => write!(encoder, "{id}"),
            Self::Other => encoder.write_str("other"),
        }
    }
}

/// The endpoint's label, where endpoints are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointPart(pub(crate) Option<CappedId<EndpointId>>);

impl EncodeLabelSet for EndpointPart {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Some(id) = &self.0 else { return Ok(()) };
        ("endpoint_id", id.clone()).encode(encoder.encode_label())
    }
}

/// Labels of events that were stored, or refused for their tenant's quota.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TenantLabels {
    pub(crate) tenant_id: CappedId<TenantId>,
}

/// Labels of final deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeliveryLabels {
    pub(crate) status: &'static str,
    pub(crate) tenant_id: CappedId<TenantId>,
    #[prometheus(flatten)]
    pub(crate) endpoint: EndpointPart,
}

/// Labels of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabels {
    pub(crate) outcome: &'static str,
    #[prometheus(flatten)]
    pub(crate) endpoint: EndpointPart,
}

/// Labels of requests to sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IngestLabels {
    pub(crate) provider: &'static str,
    pub(crate) result: &'static str,
}

/// Labels of retries, dead letters and endpoints that were disabled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

/// Labels of what was done for somebody: publishes and transactions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    pub(crate) result: &'static str,
}

/// Labels of what passes from state to state: circuit breakers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabels {
    pub(crate) state: &'static str,
}

/// Labels of the build.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BuildLabels {
    pub(crate) version: &'static str,
}
