//! Endpoints that drain: what waited for one while it was paused comes out of the store at a rate.
//!
//! Only what is taken from the store pays for it. What was published just now and finds room goes past.

use std::time::Duration;

use harbor_model::decide::rate::TokenBucket;
use harbor_model::decide::share::Fleet;
use harbor_model::directory::EndpointView;
use harbor_model::policy::RateLimit;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use crate::lanes::Lanes;

/// How a lane drains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draining {
    /// Others take all of the rate.
    ByOthers,
    /// At this worker's part of it.
    AtRate {
        bucket: TokenBucket,
        /// Until when it asks for nothing, for want of tokens.
        dry_until: Option<Timestamp>,
    },
}

/// A lane that has no token left asks again after so long: at a high rate for many deliveries at once, rather
/// than a thousand times a second for a few.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// A lane may catch up on so much of a second in which it could not ask.
const BURSTS_PER_SECOND: u32 = 10;

impl Draining {
    /// Begins to drain at so many per second; none are left by others.
    pub(crate) fn new(per_second: u32, now: Timestamp) -> Self {
        if per_second == 0 {
            return Self::ByOthers;
        }
        Self::AtRate { bucket: TokenBucket::empty(limit_of(per_second), now), dry_until: None }
    }

    /// Goes on at this rate.
    pub(crate) fn at(self, per_second: u32, now: Timestamp) -> Self {
        match self {
            Self::AtRate { bucket, .. } if per_second > 0 => {
                let limit = limit_of(per_second);
                if bucket.limit() == limit {
                    return self;
                }
                Self::AtRate { bucket: bucket.with_limit(limit, now), dry_until: None }
            }
            Self::AtRate { .. } | Self::ByOthers => Self::new(per_second, now),
        }
    }

    /// Whether it asks for nothing now.
    pub(crate) fn is_dry(&self) -> bool {
        match self {
            Self::ByOthers => true,
            Self::AtRate { dry_until, .. } => dry_until.is_some(),
        }
    }

    /// Whether a new one would be the same, or have no more.
    pub(crate) fn is_forgettable(&self, now: Timestamp) -> bool {
        match self {
            Self::ByOthers => true,
            Self::AtRate { bucket, .. } => bucket.is_full(now),
        }
    }

    /// How many may be asked for.
    fn allowance(&self, now: Timestamp) -> usize {
        match self {
            Self::ByOthers => 0,
            Self::AtRate { bucket, .. } => usize::try_from(bucket.left(now)).unwrap_or(usize::MAX),
        }
    }

    /// Takes the tokens of what is asked for.
    fn take(&mut self, count: usize, now: Timestamp) {
        if let Self::AtRate { bucket, .. } = self {
            for _ in 0..count {
                bucket.take(now).expect("no more is asked for than is allowed");
            }
        }
    }

    /// Puts back the tokens of what was asked for and not there.
    fn give_back(&mut self, count: usize) {
        if let Self::AtRate { bucket, .. } = self {
            bucket.give_back(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Asks for nothing more until there are tokens again; says when that is, where it is news.
    fn run_dry(&mut self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::ByOthers | Self::AtRate { dry_until: Some(_), .. } => None,
            Self::AtRate { bucket, dry_until } => {
                // A copy pays for the look.
                let mut look = *bucket;
                let ready_at = look.take(now).err().unwrap_or(now);
                *dry_until = Some(ready_at.max(now + ASK_INTERVAL));
                *dry_until
            }
        }
    }
}

fn limit_of(per_second: u32) -> RateLimit {
    RateLimit { per_second, burst: (per_second / BURSTS_PER_SECOND).max(1) }
}

/// What one worker may make of the rate at which an endpoint drains; none where it does not drain.
pub(crate) fn part_of(fleet: &Fleet, view: &EndpointView) -> Option<u32> {
    let per_second = view.endpoint.drain?.per_second;
    let policy = &view.policy;
    // Among those that have a part of its other limits, or one would have a rate and nothing to send with.
    let least = policy.rate_limit.value.map_or(u32::MAX, |limit| limit.per_second.min(limit.burst));
    let rate = RateLimit { per_second, burst: per_second };
    let part = fleet.part(view.endpoint.id, policy.max_in_flight.value.min(least), Some(rate));
    Some(part.and_then(|part| part.rate_limit).map_or(0, |rate| rate.per_second))
}

impl<T> Lanes<T> {
    /// How many a lane may ask the store for, as far as its endpoint drains.
    pub(super) fn allowance(&self, key: &EndpointKey, now: Timestamp) -> usize {
        let draining = self.find_lane(key).and_then(|lane| lane.draining);
        draining.map_or(usize::MAX, |draining| draining.allowance(now))
    }

    /// Takes the tokens of what a lane asks the store for.
    pub(super) fn take_tokens(&mut self, key: &EndpointKey, count: usize, now: Timestamp) {
        if let Some(draining) = self.find_lane_mut(key).and_then(|lane| lane.draining.as_mut()) {
            draining.take(count, now);
        }
    }

    /// Puts back the tokens of what the store did not have.
    pub(super) fn give_back_tokens(&mut self, key: &EndpointKey, count: usize) {
        if let Some(draining) = self.find_lane_mut(key).and_then(|lane| lane.draining.as_mut()) {
            draining.give_back(count);
        }
    }

    /// Notes that a lane has no token left to ask for more.
    pub(super) fn run_dry(&mut self, key: &EndpointKey, now: Timestamp) {
        let Some(lane) = self.find_lane_mut(key) else { return };
        if let Some(until) = lane.draining.as_mut().and_then(|draining| draining.run_dry(now)) {
            self.dry.insert((until, key.clone()));
        }
    }

    /// Lets those ask again that have tokens by now.
    pub(super) fn release_dry(&mut self, now: Timestamp) {
        while self.dry.first().is_some_and(|(until, _)| *until <= now) {
            let (until, key) = self.dry.pop_first().expect("there is a first");
            let draining = self.find_lane_mut(&key).and_then(|lane| lane.draining.as_mut());
            if let Some(Draining::AtRate { dry_until, .. }) = draining
                && *dry_until == Some(until)
            {
                *dry_until = None;
                self.note_hunger(&key);
            }
        }
    }
}
