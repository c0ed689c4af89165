//! What one run came to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::histogram::Percentiles;
use crate::usage::{MemoryMeasure, Usage};

/// The figures of one run. A "delivery" is a distinct one: the first arrival of an event at an endpoint.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measurement {
    /// From the start of the empty instance to its being ready; `None` if it was running before.
    pub ready_seconds: Option<f64>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Requests that were answered 2xx.
    pub requests: u64,
    /// Events that were acknowledged.
    pub events: u64,
    /// Acknowledged events over `seconds`.
    pub events_per_second: f64,
    /// Deliveries that arrived.
    pub deliveries: u64,
    /// Deliveries over the time from the first request to the last arrival, so that a backlog counts.
    pub deliveries_per_second: f64,
    /// Attempts that reached the receiver, whatever it answered.
    pub attempts: u64,
    /// Attempts over the time from the first request to the last arrival.
    pub attempts_per_second: f64,
    /// Deliveries that the server recorded as dead.
    pub dead: u64,
    /// From the last answer to the last arrival.
    pub drain_seconds: f64,
    /// From when a request was due (open loop) or sent (closed loop) to its answer.
    pub ack: Percentiles,
    /// From when a request was due or sent to the arrival of the delivery.
    pub end_to_end: Percentiles,
    /// From when a request was due to when the load sent it.
    pub lateness: Percentiles,
    /// Processor seconds of the server for 1,000 deliveries, or 1,000 events where nothing is delivered.
    pub server_cpu_seconds_per_1000: f64,
    /// The same of PostgreSQL; `None` where there is none or it cannot be seen.
    pub database_cpu_seconds_per_1000: Option<f64>,
    /// What the server used, all its processes together.
    pub server: ProcessUse,
    /// What each of its processes used.
    pub parts: Vec<PartUse>,
    /// What PostgreSQL used, all its processes together; `None` where there is none or it cannot be seen.
    pub database: Option<DatabaseUse>,
    /// What the load used: near one core, it was the bottleneck.
    pub load: ProcessUse,
    /// What the receiver used: near one core, it was the bottleneck.
    pub receiver: ProcessUse,
    /// Whether nothing was lost or wrong.
    pub check: Check,
}

/// What a process used during a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ProcessUse {
    /// Processor time.
    pub cpu_seconds: f64,
    /// Processor time over the length of the run.
    pub cores: f64,
    /// The most memory that it ever held.
    pub memory_peak_mib: f64,
}

/// What one of the server's processes used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PartUse {
    /// What it does.
    pub name: &'static str,
    /// What it used.
    pub used: ProcessUse,
}

/// What PostgreSQL used during a run: its first process and all its children.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DatabaseUse {
    /// Processor time.
    pub cpu_seconds: f64,
    /// Processor time over the length of the run.
    pub cores: f64,
    /// What they held at the end.
    pub memory_mib: f64,
    /// How that was counted.
    pub memory_measure: MemoryMeasure,
}

impl ProcessUse {
    /// Returns what a process used between two readings that lie so many seconds apart.
    pub(crate) fn between(before: Usage, after: Usage, seconds: f64) -> Self {
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        Self {
            cpu_seconds,
            cores: ratio(cpu_seconds, seconds),
            memory_peak_mib: after.resident_peak_bytes as f64 / (1024.0 * 1024.0),
        }
    }

    /// Adds up what several processes used.
    pub(crate) fn sum(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            cpu_seconds: sum.cpu_seconds + part.cpu_seconds,
            cores: sum.cores + part.cores,
            memory_peak_mib: sum.memory_peak_mib + part.memory_peak_mib,
        })
    }
}

/// Divides; nothing over nothing is zero.
pub(crate) fn ratio(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}

/// Whether what was acknowledged arrived, and nothing else.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// Deliveries owed: acknowledged events times fan-out.
    pub deliveries_owed: u64,
    /// Deliveries owed that never arrived, without those that died where attempts fail on purpose.
    pub missing: u64,
    /// Deliveries that arrived though no acknowledgement of their event did.
    pub unacknowledged: u64,
    /// Deliveries that the server recorded as delivered, or as dead where attempts fail on purpose.
    pub recorded: u64,
    /// Arrivals after the first, which at-least-once delivery allows.
    pub duplicates: u64,
    /// First attempts that came after a later one of their ordering key.
    pub out_of_order: u64,
    /// Requests to the receiver that were no delivery of ours.
    pub unreadable: u64,
    /// Signatures that were checked with an independent library.
    pub signatures_checked: u64,
    /// Signatures that were wrong.
    pub signatures_wrong: u64,
    /// Acknowledgements that told another fan-out than there are endpoints.
    pub fan_out_wrong: u64,
    /// Requests of an open loop that were never sent, because the server did not keep up.
    pub unsent: u64,
    /// Requests that were refused or failed, by status and code.
    pub errors: BTreeMap<String, u64>,
}

impl Check {
    /// Returns what makes the run worthless, one sentence each; none if it counts.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        // A request whose answer was lost or was an error may still have stored its event; a refusal and a
        // duplicate did not.
        let is_surplus_explained = self.errors.keys().any(|error| !error.starts_with(['2', '4']));
        let faults = [
            (self.missing, "of the deliveries owed never arrived"),
            (
                if is_surplus_explained { 0 } else { self.unacknowledged },
                "deliveries nobody was told of arrived",
            ),
            (self.deliveries_owed.saturating_sub(self.recorded), "of the deliveries owed were not recorded"),
            (self.out_of_order, "first attempts came out of order"),
            (self.unreadable, "requests to the receiver were no deliveries of ours"),
            (self.signatures_wrong, "of the signatures checked were wrong"),
            (self.fan_out_wrong, "acknowledgements told a wrong fan-out"),
        ];
        let mut sentences: Vec<_> = faults
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if self.deliveries_owed > 0 && self.signatures_checked == 0 {
            sentences.push("no signature was checked".to_owned());
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Check {
        Check {
            deliveries_owed: 100,
            recorded: 100,
            signatures_checked: 2,
            duplicates: 3,
            ..Check::default()
        }
    }

    #[test]
    fn a_run_that_lost_nothing_counts() {
        assert!(sound().faults().is_empty());
    }

    #[test]
    fn a_run_that_lost_or_invented_something_does_not() {
        let check = |check: Check, expected: &str| assert_eq!(check.faults(), [expected]);
        check(Check { missing: 1, ..sound() }, "1 of the deliveries owed never arrived");
        check(Check { recorded: 98, ..sound() }, "2 of the deliveries owed were not recorded");
        check(Check { unacknowledged: 4, ..sound() }, "4 deliveries nobody was told of arrived");
        check(Check { signatures_wrong: 1, ..sound() }, "1 of the signatures checked were wrong");
        check(Check { signatures_checked: 0, ..sound() }, "no signature was checked");
        check(Check { fan_out_wrong: 5, ..sound() }, "5 acknowledgements told a wrong fan-out");
        check(Check { out_of_order: 7, ..sound() }, "7 first attempts came out of order");
        check(Check { unreadable: 6, ..sound() }, "6 requests to the receiver were no deliveries of ours");
    }

    #[test]
    fn an_answer_that_was_lost_explains_a_surplus_and_a_refusal_does_not() {
        let with_error = |error: &str| Check {
            unacknowledged: 1,
            errors: BTreeMap::from([(error.to_owned(), 1)]),
            ..sound()
        };
        assert!(with_error("broken connection").faults().is_empty());
        assert!(with_error("503 storage_away").faults().is_empty());
        assert_eq!(with_error("429 quota").faults().len(), 1);
        assert_eq!(with_error("200 duplicate").faults().len(), 1);
    }
}
