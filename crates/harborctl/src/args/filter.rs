//! Filters that several lists take.

use clap::Args;
use harbor_wire::delivery::{DeliveryFilter, DeliveryStatus};
use jiff::Timestamp;

use crate::args::moment::Moment;

/// Which deliveries, by what they are owed to and for.
#[derive(Args, Clone, Default)]
pub(crate) struct DeliveryArgs {
    /// To this endpoint
    #[arg(long, value_name = "ID")]
    pub(crate) endpoint: Option<String>,
    /// Of this event
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<String>,
    /// Of events of this type
    #[arg(long, value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
}

/// A stretch of time.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct TimeRange {
    /// From this time on: RFC 3339, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time: RFC 3339, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

impl DeliveryArgs {
    /// These deliveries of a stretch of time that stand so, as the API takes it for jobs.
    pub(crate) fn filter(
        self,
        status: Option<DeliveryStatus>,
        time: TimeRange,
        now: Timestamp,
    ) -> DeliveryFilter {
        DeliveryFilter {
            endpoint_id: self.endpoint,
            event_id: self.event,
            event_type: self.event_type,
            status,
            since: time.since(now),
            until: time.until(now),
        }
    }
}

impl TimeRange {
    /// Its beginning, as the API takes it.
    pub(crate) fn since(self, now: Timestamp) -> Option<String> {
        self.since.map(|time| time.before(now))
    }

    /// Its end, as the API takes it.
    pub(crate) fn until(self, now: Timestamp) -> Option<String> {
        self.until.map(|time| time.before(now))
    }
}
