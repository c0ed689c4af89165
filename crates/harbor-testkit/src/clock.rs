//! A clock that stands still until a test moves it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::time::{Clock, Timestamp};

/// A clock that a test moves. Sleepers wake when it reaches their instant, in the order of their instants
/// and then of their coming, so that what follows is the same each time.
#[derive(Debug)]
pub struct ManualClock {
    began: Timestamp,
    hands: Mutex<Hands>,
}

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    next_ticket: u64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        let hands = Hands { now, sleepers: BTreeMap::new(), next_ticket: 0 };
        Self { began: now, hands: Mutex::new(hands) }
    }

    /// Moves the clock to `instant`; it never goes back.
    pub fn advance_to(&self, instant: Timestamp) {
        let mut hands = self.lock();
        hands.now = hands.now.max(instant);
        let mut woken = Vec::new();
        while hands.sleepers.first_key_value().is_some_and(|((wakes_at, _), _)| *wakes_at <= hands.now) {
            woken.extend(hands.sleepers.pop_first());
        }
        drop(hands);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Moves the clock on by `step`.
    pub fn advance(&self, step: Duration) {
        self.advance_to(self.now() + step);
    }

    /// When the next sleeper wakes.
    pub fn next_wake_at(&self) -> Option<Timestamp> {
        self.lock().sleepers.first_key_value().map(|((wakes_at, _), _)| *wakes_at)
    }

    fn lock(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().expect("no move panics")
    }
}

/// One who sleeps. Dropping it forgets it.
struct Sleep<'a> {
    clock: &'a ManualClock,
    instant: Timestamp,
    ticket: Option<u64>,
}

impl Sleep<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut hands = self.clock.lock();
        if hands.now >= self.instant {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            hands.next_ticket += 1;
            hands.next_ticket
        });
        hands.sleepers.insert((self.instant, ticket), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.clock.lock().sleepers.remove(&(self.instant, ticket));
        }
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.now().since(self.began)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut sleep = Sleep { clock: self, instant, ticket: None };
        poll_fn(|context| sleep.poll(context)).await;
    }
}
