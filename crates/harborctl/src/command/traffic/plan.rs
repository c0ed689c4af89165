//! When each request is due.

use std::time::Duration;

use crate::command::traffic::Pattern;

/// The time from one burst to the next.
const CYCLE: Duration = Duration::from_secs(5);
/// A burst takes this part of its cycle, and the rest is silence.
const BURST_SHARE: u32 = 5;
const NANOS: u128 = 1_000_000_000;

/// When each request is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pattern: Pattern,
    rate: u32,
    duration: Duration,
}

impl Plan {
    /// Requests at this rate for this long.
    pub(super) fn new(pattern: Pattern, rate: u32, duration: Duration) -> Self {
        Self { pattern, rate, duration }
    }

    pub(super) fn pattern(&self) -> Pattern {
        self.pattern
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    pub(super) fn duration(&self) -> Duration {
        self.duration
    }

    /// How many requests are due before the end.
    pub(super) fn requests(&self) -> u64 {
        match self.pattern {
            Pattern::Good | Pattern::Bad => count_within(self.duration, self.rate),
            Pattern::Burst => {
                let Cycle { length, silence, requests } = self.cycle();
                let whole = self.duration.as_nanos() / length.as_nanos();
                let rest = self.duration.saturating_sub(length.saturating_mul(saturated(whole)));
                let begun = count_within(rest.saturating_sub(silence), self.burst_rate());
                u64::from(saturated(whole)).saturating_mul(requests).saturating_add(begun)
            }
        }
    }

    /// When the request with this number is due, from the beginning.
    pub(super) fn due(&self, number: u64) -> Duration {
        match self.pattern {
            Pattern::Good | Pattern::Bad => due_at_rate(number, self.rate),
            Pattern::Burst => {
                let Cycle { length, silence, requests } = self.cycle();
                let cycles = saturated(u128::from(number / requests));
                length.saturating_mul(cycles) + silence + due_at_rate(number % requests, self.burst_rate())
            }
        }
    }

    fn burst_rate(&self) -> u32 {
        self.rate.saturating_mul(BURST_SHARE)
    }

    fn cycle(&self) -> Cycle {
        // A run shorter than a cycle is a single cycle.
        let length = CYCLE.min(self.duration);
        let silence = length - length / BURST_SHARE;
        let requests = count_within(length - silence, self.burst_rate());
        Cycle { length, silence, requests }
    }
}

/// Silence and a burst.
struct Cycle {
    length: Duration,
    silence: Duration,
    requests: u64,
}

/// How many requests are due before `end`, the first of them at once.
fn count_within(end: Duration, rate: u32) -> u64 {
    let requests = (end.as_nanos() * u128::from(rate)).div_ceil(NANOS);
    u64::try_from(requests).unwrap_or(u64::MAX)
}

/// When a request is due; reckoned from the beginning each time, so that no error adds up.
fn due_at_rate(number: u64, rate: u32) -> Duration {
    let nanos = u128::from(number) * NANOS / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn saturated(number: u128) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(pattern: Pattern, rate: u32, seconds: u64, numbers: &[u64]) -> Vec<u128> {
        let plan = Plan::new(pattern, rate, Duration::from_secs(seconds));
        numbers.iter().map(|number| plan.due(*number).as_millis()).collect()
    }

    #[test]
    fn good_traffic_is_even() {
        assert_eq!(dues(Pattern::Good, 50, 30, &[0, 1, 50, 1499]), [0, 20, 1_000, 29_980]);
        assert_eq!(Plan::new(Pattern::Good, 50, Duration::from_secs(30)).requests(), 1_500);
        assert_eq!(Plan::new(Pattern::Good, 1, Duration::from_millis(10)).requests(), 1);
    }

    #[test]
    fn a_burst_follows_silence_and_keeps_the_rate_on_average() {
        // 10/s: 50 in each cycle of 5 s, within its last second.
        assert_eq!(dues(Pattern::Burst, 10, 30, &[0, 1, 49, 50]), [4_000, 4_020, 4_980, 9_000]);
        assert_eq!(dues(Pattern::Burst, 10, 1, &[0, 9]), [800, 980]);
    }

    #[test]
    fn the_last_request_is_due_before_the_end_and_the_next_one_is_not() {
        for pattern in [Pattern::Good, Pattern::Bad, Pattern::Burst] {
            for ms in [1, 100, 999, 1_000, 4_700, 5_000, 6_000, 9_500, 20_001] {
                let plan = Plan::new(pattern, 37, Duration::from_millis(ms));
                let requests = plan.requests();
                assert!(plan.due(requests - 1) < plan.duration(), "{pattern:?} for {ms} ms");
                assert!(plan.due(requests) >= plan.duration(), "{pattern:?} for {ms} ms");
            }
        }
    }
}
