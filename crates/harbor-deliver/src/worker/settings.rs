//! The limits of a worker, and its pace.

use std::time::Duration;

use crate::lanes;
use crate::worker::health::TOLD_AGAIN_AFTER;

/// The limits of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it holds.
    pub lanes: lanes::Settings,
    /// How often the store is walked for due work that nobody announced.
    pub refill_interval: Duration,
    /// How soon after a walk a hint may bring about another.
    pub nudge_interval: Duration,
    /// How many endpoints one step of that walk names.
    pub refill_endpoints: usize,
    /// How long nothing new is leased after a result could not be recorded: what cannot be recorded
    /// would be sent again and again.
    pub trouble_pause: Duration,
    /// The most wake-ups noted for retries to come; beyond them the walk finds what is due.
    pub wakeups_max: usize,
    /// How often a worker tells the others that it lives.
    pub beat_interval: Duration,
    /// How long after its last confirmed beat a worker begins nothing more.
    pub fence_after: Duration,
    /// How long after its last beat a worker is dead to the others, and its deliveries are theirs.
    pub death_after: Duration,
    /// How often what the store believes to be leased is compared with what is held.
    pub reconcile_interval: Duration,
    /// How long an endpoint has done nothing but fail when it is disabled; zero for never.
    pub failing_disable_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lanes: lanes::Settings::default(),
            refill_interval: Duration::from_secs(1),
            nudge_interval: Duration::from_millis(50),
            refill_endpoints: 1_000,
            trouble_pause: Duration::from_secs(5),
            wakeups_max: 100_000,
            beat_interval: Duration::from_secs(5),
            fence_after: Duration::from_secs(15),
            death_after: Duration::from_secs(20),
            reconcile_interval: Duration::from_secs(30),
            failing_disable_after: Duration::from_secs(5 * 24 * 60 * 60),
        }
    }
}

impl Settings {
    /// Says what cannot work, by setting.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.refill_interval.is_zero() || self.refill_endpoints == 0 {
            return Err("refill_interval and refill_endpoints must be more than zero");
        }
        if self.nudge_interval.is_zero() || self.beat_interval.is_zero() || self.reconcile_interval.is_zero()
        {
            return Err("nudge_interval, beat_interval and reconcile_interval must be more than zero");
        }
        if self.fence_after < 2 * self.beat_interval {
            return Err("fence_after must be at least two beat_intervals: one beat may be lost");
        }
        if self.death_after < self.fence_after + self.beat_interval {
            return Err(
                "death_after must be at least fence_after and a beat_interval: who is dead must have stopped",
            );
        }
        if !self.failing_disable_after.is_zero() && self.failing_disable_after < TOLD_AGAIN_AFTER {
            return Err("failing_disable_after must be zero or at least an hour");
        }
        self.lanes.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_contradict_each_other_are_refused() {
        let check = |change: fn(&mut Settings), expected: Option<&str>| {
            let mut settings = Settings::default();
            change(&mut settings);
            let found = settings.validate().err();
            let is_as_expected = match (found, expected) {
                (None, None) => true,
                (Some(found), Some(expected)) => found.starts_with(expected),
                (None, Some(_)) | (Some(_), None) => false,
            };
            assert!(is_as_expected, "{found:?}, not {expected:?}");
        };
        check(|_| {}, None);
        check(|settings| settings.nudge_interval = Duration::ZERO, Some("nudge_interval"));
        check(|settings| settings.beat_interval = Duration::from_secs(8), Some("fence_after"));
        check(|settings| settings.fence_after = Duration::from_secs(16), Some("death_after"));
        check(|settings| settings.death_after = Duration::from_secs(19), Some("death_after"));
        check(|settings| settings.failing_disable_after = Duration::ZERO, None);
        check(
            |settings| settings.failing_disable_after = Duration::from_secs(59 * 60),
            Some("failing_disable_after"),
        );
        check(|settings| settings.lanes.endpoints_max = 0, Some("endpoints_max"));
        check(|settings| settings.lanes.tenant_items_max = 20_001, Some("tenant_items_max"));
    }
}
