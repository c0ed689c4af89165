//! One run as a person at a terminal reads it.

use std::io::Write;

use anyhow::Result;

use crate::histogram::Percentiles;
use crate::measurement::{Check, Measurement, ProcessUse};
use crate::report::facts::{errors, facts, memory_measure};
use crate::report::number::{grouped, number};
use crate::report::{RunReport, write_machine};
use crate::settings::Work;

/// Writes one run for a terminal.
pub fn write_run(out: &mut impl Write, report: &RunReport) -> Result<()> {
    write_machine(out, &report.machine)?;
    for (name, measured) in report.findings.measurements() {
        writeln!(out)?;
        if !name.is_empty() {
            writeln!(out, "{}:", name)?;
        }
        write_measurement(out, &report.work, measured)?;
    }
    let facts = facts(&report.findings);
    if !facts.is_empty() {
        writeln!(out)?;
    }
    for fact in facts {
        writeln!(out, "{fact}")?;
    }
    for fault in &report.faults {
        writeln!(out, "\nFAILED: {fault}.")?;
    }
    Ok(())
}

fn write_measurement(out: &mut impl Write, work: &Work, measured: &Measurement) -> Result<()> {
    let mut line = |name: &str, text: String| writeln!(out, "{name:<12}{text}");
    line("published", published(measured))?;
    line("delivered", delivered(measured))?;
    line("ack", percentiles(&measured.ack))?;
    if measured.deliveries > 0 {
        line("end to end", percentiles(&measured.end_to_end))?;
    }
    if work.workload().rate.is_some() {
        line("sent late", percentiles(&measured.lateness))?;
    }
    line("server", format!("{}, {}", process_use(&measured.server), server_cost(measured)))?;
    if measured.parts.len() > 1 {
        for part in &measured.parts {
            line(&format!("  {}", part.name), process_use(&part.used))?;
        }
    }
    if let Some(database) = database_use(measured) {
        line("PostgreSQL", database)?;
    }
    line("load", process_use(&measured.load))?;
    line("receiver", process_use(&measured.receiver))?;
    line("check", check(&measured.check))?;
    Ok(line("errors", errors(&measured.check.errors))?)
}

fn published(measured: &Measurement) -> String {
    let (events, requests) = (grouped(measured.events), grouped(measured.requests));
    let (rate, seconds) = (number(measured.events_per_second), number(measured.seconds));
    let mut text = format!("{rate} events/s: {events} acknowledged by {requests} requests in {seconds} s");
    if measured.check.unsent > 0 {
        text += &format!("; {} were due and never sent", grouped(measured.check.unsent));
    }
    text
}

fn delivered(measured: &Measurement) -> String {
    let (count, rate) = (grouped(measured.deliveries), number(measured.deliveries_per_second));
    let drain = number(measured.drain_seconds);
    let mut text = format!("{rate} deliveries/s: {count} distinct, the last {drain} s after the last answer");
    if measured.attempts > measured.deliveries {
        let (attempts, rate) = (grouped(measured.attempts), number(measured.attempts_per_second));
        text += &format!("; {rate} attempts/s: {attempts}");
    }
    if measured.dead > 0 {
        text += &format!("; {} dead", grouped(measured.dead));
    }
    text
}

fn percentiles(percentiles: &Percentiles) -> String {
    let Percentiles { p50_ms, p95_ms, p99_ms, max_ms } = percentiles;
    let [p50, p95, p99, max] = [p50_ms, p95_ms, p99_ms, max_ms].map(|ms| number(*ms));
    format!("p50 {p50}, p95 {p95}, p99 {p99}, max {max} ms")
}

fn process_use(used: &ProcessUse) -> String {
    let ProcessUse { cpu_seconds, cores, memory_peak_mib } = used;
    let [cpu, cores, memory] = [cpu_seconds, cores, memory_peak_mib].map(|value| number(*value));
    format!("{cores} cores ({cpu} CPU s), peak {memory} MiB")
}

fn database_use(measured: &Measurement) -> Option<String> {
    let database = measured.database?;
    let [cpu, cores, memory] = [database.cpu_seconds, database.cores, database.memory_mib].map(number);
    let cost = number(measured.database_cpu_seconds_per_1000.unwrap_or_default());
    let measure = memory_measure(database.memory_measure);
    Some(format!("{cores} cores ({cpu} CPU s), {memory} MiB ({measure}), {cost} CPU s per 1,000"))
}

fn server_cost(measured: &Measurement) -> String {
    let unit = if measured.check.deliveries_owed > 0 { "deliveries" } else { "events" };
    let cost = number(measured.server_cpu_seconds_per_1000);
    let ready = measured.ready_seconds.map(|seconds| format!(", ready after {} s", number(seconds)));
    format!("{cost} CPU s per 1,000 {unit}{}", ready.unwrap_or_default())
}

fn check(check: &Check) -> String {
    let counts = [
        (check.deliveries_owed, "owed"),
        (check.missing, "missing"),
        (check.unacknowledged, "unacknowledged"),
        (check.recorded, "recorded"),
        (check.duplicates, "duplicates"),
        (check.signatures_checked, "signatures checked"),
        (check.signatures_wrong, "wrong"),
    ];
    counts.map(|(count, what)| format!("{} {what}", grouped(count))).join(", ")
}
