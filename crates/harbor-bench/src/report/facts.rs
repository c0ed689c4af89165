//! What was found besides the loads, as sentences.

use std::collections::BTreeMap;

use crate::account::Account;
use crate::findings::{Findings, Measured};
use crate::report::number::{grouped, number};
use crate::usage::MemoryMeasure;

/// Says what was found besides the loads, a sentence each.
pub(super) fn facts(findings: &Findings) -> Vec<String> {
    let mut facts = match &findings.measured {
        Measured::Load(_) => Vec::new(),
        Measured::Noisy(noisy) => {
            let neighbour = &noisy.neighbour;
            vec![
                format!(
                    "The slowest answers (p99) took {} times as long beside the neighbour, the slowest deliveries {} times.",
                    number(noisy.ack_p99_ratio()),
                    number(noisy.end_to_end_p99_ratio()),
                ),
                format!(
                    "The neighbour had {} events acknowledged in {} s and sent {} again after 429; errors: {}.",
                    grouped(neighbour.account.events),
                    number(neighbour.seconds),
                    grouped(neighbour.sent_again),
                    errors(&neighbour.errors),
                ),
            ]
        }
        Measured::Backlog(backlog) => vec![
            format!(
                "The backlog of {} events was heaped up in {} s; {} were sent again after 429.",
                grouped(backlog.account.events),
                number(backlog.heap_seconds),
                grouped(backlog.sent_again),
            ),
            format!(
                "Beside it the slowest answers (p99) took {} times as long, the slowest deliveries {} times, in a closed loop {} times.",
                number(backlog.ack_p99_ratio()),
                number(backlog.end_to_end_p99_ratio()),
                number(backlog.closed_end_to_end_p99_ratio()),
            ),
            format!(
                "After kill -9 the server was ready {} s after its start and had a fresh delivery after {} s.",
                number(backlog.restart_ready_seconds),
                number(backlog.restart_delivery_seconds),
            ),
        ],
    };
    facts.extend(findings.account().map(account));
    facts
}

fn account(account: &Account) -> String {
    let statuses: Vec<_> =
        account.statuses.iter().map(|(status, count)| format!("{} {status}", grouped(*count))).collect();
    format!(
        "Of its {} acknowledged events {} deliveries were found and {} are missing; all its deliveries: {}.",
        grouped(account.events),
        grouped(account.deliveries),
        grouped(account.missing),
        statuses.join(", "),
    )
}

/// Says how PostgreSQL's memory was counted.
pub(super) fn memory_measure(measure: MemoryMeasure) -> &'static str {
    match measure {
        MemoryMeasure::ProportionalSetSize => {
            "proportional set size of all its processes at the end of a run"
        }
        MemoryMeasure::PrivateAndLargestShared => {
            "private memory of all its processes and the largest shared part that one of them touched, at the end of a run"
        }
    }
}

/// Lists errors with their counts.
pub(super) fn errors(errors: &BTreeMap<String, u64>) -> String {
    if errors.is_empty() {
        return "none".to_owned();
    }
    let errors: Vec<_> =
        errors.iter().map(|(error, count)| format!("{} × {error}", grouped(*count))).collect();
    errors.join(", ")
}
