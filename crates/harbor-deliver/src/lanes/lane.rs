//! One endpoint's lane: what waits, what is in flight, and whether more may go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use harbor_model::decide::breaker::{Breaker, Passage, Wish};
use harbor_model::decide::rate::TokenBucket;
use harbor_model::decide::share::Part;
use harbor_model::directory::EndpointView;
use harbor_model::id::WorkerId;
use harbor_model::time::Timestamp;

use crate::lanes::draining::Draining;
use crate::lanes::{LANE_ITEMS_MIN, LANE_ITEMS_PER_SLOT, Settings};

/// One endpoint's lane.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    /// The endpoint as it was last seen.
    pub(crate) view: Arc<EndpointView>,
    /// What this worker may make of the endpoint's limits; none where others send.
    part: Option<Part>,
    /// Leased and not started, the first due first.
    pub(crate) waiting: VecDeque<T>,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Whether one of them is a probe.
    pub(crate) is_probing: bool,
    /// Reserved, waiting, in flight or not yet recorded.
    pub(crate) items: usize,
    /// Payload bytes of those.
    pub(crate) bytes: u64,
    /// Whether the store has, or may have, more.
    pub(crate) has_more: bool,
    /// When the next token comes, while the lane waits for one.
    pub(crate) throttled_until: Option<Timestamp>,
    bucket: Option<TokenBucket>,
    /// How the lane takes from the store, while its endpoint drains.
    pub(crate) draining: Option<Draining>,
    pub(crate) breaker: Breaker,
    /// What the breaker is to become in the store, and nobody has been asked for yet.
    pub(crate) wish: Option<Wish>,
    /// What the store is being asked for.
    pub(crate) asked: Option<Asked>,
    /// The step of all breakers in which this one last changed.
    pub(crate) changed_in: u64,
    /// When something was last held or seen.
    pub(crate) used_at: Timestamp,
}

/// What one worker may make of an endpoint's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// None where others send.
    pub(crate) part: Option<Part>,
    /// How many it may take from the store per second; none where the endpoint does not drain.
    pub(crate) drain: Option<u32>,
}

/// A wish on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) wish: Wish,
    /// The URL that it is about.
    pub(crate) url_version: u64,
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

/// What a lane lets through, apart from its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything.
    Open,
    /// One request at a time.
    Probe,
    /// Nothing: the breaker is open, or others send.
    Shut,
}

/// A lane that holds nothing and has seen failures is remembered so long.
const MEMORY: Duration = Duration::from_secs(600);

impl<T> Lane<T> {
    pub(crate) fn new(view: Arc<EndpointView>, limits: Limits, now: Timestamp) -> Self {
        let Limits { part, drain } = limits;
        let bucket = part.and_then(|part| part.rate_limit).map(|limit| TokenBucket::full(limit, now));
        Self {
            view,
            part,
            waiting: VecDeque::new(),
            in_flight: 0,
            is_probing: false,
            items: 0,
            bytes: 0,
            has_more: false,
            throttled_until: None,
            bucket,
            draining: drain.map(|per_second| Draining::new(per_second, now)),
            breaker: Breaker::default(),
            wish: None,
            asked: None,
            changed_in: 0,
            used_at: now,
        }
    }

    /// Whether `view` shows the endpoint otherwise, and not as it was before.
    pub(crate) fn is_news(&self, view: &Arc<EndpointView>) -> bool {
        // Snapshots are read anew as a whole; an older publish must not bring old limits back.
        !Arc::ptr_eq(&self.view, view) && view.endpoint.version >= self.view.endpoint.version
    }

    /// Takes over the endpoint's present limits.
    pub(crate) fn learn(&mut self, view: &Arc<EndpointView>, limits: Limits, now: Timestamp) {
        self.view = Arc::clone(view);
        self.limit(limits, now);
    }

    /// Takes over this worker's present part of the limits.
    pub(crate) fn limit(&mut self, limits: Limits, now: Timestamp) {
        let Limits { part, drain } = limits;
        let limit = part.and_then(|part| part.rate_limit);
        self.bucket = TokenBucket::renewed(self.bucket, limit, now);
        self.part = part;
        self.draining = drain.map(|per_second| match self.draining {
            Some(draining) => draining.at(per_second, now),
            None => Draining::new(per_second, now),
        });
    }

    /// What may go through, were there no limits.
    pub(crate) fn gate(&self, me: WorkerId) -> Gate {
        if self.part.is_none() {
            return Gate::Shut;
        }
        match self.breaker.passage(me) {
            Passage::Free => Gate::Open,
            Passage::Probe => Gate::Probe,
            Passage::Held { .. } => Gate::Shut,
        }
    }

    /// Whether others send to this endpoint and this worker does not.
    pub(crate) fn is_left_to_others(&self) -> bool {
        self.part.is_none()
    }

    /// Whether it asks the store for nothing now, since its endpoint drains slower.
    pub(crate) fn is_dry(&self) -> bool {
        self.draining.is_some_and(|draining| draining.is_dry())
    }

    /// How many deliveries the lane may hold.
    pub(crate) fn items_max(&self, settings: &Settings) -> usize {
        self.part.map_or(0, |part| items_max(part, self.in_flight, settings))
    }

    /// How many of the deliveries that it holds count against it when it asks for more. Those in flight do
    /// not where a rate keeps them few.
    pub(crate) fn items_in_the_way(&self) -> usize {
        if self.bucket.is_some() { self.items - self.in_flight } else { self.items }
    }

    /// Whether the one request that a probe takes has its delivery.
    pub(crate) fn has_probe(&self) -> bool {
        self.items > self.in_flight || self.is_probing
    }

    pub(crate) fn readiness(&self, now: Timestamp, me: WorkerId) -> Readiness {
        let in_flight_max = self.part.map_or(0, |part| count(part.max_in_flight));
        let may_go = match self.gate(me) {
            Gate::Open => true,
            Gate::Probe => !self.is_probing,
            Gate::Shut => false,
        };
        if !may_go || self.waiting.is_empty() || self.in_flight >= in_flight_max {
            return Readiness::Full;
        }
        // A copy pays for the look, so that looking costs no token.
        match self.bucket.map(|mut bucket| bucket.take(now)) {
            None | Some(Ok(())) => Readiness::Ready,
            Some(Err(ready_at)) => Readiness::Throttled(ready_at),
        }
    }

    /// Takes what is sent next, with its token, and says whether it is a probe; none where there is nothing
    /// or no token.
    pub(crate) fn start(&mut self, now: Timestamp, me: WorkerId) -> Option<(T, bool)> {
        if self.waiting.is_empty() || self.bucket.as_mut().is_some_and(|bucket| bucket.take(now).is_err()) {
            return None;
        }
        let is_probe = self.gate(me) == Gate::Probe;
        self.is_probing |= is_probe;
        self.in_flight += 1;
        self.waiting.pop_front().map(|item| (item, is_probe))
    }

    /// Whether a new lane would be the same.
    pub(crate) fn is_idle(&self, now: Timestamp, me: WorkerId) -> bool {
        let is_asking = self.wish.is_some() || self.asked.is_some();
        // What is open is known apart from its lane; what was counted is worth keeping for a while.
        let is_forgettable =
            self.breaker.is_fresh() || !self.breaker.is_closed() || now.since(self.used_at) > MEMORY;
        let is_drained_by_others = matches!(self.draining, Some(Draining::ByOthers));
        let wants_more = self.has_more && self.gate(me) != Gate::Shut && !is_drained_by_others;
        self.items == 0
            && !is_asking
            && is_forgettable
            && !wants_more
            && self.bucket.is_none_or(|bucket| bucket.is_full(now))
            && self.draining.is_none_or(|draining| draining.is_forgettable(now))
    }
}

/// How many deliveries a lane may hold that may make this of its endpoint's limits and has so many requests
/// in flight.
pub(crate) fn items_max(part: Part, in_flight: usize, settings: &Settings) -> usize {
    // Where others send as well, what one holds beyond its slots is kept from theirs.
    let least = if part.sharers == 1 { LANE_ITEMS_MIN } else { 0 };
    let by_slots = count(part.max_in_flight).saturating_mul(LANE_ITEMS_PER_SLOT).max(least);
    // What waits long for its tokens waits in the store. What is in flight has its token: a slow receiver
    // must not keep a lane from its rate.
    let by_rate = part.rate_limit.map_or(usize::MAX, |limit| {
        let waiting = count(limit.per_second).saturating_mul(LANE_SECONDS).saturating_add(count(limit.burst));
        waiting.saturating_add(in_flight)
    });
    by_slots.min(by_rate).min(settings.lane_items_max)
}

/// A lane with a rate limit holds what it may send in so many seconds, and its burst.
const LANE_SECONDS: usize = 2;

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
