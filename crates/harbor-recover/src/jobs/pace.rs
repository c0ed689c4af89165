//! How fast a job goes that has a rate.

use harbor_model::decide::rate::TokenBucket;
use harbor_model::policy::RateLimit;
use harbor_model::time::Timestamp;

/// The rate of a replay.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    bucket: TokenBucket,
    /// Tokens that were taken and are not spent.
    held: usize,
}

impl Pace {
    /// A pace of so many per second. It begins with nothing: the rate holds from the first second on. What a
    /// delay of a second costs is made up for afterwards.
    pub(super) fn new(per_second: u32, now: Timestamp) -> Self {
        Self { bucket: TokenBucket::empty(RateLimit { per_second, burst: per_second }, now), held: 0 }
    }

    /// How many may go now, at most `most`; or when there will be one.
    pub(super) fn room(&mut self, most: usize, now: Timestamp) -> Result<usize, Timestamp> {
        while self.held < most {
            match self.bucket.take(now) {
                Ok(()) => self.held += 1,
                Err(_) if self.held > 0 => break,
                Err(ready_at) => return Err(ready_at),
            }
        }
        Ok(self.held.min(most))
    }

    /// So many went. What had room and did not go keeps it.
    pub(super) fn spend(&mut self, count: u64) {
        self.held = self.held.saturating_sub(count.try_into().unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests;
