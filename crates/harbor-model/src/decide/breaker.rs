//! The circuit breaker of one endpoint, as one worker sees it.
//!
//! While it is closed the worker counts what its own requests come to. What it makes of them is a
//! [`Wish`], to be made true in the store, where the first worker wins; [`Breaker::adopt`] then takes in
//! whatever is in force. While a wish is on its way the breaker already stands as wished.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::classify::Verdict;
use crate::id::WorkerId;
use crate::policy::breaker::BreakerPolicy;
use crate::port::breakers::{BreakerChange, OpenBreaker};
use crate::time::Timestamp;

/// The latencies that a percentile is taken of.
const LATENCIES_MAX: usize = 100;

/// Fewer latencies than this say nothing.
const LATENCIES_MIN: usize = 20;

/// How long beyond the time for an attempt others wait for a prober before one takes its place.
const PROBE_SLACK: Duration = Duration::from_secs(10);

/// One endpoint's breaker, in the memory of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breaker {
    state: State,
    /// Failures since the last success.
    failures: u32,
    latencies: VecDeque<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum State {
    #[default]
    Closed,
    /// Not closed. The version is that of the store; none while a wish is on its way.
    Open { version: Option<u64>, change: BreakerChange, succeeded: u32 },
}

/// What may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Whatever other limits allow.
    Free,
    /// One request at a time: this worker probes.
    Probe,
    /// Nothing; a probe may be asked for at this instant.
    Held {
        /// When.
        until: Timestamp,
    },
}

/// What a breaker should become, to be made true in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Open it.
    Open(BreakerChange),
    /// Put this in place of the breaker with this version; without a change, close it.
    Change {
        /// The version that it was chosen by.
        version: u64,
        /// What it becomes.
        change: Option<BreakerChange>,
    },
}

/// What came of a request, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was made of it.
    pub verdict: Verdict,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub latency: Duration,
}

impl Breaker {
    /// What may go now.
    pub fn passage(&self, me: WorkerId) -> Passage {
        match &self.state {
            State::Closed => Passage::Free,
            State::Open { version: Some(_), change, .. } if change.prober == Some(me) => Passage::Probe,
            State::Open { change, .. } => Passage::Held { until: change.probe_at },
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether it holds nothing that a new one would not.
    pub fn is_fresh(&self) -> bool {
        self.is_closed() && self.failures == 0 && self.latencies.is_empty()
    }

    /// Takes in what came of a request of this worker.
    pub fn saw(&mut self, seen: Seen, policy: &BreakerPolicy, me: WorkerId, now: Timestamp) -> Option<Wish> {
        let has_failed = matches!(seen.verdict, Verdict::Failed { .. });
        match &mut self.state {
            State::Closed => {
                self.count(has_failed, seen.latency, seen.verdict, policy);
                if !policy.is_enabled || !self.is_over(policy) {
                    return None;
                }
                let change = open_for(policy.cooldown, now);
                self.hold(None, change);
                Some(Wish::Open(change))
            }
            State::Open { version, change, succeeded } => {
                // A request from before it opened says nothing of what is probed.
                let is_probe = change.prober == Some(me) && seen.started_at >= change.decided_at;
                let version = version.filter(|_| is_probe)?;
                if has_failed {
                    let change = open_for(policy.next_cooldown(change.cooldown), now);
                    self.hold(None, change);
                    return Some(Wish::Change { version, change: Some(change) });
                }
                *succeeded += 1;
                if *succeeded < policy.probes {
                    return None;
                }
                *self = Self::default();
                Some(Wish::Change { version, change: None })
            }
        }
    }

    /// Asks to probe, where it is time.
    pub fn ask_to_probe(&mut self, me: WorkerId, timeout: Duration, now: Timestamp) -> Option<Wish> {
        let State::Open { version: Some(version), change, .. } = &self.state else { return None };
        let (version, cooldown) = (*version, change.cooldown);
        if change.prober == Some(me) || change.probe_at > now {
            return None;
        }
        let change = BreakerChange {
            decided_at: now,
            probe_at: now + timeout + PROBE_SLACK,
            cooldown,
            prober: Some(me),
        };
        // Without a version nothing passes until the store has said whose probe it is.
        self.hold(None, change);
        Some(Wish::Change { version, change: Some(change) })
    }

    /// Takes in what is in force. None: it is closed.
    pub fn adopt(&mut self, in_force: Option<&OpenBreaker>) {
        match (&self.state, in_force) {
            (State::Closed, None) => {}
            (State::Open { version, .. }, Some(open)) if *version == Some(open.version) => {}
            (State::Open { .. }, None) => *self = Self::default(),
            (State::Closed | State::Open { .. }, Some(open)) => self.hold(Some(open.version), open.change),
        }
    }

    /// Forgets everything: it is to stand closed. The wish is for the store, where it is known to be open.
    pub fn lift(&mut self) -> Option<Wish> {
        let version = match self.state {
            State::Closed => None,
            State::Open { version, .. } => version,
        };
        *self = Self::default();
        version.map(|version| Wish::Change { version, change: None })
    }

    /// Whether a wish is on its way.
    pub fn is_awaiting(&self) -> bool {
        matches!(self.state, State::Open { version: None, .. })
    }

    fn hold(&mut self, version: Option<u64>, change: BreakerChange) {
        *self = Self { state: State::Open { version, change, succeeded: 0 }, ..Self::default() };
    }

    fn count(&mut self, has_failed: bool, latency: Duration, verdict: Verdict, policy: &BreakerPolicy) {
        match verdict {
            Verdict::Failed { .. } => self.failures = self.failures.saturating_add(1),
            Verdict::Accepted => self.failures = 0,
            // The endpoint lives and refuses this request: neither one nor the other.
            Verdict::ClientError | Verdict::Redirected | Verdict::Gone | Verdict::Blocked => {}
        }
        if policy.p95.is_none() {
            self.latencies.clear();
            return;
        }
        let is_answered = has_failed || verdict == Verdict::Accepted;
        if is_answered {
            if self.latencies.len() == LATENCIES_MAX {
                self.latencies.pop_front();
            }
            self.latencies.push_back(latency);
        }
    }

    fn is_over(&self, policy: &BreakerPolicy) -> bool {
        self.failures >= policy.consecutive_failures
            || policy.p95.is_some_and(|limit| self.p95().is_some_and(|p95| p95 > limit))
    }

    fn p95(&self) -> Option<Duration> {
        if self.latencies.len() < LATENCIES_MIN {
            return None;
        }
        let mut sorted: Vec<_> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        // The smallest that 95 of 100 do not exceed.
        let rank = (sorted.len() * 95).div_ceil(100);
        Some(sorted[rank - 1])
    }
}

fn open_for(cooldown: Duration, now: Timestamp) -> BreakerChange {
    BreakerChange { decided_at: now, probe_at: now + cooldown, cooldown, prober: None }
}

#[cfg(test)]
mod tests;
