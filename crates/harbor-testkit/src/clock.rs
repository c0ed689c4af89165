//! A clock that stands still until a test moves it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::time::{Clock, Timestamp};
use tokio::sync::watch;

/// A clock that a test moves. Sleepers wake when it reaches their instant.
#[derive(Debug)]
pub struct ManualClock {
    began: Timestamp,
    now: Mutex<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { began: now, now: Mutex::new(watch::Sender::new(now)) }
    }

    /// Moves the clock to `instant`; it never goes back.
    pub fn advance_to(&self, instant: Timestamp) {
        self.lock().send_if_modified(|now| {
            let moves = instant > *now;
            *now = instant.max(*now);
            moves
        });
    }

    /// Moves the clock on by `step`.
    pub fn advance(&self, step: Duration) {
        self.advance_to(self.now() + step);
    }

    fn lock(&self) -> MutexGuard<'_, watch::Sender<Timestamp>> {
        self.now.lock().expect("no move panics")
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.lock().borrow()
    }

    fn elapsed(&self) -> Duration {
        self.now().since(self.began)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut moves = self.lock().subscribe();
        moves.wait_for(|now| *now >= instant).await.expect("the clock outlives its sleepers");
    }
}
