//! Which deliveries are followed, and when each is looked at again. Times are those of the server's clock.

use std::collections::{HashMap, HashSet};

use harbor_wire::delivery::{Attempt, Delivery, DeliveryStatus, DeliveryWithAttempts};
use jiff::{SignedDuration, Timestamp};

use crate::command::tail::line::Line;
use crate::wait::is_final;

/// The most open deliveries that are followed.
pub(super) const FOLLOWED_MAX: usize = 2_000;
/// The most deliveries with new attempts that wait to be read; beyond that the oldest are skipped.
const UNREAD_MAX: usize = 300;
/// How much later than a younger one a delivery may come to light.
const LATENESS: SignedDuration = SignedDuration::from_secs(2);
/// The time to the second look at a delivery, which doubles up to [`PAUSE_MAX`] while nothing happens.
const PAUSE_MIN: SignedDuration = SignedDuration::from_secs(1);
/// The longest time without a look: somebody may have asked for an attempt that was not planned.
const PAUSE_MAX: SignedDuration = SignedDuration::from_secs(30);

/// The deliveries that are followed.
pub(super) struct Followed {
    /// What ended before is not shown.
    began: Timestamp,
    /// When the newest delivery was made.
    newest: Timestamp,
    known: HashMap<String, Known>,
    /// How often something was found that is to be read.
    finds: u64,
}

/// What is known of a delivery.
struct Known {
    created_at: Timestamp,
    status: DeliveryStatus,
    attempt_count: u16,
    /// The attempts that were shown.
    shown: HashSet<String>,
    /// The number of the find, if it has attempts that were not read yet.
    unread: Option<u64>,
    /// When to look again, if it is open.
    look_at: Timestamp,
    pause: SignedDuration,
}

impl Followed {
    /// Nothing yet; attempts that ended before `began` do not count.
    pub(super) fn new(began: Timestamp) -> Self {
        Self { began, newest: began, known: HashMap::new(), finds: 0 }
    }

    /// From which time on new deliveries are to be listed.
    pub(super) fn since(&self) -> Timestamp {
        self.newest.saturating_sub(LATENESS).unwrap_or(Timestamp::MIN)
    }

    /// Takes note of a delivery in a list.
    pub(super) fn see(&mut self, delivery: &Delivery, now: Timestamp) {
        let created_at = delivery.created_at.parse().unwrap_or(self.began);
        self.newest = self.newest.max(created_at);
        let is_new = !self.known.contains_key(&delivery.id);
        // What is open from before has been tried before: its next attempt is the first to be shown.
        let is_old = created_at < self.began && !is_final(delivery.status);
        let known = self.known.entry(delivery.id.clone()).or_insert_with(|| Known {
            created_at,
            status: delivery.status,
            attempt_count: if is_old { delivery.attempt_count } else { 0 },
            shown: HashSet::new(),
            unread: None,
            look_at: now,
            pause: PAUSE_MIN,
        });
        let has_more = delivery.attempt_count > known.attempt_count;
        if has_more && known.unread.is_none() {
            self.finds += 1;
            known.unread = Some(self.finds);
        }
        known.note(delivery, is_new || has_more, now);
    }

    /// The deliveries to read, at most `max`: first what is sure to have new attempts.
    pub(super) fn due(&self, now: Timestamp, max: usize) -> Vec<String> {
        let due = |known: &Known| !is_final(known.status) && known.look_at <= now;
        let mut due: Vec<_> =
            self.known.iter().filter(|(_, known)| known.unread.is_some() || due(known)).collect();
        due.sort_by_key(|(_, known)| (known.unread.unwrap_or(u64::MAX), known.look_at));
        due.into_iter().take(max).map(|(id, _)| id.clone()).collect()
    }

    /// The attempts of a delivery that are new.
    pub(super) fn read(&mut self, read: DeliveryWithAttempts, now: Timestamp) -> Vec<Line> {
        let DeliveryWithAttempts { delivery, attempts } = read;
        let Some(known) = self.known.get_mut(&delivery.id) else { return Vec::new() };
        let last = attempts.iter().filter_map(|attempt| attempt.number).max();
        let mut lines = Vec::new();
        for attempt in attempts {
            if has_ended_since(&attempt, self.began) && known.shown.insert(attempt.id.clone()) {
                lines.push(Line::new(&delivery, attempt, last));
            }
        }
        let changed = !lines.is_empty() || delivery.status != known.status;
        known.unread = None;
        known.note(&delivery, changed, now);
        lines
    }

    /// Follows a delivery no more.
    pub(super) fn forget(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Gives up the oldest of those that wait too long to be read, and says how many.
    pub(super) fn drop_unread(&mut self) -> u64 {
        let mut finds: Vec<u64> = self.known.values().filter_map(|known| known.unread).collect();
        let Some(excess) = finds.len().checked_sub(UNREAD_MAX + 1) else { return 0 };
        let (_, last_dropped, _) = finds.select_nth_unstable(excess);
        let last_dropped = *last_dropped;
        let dropped = self.known.values_mut().filter(|known| known.unread <= Some(last_dropped));
        dropped.filter_map(|known| known.unread.take()).count() as u64
    }

    /// Forgets what has ended and is listed no more, and of what is open the last to be looked at where
    /// there is too much. Says how many of these.
    pub(super) fn trim(&mut self) -> u64 {
        let since = self.since();
        self.known.retain(|_, known| {
            !is_final(known.status) || known.unread.is_some() || known.created_at >= since
        });
        let open = self.known.iter().filter(|(_, known)| !is_final(known.status));
        let mut open: Vec<_> = open.map(|(id, known)| (known.look_at, id.clone())).collect();
        if open.len() <= FOLLOWED_MAX {
            return 0;
        }
        open.sort();
        let excess = open.split_off(FOLLOWED_MAX);
        for (_, id) in &excess {
            self.known.remove(id);
        }
        excess.len() as u64
    }
}

impl Known {
    /// Takes over where a delivery stands, and plans the next look at it.
    fn note(&mut self, delivery: &Delivery, changed: bool, now: Timestamp) {
        self.status = delivery.status;
        self.attempt_count = delivery.attempt_count;
        self.pause = if changed { PAUSE_MIN } else { (self.pause * 2).min(PAUSE_MAX) };
        let next: Option<Timestamp> = delivery.next_attempt_at.as_ref().and_then(|time| time.parse().ok());
        let wait = match next.map(|next| next.duration_since(now)) {
            // The attempt itself takes its time as well.
            Some(wait) if wait.is_positive() => (wait + PAUSE_MIN / 4).min(PAUSE_MAX),
            Some(_) | None => self.pause,
        };
        self.look_at = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    }
}

/// Whether an attempt came to its end at that time or later.
fn has_ended_since(attempt: &Attempt, began: Timestamp) -> bool {
    let Ok(started_at) = attempt.started_at.parse::<Timestamp>() else { return true };
    let took = SignedDuration::from_millis(i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX));
    started_at.saturating_add(took).unwrap_or(Timestamp::MAX) >= began
}

#[cfg(test)]
mod tests;
