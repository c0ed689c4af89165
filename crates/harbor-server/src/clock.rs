//! The system's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use harbor_model::time::{Clock, Timestamp};

/// Tells the time of the operating system.
///
/// Small corrections backwards are sat out, so that what follows something is never dated before it.
#[derive(Debug)]
pub(crate) struct SystemClock {
    began: Instant,
    /// The latest time that was told, in milliseconds.
    told_ms: AtomicI64,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { began: Instant::now(), told_ms: AtomicI64::new(0) }
    }
}

impl SystemClock {
    /// The time to tell when the operating system says `now_ms`.
    fn tell(&self, now_ms: i64) -> Timestamp {
        let told_ms = self.told_ms.fetch_max(now_ms, Ordering::Relaxed);
        if told_ms - now_ms <= CORRECTION_MAX_MS {
            return Timestamp::from_unix_ms(now_ms.max(told_ms));
        }
        // Somebody has set the clock: what it said before was wrong.
        self.told_ms.store(now_ms, Ordering::Relaxed);
        Timestamp::from_unix_ms(now_ms)
    }
}

/// What a time service corrects in one step; a larger one is somebody who sets the clock.
const CORRECTION_MAX_MS: i64 = 2_000;

/// A long sleep looks at the wall clock this often: it may have been set, or the machine have slept.
const SLICE: Duration = Duration::from_secs(1);

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the system clock that others are handed")]
    fn now(&self) -> Timestamp {
        // Before 1970 there is nothing but a clock that was never set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tell(since.as_millis().try_into().unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep_until(&self, instant: Timestamp) {
        loop {
            let wait = instant.since(self.now());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait.min(SLICE)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_at_its_instant_and_not_before() {
        let clock = SystemClock::default();
        let instant = clock.now() + Duration::from_millis(20);
        clock.sleep_until(instant).await;
        assert!(clock.now() >= instant);
        clock.sleep_until(instant).await;
    }

    #[test]
    fn a_small_step_back_is_sat_out_and_a_large_one_obeyed() {
        let clock = SystemClock::default();
        let told = |now_ms| clock.tell(now_ms).unix_ms();
        assert_eq!(
            [told(50_000), told(49_000), told(49_500), told(50_001)],
            [50_000, 50_000, 50_000, 50_001]
        );
        assert_eq!([told(40_000), told(40_001), told(39_999)], [40_000, 40_001, 40_001]);
    }
}
