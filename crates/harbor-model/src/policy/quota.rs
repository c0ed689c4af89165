//! How much a tenant may publish.

use crate::policy::{RateLimit, Sourced};

/// What one layer sets of the quota. A field that is `None` is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLayer {
    /// The most events per second.
    pub rate: Option<RateLimit>,
    /// The most events in one day of UTC.
    pub per_day: Option<u64>,
}

/// The quota in force for one tenant; none of a part is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// See [`QuotaLayer::rate`].
    pub rate: Sourced<Option<RateLimit>>,
    /// See [`QuotaLayer::per_day`].
    pub per_day: Sourced<Option<u64>>,
}

impl Quota {
    /// Takes each part from the nearest layer that sets it.
    pub fn resolve(instance: &QuotaLayer, tenant: &QuotaLayer) -> Self {
        Self {
            rate: Sourced::of_tenant(tenant.rate.map(Some), instance.rate.map(Some), None),
            per_day: Sourced::of_tenant(tenant.per_day.map(Some), instance.per_day.map(Some), None),
        }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.rate.value.is_some() || self.per_day.value.is_some()
    }
}
