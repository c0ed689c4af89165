//! Who of the others is dead: whose counter stands still while one's own goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use harbor_model::id::WorkerId;
use harbor_model::port::workers::Roll;

/// Watches the counters of the others. All times are of one monotonic clock, this worker's own.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Who is silent for so long is dead.
    death_after: Duration,
    /// Two looks that are farther apart are no watch.
    gap_max: Duration,
    looked_at: Option<Duration>,
    seen: BTreeMap<WorkerId, Sight>,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    count: u64,
    since: Duration,
}

impl Watch {
    pub(crate) fn new(death_after: Duration, gap_max: Duration) -> Self {
        Self { death_after, gap_max, looked_at: None, seen: BTreeMap::new() }
    }

    /// Begins anew: what could not be seen for a while is no sign of death, since the others may have been
    /// kept from beating by what kept this one from looking.
    pub(crate) fn restart(&mut self) {
        self.seen.clear();
        self.looked_at = None;
    }

    /// Looks at all counters at `now`. Answers who is dead, each with its last counter.
    pub(crate) fn look(&mut self, roll: &Roll, me: WorkerId, now: Duration) -> Vec<(WorkerId, u64)> {
        if self.looked_at.is_some_and(|before| now.saturating_sub(before) > self.gap_max) {
            self.restart();
        }
        self.looked_at = Some(now);
        let sight = |(worker, count): &(WorkerId, u64)| {
            let before = self.seen.get(worker).filter(|sight| sight.count == *count);
            (*worker, Sight { count: *count, since: before.map_or(now, |sight| sight.since) })
        };
        self.seen = roll.counts.iter().filter(|(worker, _)| *worker != me).map(sight).collect();
        let is_dead = |sight: &Sight| now.saturating_sub(sight.since) >= self.death_after;
        let dead = self.seen.iter().filter(|(_, sight)| is_dead(sight));
        dead.map(|(worker, sight)| (*worker, sight.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u128 = 1;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn roll(counts: &[(u128, u64)]) -> Roll {
        let counts = counts.iter().map(|(worker, count)| (WorkerId::from_number(*worker), *count)).collect();
        Roll { is_enlisted: true, counts }
    }

    /// Looks at the given seconds at the given counters of worker 2; answers when it was found dead.
    fn found_dead(looks: &[(u64, u64)]) -> Vec<u64> {
        let mut watch = Watch::new(seconds(20), seconds(15));
        let is_dead = |(now, count): &&(u64, u64)| {
            let roll = roll(&[(ME, *now), (2, *count)]);
            !watch.look(&roll, WorkerId::from_number(ME), seconds(*now)).is_empty()
        };
        looks.iter().filter(is_dead).map(|(now, _)| *now).collect()
    }

    #[test]
    fn whose_counter_stands_still_is_dead() {
        let check = |looks: &[(u64, u64)], expected: &[u64]| {
            assert_eq!(found_dead(looks), expected, "{looks:?}");
        };
        check(&[(0, 7), (5, 8), (10, 9), (15, 10), (20, 11), (25, 12)], &[]);
        check(&[(0, 7), (5, 7), (10, 7), (15, 7), (19, 7)], &[]);
        check(&[(0, 7), (5, 7), (10, 7), (15, 7), (20, 7), (25, 7)], &[20, 25]);
        check(&[(0, 7), (5, 7), (10, 8), (15, 8), (20, 8), (25, 8), (30, 8)], &[30]);
    }

    #[test]
    fn who_did_not_look_for_a_while_begins_anew() {
        // Asleep from 5 to 65: the other may have slept as well.
        let looks = [(0, 7), (5, 7), (65, 7), (70, 7), (75, 7), (80, 7), (85, 7)];
        assert_eq!(found_dead(&looks), [85]);
    }

    #[test]
    fn a_fault_restarts_the_watch() {
        let mut watch = Watch::new(seconds(20), seconds(15));
        let me = WorkerId::from_number(ME);
        let still = roll(&[(2, 7)]);
        let mut dead_at = Vec::new();
        for now in (0..50).step_by(5) {
            if now == 15 {
                watch.restart();
            } else if !watch.look(&still, me, seconds(now)).is_empty() {
                dead_at.push(now);
            }
        }
        assert_eq!(dead_at, [40, 45]);
    }

    #[test]
    fn nobody_watches_himself() {
        let mut watch = Watch::new(seconds(20), seconds(15));
        let me = WorkerId::from_number(ME);
        for now in [0, 10, 20, 30] {
            assert_eq!(watch.look(&roll(&[(ME, 3)]), me, seconds(now)), []);
        }
    }
}
