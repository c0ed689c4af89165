//! Filters that several lists take.

use clap::Args;
use jiff::Timestamp;

use crate::args::moment::Moment;

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
