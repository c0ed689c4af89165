//! What the receiver knows about the deliveries that reached it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::histogram::{Histogram, Percentiles};

/// The deliveries of one measurement.
pub(crate) struct Arrivals {
    since_us: u64,
    /// The keys of the events that arrived, for each endpoint.
    seen: Vec<HashSet<u64>>,
    latency: Histogram,
    arrived: u64,
    failed: u64,
    duplicates: u64,
    last_us: u64,
    unreadable: u64,
    signatures: Signatures,
    /// When the latest of each ordering key at each endpoint was due.
    latest_us: HashMap<(usize, u64), u64>,
    out_of_order: u64,
}

/// How many signatures were checked and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Signatures {
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
}

/// The answer to `GET /stats`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Deliveries that arrived for the first time: one per event and endpoint.
    pub(crate) distinct: u64,
    /// Attempts, whatever they were answered.
    pub(crate) attempts: u64,
    /// Attempts that were answered with a failure on purpose.
    pub(crate) failed: u64,
    /// Deliveries that had arrived before.
    pub(crate) duplicates: u64,
    /// Requests that were no delivery of ours: no id, an unknown endpoint or another payload.
    pub(crate) unreadable: u64,
    /// From when the publish request was due to the first arrival.
    pub(crate) latency: Percentiles,
    /// When the last first arrival came.
    pub(crate) last_us: u64,
    /// First attempts that came after one of the same ordering key that was published later.
    pub(crate) out_of_order: u64,
    pub(crate) signatures: Signatures,
}

impl Arrivals {
    /// Starts to count what was due at or after a time; later arrivals of earlier events are not looked at.
    pub(crate) fn new(endpoints: usize, since_us: u64) -> Self {
        Self {
            since_us,
            seen: vec![HashSet::new(); endpoints],
            latency: Histogram::new(),
            arrived: 0,
            failed: 0,
            duplicates: 0,
            last_us: since_us,
            unreadable: 0,
            signatures: Signatures::default(),
            latest_us: HashMap::new(),
            out_of_order: 0,
        }
    }

    /// Forgets everything and counts what is due at or after a time.
    pub(crate) fn reset(&mut self, since_us: u64) {
        *self = Self::new(self.seen.len(), since_us);
    }

    /// Counts an attempt that is accepted and returns its number, from 1; `None` for what is not counted.
    pub(crate) fn record(&mut self, endpoint: usize, event: u64, due_us: u64, now_us: u64) -> Option<u64> {
        let number = self.count(endpoint, due_us)?;
        if self.seen[endpoint].insert(event) {
            self.latency.record(now_us.saturating_sub(due_us));
            self.last_us = self.last_us.max(now_us);
        } else {
            self.duplicates += 1;
        }
        Some(number)
    }

    /// Counts an attempt that is answered with a failure and returns its number; `None` for what is not counted.
    pub(crate) fn record_failed(&mut self, endpoint: usize, due_us: u64) -> Option<u64> {
        let number = self.count(endpoint, due_us)?;
        self.failed += 1;
        Some(number)
    }

    fn count(&mut self, endpoint: usize, due_us: u64) -> Option<u64> {
        if endpoint >= self.seen.len() {
            self.unreadable += 1;
            return None;
        }
        if due_us < self.since_us {
            return None;
        }
        self.arrived += 1;
        Some(self.arrived)
    }

    /// Notes the first attempt of an event with an ordering key.
    pub(crate) fn record_order(&mut self, endpoint: usize, lane: u64, due_us: u64) {
        let latest_us = self.latest_us.entry((endpoint, lane)).or_default();
        self.out_of_order += u64::from(due_us < *latest_us);
        *latest_us = due_us.max(*latest_us);
    }

    /// Counts a request that was no delivery of ours.
    pub(crate) fn record_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Counts a signature that was checked.
    pub(crate) fn record_signature(&mut self, is_right: bool) {
        self.signatures.checked += 1;
        self.signatures.wrong += u64::from(!is_right);
    }

    /// Counts the deliveries of these events that were not accepted, over some of the endpoints.
    pub(crate) fn missing(&self, events: &[u64], endpoints: Range<usize>) -> usize {
        let seen = self.seen.get(endpoints).unwrap_or_default();
        seen.iter().map(|seen| events.iter().filter(|event| !seen.contains(event)).count()).sum()
    }

    /// Summarises.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            distinct: self.seen.iter().map(|seen| seen.len() as u64).sum(),
            attempts: self.arrived,
            failed: self.failed,
            duplicates: self.duplicates,
            unreadable: self.unreadable,
            latency: self.latency.percentiles(),
            last_us: self.last_us,
            out_of_order: self.out_of_order,
            signatures: self.signatures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_for_each_endpoint() {
        let mut arrivals = Arrivals::new(2, 0);
        arrivals.record(0, 7, 100, 150);
        arrivals.record(1, 7, 100, 160);
        arrivals.record(0, 7, 100, 990);

        let stats = arrivals.stats();
        assert_eq!((stats.distinct, stats.duplicates), (2, 1));
        assert_eq!(stats.latency.max_ms, 0.06, "a duplicate has no latency");
        assert_eq!(stats.last_us, 160, "a duplicate does not prolong the run");
    }

    #[test]
    fn an_attempt_that_fails_is_no_arrival() {
        let mut arrivals = Arrivals::new(1, 0);
        assert_eq!(arrivals.record_failed(0, 100), Some(1));
        assert_eq!(arrivals.record(0, 7, 100, 150), Some(2));
        assert_eq!(arrivals.record_failed(0, 100), Some(3));

        let stats = arrivals.stats();
        assert_eq!((stats.distinct, stats.attempts, stats.failed, stats.duplicates), (1, 3, 2, 0));
    }

    #[test]
    fn what_never_came_is_missing_at_each_endpoint() {
        let mut arrivals = Arrivals::new(2, 0);
        arrivals.record(0, 1, 0, 0);
        arrivals.record(0, 2, 0, 0);
        arrivals.record(1, 1, 0, 0);
        assert_eq!(arrivals.missing(&[1], 0..2), 0);
        assert_eq!(arrivals.missing(&[1, 2], 0..2), 1);
        assert_eq!(arrivals.missing(&[1, 2, 3], 0..2), 3);
        assert_eq!(arrivals.missing(&[1, 2, 3], 0..1), 1);
        assert_eq!(arrivals.missing(&[1, 2, 3], 0..0), 0);
    }

    #[test]
    fn a_late_arrival_of_the_warm_up_is_not_counted() {
        let mut arrivals = Arrivals::new(1, 0);
        arrivals.record(0, 1, 100, 150);
        arrivals.reset(200);
        assert_eq!(arrivals.record(0, 1, 100, 250), None);
        assert_eq!(arrivals.record(0, 2, 200, 250), Some(1));
        assert_eq!(arrivals.stats().distinct, 1);
    }

    #[test]
    fn what_overtakes_an_earlier_one_of_its_key_is_counted() {
        let mut arrivals = Arrivals::new(2, 0);
        for (endpoint, lane, due_us) in [(0, 1, 10), (0, 2, 5), (1, 1, 3), (0, 1, 20), (0, 1, 15), (0, 1, 21)]
        {
            arrivals.record_order(endpoint, lane, due_us);
        }
        assert_eq!(arrivals.stats().out_of_order, 1);
    }

    #[test]
    fn an_unknown_endpoint_is_unreadable() {
        let mut arrivals = Arrivals::new(1, 0);
        assert_eq!(arrivals.record(1, 7, 0, 0), None);
        assert_eq!(arrivals.stats().unreadable, 1);
    }
}
