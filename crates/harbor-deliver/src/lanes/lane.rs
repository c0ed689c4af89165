//! One endpoint's lane: what waits, what is in flight, and whether more may go.

use std::collections::VecDeque;
use std::sync::Arc;

use harbor_model::decide::rate::TokenBucket;
use harbor_model::directory::EndpointView;
use harbor_model::time::Timestamp;

use crate::lanes::{LANE_ITEMS_MIN, LANE_ITEMS_PER_SLOT, Settings};

/// One endpoint's lane.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    /// The endpoint as it was last seen.
    view: Arc<EndpointView>,
    /// Leased and not started, the first due first.
    pub(crate) waiting: VecDeque<T>,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Reserved, waiting, in flight or not yet recorded.
    pub(crate) items: usize,
    /// Whether the store has, or may have, more.
    pub(crate) has_more: bool,
    /// When the next token comes, while the lane waits for one.
    pub(crate) throttled_until: Option<Timestamp>,
    bucket: Option<TokenBucket>,
}

/// Whether a lane may send.
pub(crate) enum Readiness {
    /// Now.
    Ready,
    /// Not before this instant.
    Throttled(Timestamp),
    /// Not before something waits or ends.
    Full,
}

impl<T> Lane<T> {
    pub(crate) fn new(view: Arc<EndpointView>, now: Timestamp) -> Self {
        let bucket = view.policy.rate_limit.value.map(|limit| TokenBucket::full(limit, now));
        Self {
            view,
            waiting: VecDeque::new(),
            in_flight: 0,
            items: 0,
            has_more: false,
            throttled_until: None,
            bucket,
        }
    }

    /// Takes over the limits of `view`; says whether it is another than before.
    pub(crate) fn learn(&mut self, view: &Arc<EndpointView>, now: Timestamp) -> bool {
        // Snapshots are read anew as a whole; an older publish must not bring old limits back.
        if Arc::ptr_eq(&self.view, view) || view.endpoint.version < self.view.endpoint.version {
            return false;
        }
        self.bucket = match (self.bucket, view.policy.rate_limit.value) {
            (_, None) => None,
            (None, Some(limit)) => Some(TokenBucket::full(limit, now)),
            (Some(bucket), Some(limit)) if bucket.limit() == limit => Some(bucket),
            (Some(bucket), Some(limit)) => Some(bucket.with_limit(limit, now)),
        };
        self.view = Arc::clone(view);
        true
    }

    /// How many deliveries the lane may hold.
    pub(crate) fn items_max(&self, settings: &Settings) -> usize {
        let wanted = self.in_flight_max().saturating_mul(LANE_ITEMS_PER_SLOT).max(LANE_ITEMS_MIN);
        wanted.min(settings.lane_items_max)
    }

    fn in_flight_max(&self) -> usize {
        usize::try_from(self.view.policy.max_in_flight.value).unwrap_or(usize::MAX)
    }

    pub(crate) fn readiness(&self, now: Timestamp) -> Readiness {
        if self.waiting.is_empty() || self.in_flight >= self.in_flight_max() {
            return Readiness::Full;
        }
        // A copy pays for the look, so that looking costs no token.
        match self.bucket.map(|mut bucket| bucket.take(now)) {
            None | Some(Ok(())) => Readiness::Ready,
            Some(Err(ready_at)) => Readiness::Throttled(ready_at),
        }
    }

    /// Takes what is sent next, with its token; none where there is nothing or no token.
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<T> {
        if self.waiting.is_empty() || self.bucket.as_mut().is_some_and(|bucket| bucket.take(now).is_err()) {
            return None;
        }
        self.in_flight += 1;
        self.waiting.pop_front()
    }

    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        self.items == 0 && !self.has_more && self.bucket.is_none_or(|bucket| bucket.is_full(now))
    }
}
