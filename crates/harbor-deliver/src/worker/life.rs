//! Which incarnation a worker is, and how sure it may be that the others still count on it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::id::WorkerId;
use harbor_model::time::{Clock, Timestamp};

/// A worker's present incarnation.
#[derive(Debug)]
pub(crate) struct Life {
    fence_after: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    id: WorkerId,
    /// When the last beat was sent that was confirmed; none where there is none or it was no longer known.
    confirmed: Option<Instant>,
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    elapsed: Duration,
    at: Timestamp,
}

impl Instant {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { elapsed: clock.elapsed(), at: clock.now() }
    }
}

impl Life {
    /// An incarnation that nobody knows yet.
    pub(crate) fn new(id: WorkerId, fence_after: Duration) -> Self {
        Self { fence_after, state: Mutex::new(State { id, confirmed: None }) }
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.state().id
    }

    /// Says that a beat of this incarnation, sent at `sent`, was confirmed.
    pub(crate) fn confirm(&self, id: WorkerId, sent: Instant) {
        *self.state() = State { id, confirmed: Some(sent) };
    }

    /// Says that the others have given this incarnation up.
    pub(crate) fn lose(&self) {
        self.state().confirmed = None;
    }

    /// The incarnation, if it may begin something at `now`. Too long after its last confirmed beat it may
    /// not: by now the others may hold what it held.
    pub(crate) fn acting(&self, now: Instant) -> Option<WorkerId> {
        let State { id, confirmed } = *self.state();
        let confirmed = confirmed?;
        // The monotonic clock may stand still while the machine sleeps, and then the wall clock has jumped.
        let silent = now.elapsed.saturating_sub(confirmed.elapsed).max(now.at.since(confirmed.at));
        (silent < self.fence_after).then_some(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_acts_while_its_last_confirmed_beat_is_young() {
        let (first, second) = (WorkerId::from_number(1), WorkerId::from_number(2));
        let life = Life::new(first, Duration::from_secs(15));
        let at = |elapsed_s, wall_s| Instant {
            elapsed: Duration::from_secs(elapsed_s),
            at: Timestamp::from_unix_ms(1_800_000_000_000) + Duration::from_secs(wall_s),
        };
        let check = |elapsed_s, wall_s, expected| {
            assert_eq!(
                life.acting(at(elapsed_s, wall_s)),
                expected,
                "after {elapsed_s} s, by the wall {wall_s}"
            );
        };
        check(0, 0, None);
        life.confirm(first, at(100, 100));
        check(100, 100, Some(first));
        check(114, 114, Some(first));
        check(115, 114, None);
        check(101, 161, None);
        check(110, 40, Some(first));
        life.confirm(first, at(161, 161));
        check(170, 170, Some(first));
        life.lose();
        check(170, 170, None);
        life.confirm(second, at(171, 171));
        check(172, 172, Some(second));
    }
}
