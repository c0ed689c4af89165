//! What came of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use harbor_wire::client::ClientError;
use harbor_wire::event::PublishedEvent;
use serde::Serialize;

use crate::args::word;
use crate::command::traffic::Pattern;
use crate::command::traffic::bad::BadRequest;
use crate::command::traffic::plan::Plan;
use crate::failure::Failure;
use crate::output::View;
use crate::output::table::{Cell, Column, Tone};

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    outcome: Outcome,
    latency: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// A valid event is stored.
    Acknowledged,
    /// A bad request is refused as it must be.
    RefusedAsExpected,
    /// It went wrong.
    Unexpected(Error),
}

/// A way in which it went wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Error {
    /// None where there was no answer.
    status: Option<u16>,
    code: String,
}

impl Answer {
    /// What came of a valid event.
    pub(super) fn of_good(result: &Result<PublishedEvent, ClientError>, latency: Duration) -> Self {
        let outcome = match result {
            Ok(_) => Outcome::Acknowledged,
            Err(error) => Outcome::Unexpected(Error::of(error)),
        };
        Self { outcome, latency }
    }

    /// What came of a request that must be refused.
    pub(super) fn of_bad(
        result: &Result<PublishedEvent, ClientError>,
        bad: BadRequest,
        latency: Duration,
    ) -> Self {
        let error = match result {
            Ok(_) => Error { status: Some(200), code: "accepted".to_owned() },
            Err(error) => Error::of(error),
        };
        let outcome = if error.status == Some(bad.expected_status()) {
            Outcome::RefusedAsExpected
        } else {
            let code = format!("{} for {}, not {}", error.code, bad.name(), bad.expected_status());
            Outcome::Unexpected(Error { code, ..error })
        };
        Self { outcome, latency }
    }
}

impl Error {
    fn of(error: &ClientError) -> Self {
        let (status, code) = match error {
            ClientError::Problem(problem) => (Some(problem.status), problem.code.clone()),
            ClientError::Unexpected { status, .. } => (Some(*status), "not_harborhook".to_owned()),
            ClientError::Unreachable { .. } => (None, "no_answer".to_owned()),
            ClientError::Settings(_) => (None, "not_sent".to_owned()),
        };
        Self { status, code }
    }
}

/// Counts answers.
#[derive(Default)]
pub(super) struct Tally {
    acknowledged: u64,
    refused_as_expected: u64,
    errors: BTreeMap<Error, u64>,
    latencies_us: Vec<u32>,
}

impl Tally {
    pub(super) fn add(&mut self, answer: Answer) {
        self.latencies_us.push(u32::try_from(answer.latency.as_micros()).unwrap_or(u32::MAX));
        match answer.outcome {
            Outcome::Acknowledged => self.acknowledged += 1,
            Outcome::RefusedAsExpected => self.refused_as_expected += 1,
            Outcome::Unexpected(error) => *self.errors.entry(error).or_default() += 1,
        }
    }

    pub(super) fn summary(mut self, plan: &Plan, took: Duration, unsent: u64) -> Summary {
        self.latencies_us.sort_unstable();
        let sent = self.latencies_us.len() as u64;
        let errors = self.errors.into_iter();
        Summary {
            pattern: plan.pattern(),
            rate: plan.rate(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            sent,
            unsent,
            acknowledged: self.acknowledged,
            refused_as_expected: self.refused_as_expected,
            unexpected: sent - self.acknowledged - self.refused_as_expected,
            errors: errors
                .map(|(Error { status, code }, count)| ErrorCount { status, code, count })
                .collect(),
            latency_ms: Latency::of(&self.latencies_us),
        }
    }
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pattern: Pattern,
    rate: u32,
    took_ms: u64,
    sent: u64,
    /// Due, and not sent because too many were under way.
    unsent: u64,
    acknowledged: u64,
    refused_as_expected: u64,
    unexpected: u64,
    errors: Vec<ErrorCount>,
    latency_ms: Option<Latency>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ErrorCount {
    status: Option<u16>,
    code: String,
    count: u64,
}

/// From the time at which a request was due to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Latency {
    /// Of sorted microseconds; none where there are none.
    fn of(sorted_us: &[u32]) -> Option<Self> {
        let last = sorted_us.len().checked_sub(1)?;
        // The nearest rank: the smallest value that so many are not above.
        let at = |percent: usize| {
            let rank = (sorted_us.len() * percent).div_ceil(100);
            f64::from(sorted_us[rank.saturating_sub(1).min(last)]) / 1e3
        };
        Some(Self { p50: at(50), p95: at(95), p99: at(99), max: at(100) })
    }
}

impl Summary {
    /// The summary for people.
    pub(super) fn render(&self, view: &View) -> String {
        const COLUMNS: &[Column<ErrorCount>] = &[
            Column::new("STATUS", |error, _| Cell::maybe(error.status)),
            Column::new("COUNT", |error, _| Cell::new(error.count)),
            Column::flexible("WHY", |error, _| Cell::new(&error.code)),
        ];
        let counted = |count: u64, tone| Cell::toned(count, if count == 0 { Tone::Plain } else { tone });
        let per_second = self.sent as f64 * 1e3 / (self.took_ms.max(1) as f64);
        let mut rows = vec![
            ("pattern", Cell::new(word::print(&self.pattern))),
            ("sent", Cell::new(format_args!("{} ({per_second:.1}/s, asked {}/s)", self.sent, self.rate))),
        ];
        match self.pattern {
            Pattern::Bad => rows.push(("refused as expected", counted(self.refused_as_expected, Tone::Good))),
            Pattern::Good | Pattern::Burst => {
                rows.push(("acknowledged", counted(self.acknowledged, Tone::Good)))
            }
        }
        rows.push(("unexpected", counted(self.unexpected, Tone::Bad)));
        if self.unsent > 0 {
            let text = format!("{}: --concurrency was too small for these latencies", self.unsent);
            rows.push(("due and not sent", Cell::toned(text, Tone::Waiting)));
        }
        if let Some(Latency { p50, p95, p99, max }) = self.latency_ms {
            let text = format!("p50 {p50:.1}  p95 {p95:.1}  p99 {p99:.1}  max {max:.1}");
            rows.push(("latency in ms", Cell::new(text)));
        }
        let details = view.details(rows);
        if self.errors.is_empty() {
            details
        } else {
            format!("{details}\n\n{}", view.table(&self.errors, COLUMNS))
        }
    }

    /// Whether everything was answered as it must be.
    ///
    /// # Errors
    /// Says how much was not.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.unexpected == 0 {
            return Ok(());
        }
        Err(Failure::Unfulfilled(format!("{} of {} answers were unexpected", self.unexpected, self.sent)))
    }
}

#[cfg(test)]
mod tests {
    use harbor_wire::problem::Problem;

    use super::*;

    fn refusal(status: u16, code: &str) -> Result<PublishedEvent, ClientError> {
        Err(ClientError::Problem(Box::new(Problem {
            kind: String::new(),
            title: String::new(),
            status,
            detail: String::new(),
            code: code.to_owned(),
            request_id: None,
            errors: Vec::new(),
        })))
    }

    fn published() -> Result<PublishedEvent, ClientError> {
        Ok(PublishedEvent { event_id: "evt_1".to_owned(), fanout_count: 1, duplicate: false })
    }

    #[test]
    fn a_refusal_is_expected_only_with_its_status() {
        let millisecond = Duration::from_millis(1);
        let mut tally = Tally::default();
        tally.add(Answer::of_bad(&refusal(400, "invalid_json"), BadRequest::InvalidJson, millisecond));
        tally.add(Answer::of_bad(&refusal(500, "internal"), BadRequest::InvalidJson, millisecond));
        tally.add(Answer::of_bad(&published(), BadRequest::TooLarge, millisecond));
        let plan = Plan::new(Pattern::Bad, 3, Duration::from_secs(1));
        let summary = tally.summary(&plan, Duration::from_secs(1), 0);
        assert_eq!((summary.refused_as_expected, summary.unexpected), (1, 2));
        let error = |status, code: &str| ErrorCount { status: Some(status), code: code.to_owned(), count: 1 };
        let expected =
            [error(200, "accepted for too_large, not 413"), error(500, "internal for invalid_json, not 400")];
        assert_eq!(summary.errors, expected);
        assert!(summary.verdict().is_err());
    }

    #[test]
    fn errors_are_counted_by_status_and_code() {
        let mut tally = Tally::default();
        for result in [published(), refusal(429, "quota"), refusal(429, "quota")] {
            tally.add(Answer::of_good(&result, Duration::from_millis(1)));
        }
        let plan = Plan::new(Pattern::Good, 3, Duration::from_secs(1));
        let summary = tally.summary(&plan, Duration::from_secs(1), 2);
        assert_eq!((summary.acknowledged, summary.unexpected, summary.unsent), (1, 2, 2));
        let quota = ErrorCount { status: Some(429), code: "quota".to_owned(), count: 2 };
        assert_eq!(summary.errors, [quota]);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u32> = (1..=100).map(|ms| ms * 1_000).collect();
        assert_eq!(Latency::of(&hundred), Some(Latency { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 }));
        assert_eq!(Latency::of(&[7_000]), Some(Latency { p50: 7.0, p95: 7.0, p99: 7.0, max: 7.0 }));
        assert_eq!(Latency::of(&[]), None);
    }
}
