//! Token buckets: whether a request may go now, or when.

use std::time::Duration;

use crate::policy::RateLimit;
use crate::time::Timestamp;

/// How many tokens of one endpoint are left, and since when that is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenBucket {
    limit: RateLimit,
    tokens: f64,
    counted_at: Timestamp,
}

/// Timers and clocks tick in milliseconds. A bucket holds at least what this time yields, so that a
/// high rate with a small burst is not slowed down to one request per tick.
const TICK: Duration = Duration::from_millis(5);

impl TokenBucket {
    /// A full bucket.
    pub fn full(limit: RateLimit, now: Timestamp) -> Self {
        Self { limit, tokens: capacity(limit), counted_at: now }
    }

    /// A bucket whose first token is still to come.
    pub fn empty(limit: RateLimit, now: Timestamp) -> Self {
        Self { limit, tokens: 0.0, counted_at: now }
    }

    /// The limit that it keeps.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Keeps another limit from now on, with no more tokens than that one's burst.
    #[must_use]
    pub fn with_limit(self, limit: RateLimit, now: Timestamp) -> Self {
        Self { limit, tokens: self.tokens_at(now).min(capacity(limit)), counted_at: now }
    }

    /// The bucket that keeps the limit in force, if there is one: a new one is full, and one that keeps this limit
    /// already stays as it is.
    pub fn renewed(bucket: Option<Self>, limit: Option<RateLimit>, now: Timestamp) -> Option<Self> {
        let limit = limit?;
        Some(match bucket {
            None => Self::full(limit, now),
            Some(bucket) if bucket.limit == limit => bucket,
            Some(bucket) => bucket.with_limit(limit, now),
        })
    }

    /// Takes a token; or tells when there will be one.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let tokens = self.tokens_at(now);
        if tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - tokens) / f64::from(self.limit.per_second));
            // Rounded up to the clock's tick: asking again earlier would find nothing.
            return Err(now + (wait.max(Duration::from_millis(1)) + Duration::from_micros(999)));
        }
        *self = Self { tokens: tokens - 1.0, counted_at: now.max(self.counted_at), ..*self };
        Ok(())
    }

    /// Puts back tokens that were taken and not used.
    pub fn give_back(&mut self, count: u32) {
        self.tokens = (self.tokens + f64::from(count)).min(capacity(self.limit));
    }

    /// How many tokens could be taken now.
    pub fn left(&self, now: Timestamp) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole tokens are counted, and their number lies between zero and a u32"
        )]
        let left = self.tokens_at(now) as u32;
        left
    }

    /// How long until it holds all that it can.
    pub fn full_in(&self, now: Timestamp) -> Duration {
        let missing = capacity(self.limit) - self.tokens_at(now);
        Duration::from_secs_f64(missing.max(0.0) / f64::from(self.limit.per_second))
    }

    /// Whether it holds all that it can: forgetting it would change nothing.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.tokens_at(now) >= capacity(self.limit)
    }

    fn tokens_at(&self, now: Timestamp) -> f64 {
        let gained = now.since(self.counted_at).as_secs_f64() * f64::from(self.limit.per_second);
        (self.tokens + gained).min(capacity(self.limit))
    }
}

fn capacity(limit: RateLimit) -> f64 {
    f64::from(limit.burst).max(f64::from(limit.per_second) * TICK.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = TokenBucket::full(RateLimit { per_second: 10, burst: 3 }, T0);
        let mut now = T0;
        let mut sent_at = Vec::new();
        while sent_at.len() < 6 {
            match bucket.take(now) {
                Ok(()) => sent_at.push(now.since(T0).as_millis()),
                Err(ready_at) => now = ready_at,
            }
        }
        assert_eq!(sent_at[..3], [0, 0, 0]);
        assert!((100..=101).contains(&sent_at[3]), "{sent_at:?}");
        assert!((300..=303).contains(&sent_at[5]), "{sent_at:?}");
    }

    #[test]
    fn the_rate_holds_over_a_minute() {
        for (per_second, burst) in [(1, 1), (50, 1), (50, 50), (5_000, 1), (100_000, 10)] {
            let mut bucket = TokenBucket::full(RateLimit { per_second, burst }, T0);
            let (mut now, end, mut sent) = (T0, T0 + Duration::from_secs(60), 0_u32);
            while now < end {
                match bucket.take(now) {
                    Ok(()) => sent += 1,
                    Err(ready_at) => now = ready_at,
                }
            }
            let expected = f64::from(per_second) * 60.0 + f64::from(burst);
            let ratio = f64::from(sent) / expected;
            assert!((0.9..=1.02).contains(&ratio), "{per_second}/s: {sent} of {expected}");
        }
    }

    #[test]
    fn there_is_a_token_when_it_says_so() {
        for per_second in 1..2_000 {
            let mut bucket = TokenBucket::empty(RateLimit { per_second, burst: 1 }, T0);
            let ready_at = bucket.take(T0).expect_err("it is empty");
            assert_eq!(bucket.take(ready_at), Ok(()), "{per_second}/s, at {ready_at}");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut bucket = TokenBucket::empty(RateLimit { per_second: 10, burst: 3 }, T0);
        assert!(bucket.take(T0).is_err());
        let now = T0 + Duration::from_millis(250);
        assert_eq!(bucket.left(now), 2);
        assert_eq!((bucket.take(now), bucket.take(now), bucket.left(now)), (Ok(()), Ok(()), 0));
        assert_eq!(bucket.full_in(now), Duration::from_millis(250));
        bucket.give_back(1);
        assert_eq!(bucket.left(now), 1);
        bucket.give_back(9);
        assert_eq!(bucket.left(now), 3, "and no more than it holds");
        assert!(bucket.is_full(now) && bucket.full_in(now).is_zero());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut bucket = TokenBucket::full(RateLimit { per_second: 1, burst: 1 }, T0);
        assert_eq!(bucket.take(T0), Ok(()));
        assert!(bucket.take(T0 - Duration::from_secs(60)).is_err());
        assert!(bucket.take(T0).is_err());
    }
}
