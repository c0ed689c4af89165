//! What part of an endpoint's limit is one worker's: each takes an equal share, without asking another.

use crate::id::{EndpointId, WorkerId};
use crate::policy::RateLimit;

/// The workers that live, as one of them knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    me: WorkerId,
    /// All that live, this one among them, in no order that matters.
    workers: Vec<WorkerId>,
}

impl Fleet {
    /// The fleet as `me` sees it; it is a part of it even where `others` do not name it.
    pub fn new(me: WorkerId, others: impl IntoIterator<Item = WorkerId>) -> Self {
        let mut workers: Vec<_> = others.into_iter().chain([me]).collect();
        workers.sort_unstable();
        workers.dedup();
        Self { me, workers }
    }

    /// Who this worker is.
    pub fn me(&self) -> WorkerId {
        self.me
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Always false: a fleet holds at least the worker that knows it.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// This worker's part of an endpoint's limits. The parts of all workers make up each limit. None where a
    /// limit is smaller than the fleet and others rank first for this endpoint: over many endpoints no worker
    /// is passed over more often than another.
    pub fn part(
        &self,
        endpoint: EndpointId,
        max_in_flight: u32,
        rate_limit: Option<RateLimit>,
    ) -> Option<Part> {
        let count = u32::try_from(self.workers.len()).expect("fewer workers than that");
        if count == 1 {
            let all = Part { max_in_flight, rate_limit, sharers: 1 };
            return Some(all).filter(|part| part.max_in_flight > 0);
        }
        // All limits are divided among the same workers. Else one might have a burst and another the rate.
        let least = rate_limit.map_or(u32::MAX, |limit| limit.per_second.min(limit.burst));
        let sharers = count.min(max_in_flight).min(least);
        let mine = rank_of(self.me, endpoint);
        let before = self.workers.iter().filter(|worker| rank_of(**worker, endpoint) < mine).count();
        let place = u32::try_from(before).expect("fewer workers than that");
        if place >= sharers {
            return None;
        }
        let share = |limit: u32| limit / sharers + u32::from(place < limit % sharers);
        let divide =
            |limit: RateLimit| RateLimit { per_second: share(limit.per_second), burst: share(limit.burst) };
        Some(Part { max_in_flight: share(max_in_flight), rate_limit: rate_limit.map(divide), sharers })
    }
}

/// What one worker may make of an endpoint's limits; none of them is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Requests in flight.
    pub max_in_flight: u32,
    /// Requests in a time; none for no limit.
    pub rate_limit: Option<RateLimit>,
    /// How many workers have a part, this one among them.
    pub sharers: u32,
}

/// Where a worker stands among all for this endpoint: rendezvous hashing, the same on every machine.
fn rank_of(worker: WorkerId, endpoint: EndpointId) -> (u64, WorkerId) {
    let fold = |number: u128| (number as u64) ^ ((number >> 64) as u64);
    (mix(fold(worker.number()).wrapping_add(mix(fold(endpoint.number())))), worker)
}

/// Spreads the bits of a number (the finalizer of SplitMix64, by Sebastiano Vigna).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::SeededRng;
    use crate::time::Timestamp;

    fn workers(count: usize) -> Vec<WorkerId> {
        let rng = SeededRng::new(7);
        (0..count).map(|_| WorkerId::new(Timestamp::from_unix_ms(1_800_000_000_000), &rng)).collect()
    }

    /// What each worker may make of these limits.
    fn parts(
        fleet: &[WorkerId],
        endpoint: EndpointId,
        max_in_flight: u32,
        rate_limit: Option<RateLimit>,
    ) -> Vec<Option<Part>> {
        let of = |me: &WorkerId| Fleet::new(*me, fleet.iter().copied());
        fleet.iter().map(|me| of(me).part(endpoint, max_in_flight, rate_limit)).collect()
    }

    #[test]
    fn the_parts_make_up_the_limits() {
        let rng = SeededRng::new(1);
        for count in 1..8 {
            let fleet = workers(count);
            for limit in [1, 2, 3, 7, 50, 1_000_000] {
                for rate in [None, Some((1, 1)), Some((10, 1)), Some((1, 10)), Some((500, 20))] {
                    let rate = rate.map(|(per_second, burst)| RateLimit { per_second, burst });
                    let endpoint = EndpointId::new(Timestamp::from_unix_ms(1), &rng);
                    let parts = parts(&fleet, endpoint, limit, rate);
                    let context = format!("{count} workers, {limit}, {rate:?}: {parts:?}");
                    let sum = |of: fn(&Part) -> u32| parts.iter().flatten().map(of).sum::<u32>();
                    assert_eq!(sum(|part| part.max_in_flight), limit, "{context}");
                    if let Some(rate) = rate {
                        let per_second = sum(|part| part.rate_limit.map_or(0, |rate| rate.per_second));
                        let burst = sum(|part| part.rate_limit.map_or(0, |rate| rate.burst));
                        assert_eq!((per_second, burst), (rate.per_second, rate.burst), "{context}");
                    }
                    for part in parts.iter().flatten() {
                        let rate = part.rate_limit.unwrap_or(RateLimit { per_second: 1, burst: 1 });
                        let least = part.max_in_flight.min(rate.per_second).min(rate.burst);
                        assert!(least >= 1, "who may send at all may send now and then: {context}");
                    }
                }
            }
            assert_eq!(parts(&fleet, EndpointId::from_number(1), 0, None), vec![None; count]);
        }
    }

    #[test]
    fn what_does_not_divide_is_spread_over_the_workers() {
        let rng = SeededRng::new(2);
        let fleet = workers(4);
        let mut won = [0; 4];
        for _ in 0..4_000 {
            let endpoint = EndpointId::new(Timestamp::from_unix_ms(1), &rng);
            for (place, part) in parts(&fleet, endpoint, 1, None).iter().enumerate() {
                won[place] += u32::from(part.is_some());
            }
        }
        assert!(won.iter().all(|won| (800..1_200).contains(won)), "{won:?}");
    }

    #[test]
    fn a_worker_that_nobody_knows_yet_counts_itself() {
        let fleet = workers(3);
        assert_eq!(Fleet::new(fleet[0], [fleet[1], fleet[1]]).len(), 2);
    }
}
