//! What a person, a document or a program reads of the runs.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::figure::{Figure, Reached};
use crate::histogram::Percentiles;
use crate::machine::Machine;
use crate::measurement::{Check, Measurement, ProcessUse};
use crate::settings::{Row, Target, Workload};

/// One run as JSON.
#[derive(Serialize)]
pub struct RunReport {
    /// The machine.
    pub machine: Machine,
    /// What was done.
    pub workload: Workload,
    /// What it came to.
    pub measured: Measurement,
    /// What makes it worthless; none if it counts.
    pub faults: Vec<String>,
}

/// All rows of `bench.toml`.
#[derive(Serialize)]
pub struct TableReport {
    /// The machine.
    pub machine: Machine,
    /// The rows, in order.
    pub rows: Vec<RowReport>,
}

/// The runs of one row.
#[derive(Serialize)]
pub struct RowReport {
    /// What the table calls it.
    pub name: String,
    /// What was done.
    pub workload: Workload,
    /// The medians beside the targets.
    pub targets: Vec<TargetReport>,
    /// The runs.
    pub runs: Vec<Measurement>,
    /// What makes a run worthless, or why there is none; nothing if all count.
    pub faults: Vec<String>,
}

/// A figure beside its target.
#[derive(Serialize)]
pub struct TargetReport {
    /// Which figure.
    pub figure: Figure,
    /// The median of the runs; `None` where it was not measured.
    pub measured: Option<f64>,
    /// The promise of the first version.
    pub first: f64,
    /// The stretch.
    pub goal: f64,
    /// Which of them was reached; `None` where it was not measured.
    pub reached: Option<Reached>,
}

impl RowReport {
    /// Compares the medians of the runs with the targets of the row.
    pub(crate) fn of(row: &Row, runs: Vec<Measurement>, failures: Vec<String>) -> Self {
        let target = |(figure, target): (&Figure, &_)| {
            let measured = median(runs.iter().filter_map(|run| figure.of(run)));
            TargetReport::of(*figure, measured, *target)
        };
        Self {
            name: row.name.clone(),
            workload: row.workload.clone(),
            targets: row.targets.iter().map(target).collect(),
            faults: runs.iter().flat_map(|run| run.check.faults()).chain(failures).collect(),
            runs,
        }
    }

    fn median(&self, value: impl Fn(&Measurement) -> f64) -> f64 {
        median(self.runs.iter().map(value)).unwrap_or_default()
    }

    fn percentiles(&self, of: impl Fn(&Measurement) -> Percentiles) -> String {
        let median = |value: fn(&Percentiles) -> f64| number(self.median(|run| value(&of(run))));
        format!("{} / {} / {}", median(|p| p.p50_ms), median(|p| p.p95_ms), median(|p| p.p99_ms))
    }
}

impl TargetReport {
    fn of(figure: Figure, measured: Option<f64>, target: Target) -> Self {
        let reached = measured.map(|measured| figure.judge(measured, target));
        Self { figure, measured, first: target.first, goal: target.goal, reached }
    }
}

/// Writes a line of progress, apart from the report, to standard error.
pub fn note(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a report as JSON.
pub fn write_json(out: &mut impl Write, report: &impl Serialize) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    Ok(writeln!(out)?)
}

/// Writes the machine in two sentences.
pub fn write_machine(out: &mut impl Write, machine: &Machine) -> Result<()> {
    let Machine { cores, processor, kernel, syncs_per_second } = machine;
    writeln!(out, "{cores} cores of {processor}, {kernel}.")?;
    Ok(writeln!(out, "The disk syncs {} appends of 4 KiB a second.", number(*syncs_per_second))?)
}

/// Writes one run for a terminal.
pub fn write_run(out: &mut impl Write, report: &RunReport) -> Result<()> {
    let measured = &report.measured;
    write_machine(out, &report.machine)?;
    writeln!(out)?;
    let mut line = |name: &str, text: String| writeln!(out, "{name:<12}{text}");
    line("published", published(measured))?;
    line("delivered", delivered(measured))?;
    line("ack", percentiles(&measured.ack))?;
    if measured.deliveries > 0 {
        line("end to end", percentiles(&measured.end_to_end))?;
    }
    if report.workload.rate.is_some() {
        line("sent late", percentiles(&measured.lateness))?;
    }
    line("server", format!("{}, {}", process_use(&measured.server), server_cost(measured)))?;
    line("load", process_use(&measured.load))?;
    line("receiver", process_use(&measured.receiver))?;
    line("check", check(&measured.check))?;
    line("errors", errors(&measured.check))?;
    for fault in &report.faults {
        writeln!(out, "\nFAILED: {fault}.")?;
    }
    Ok(())
}

/// Writes all rows as Markdown: the figures that have targets, then everything.
pub fn write_table(out: &mut impl Write, report: &TableReport) -> Result<()> {
    write_machine(out, &report.machine)?;
    writeln!(out, "Load, server and receiver share it; figures are medians of the runs.")?;
    writeln!(out)?;
    write_targets(out, &report.rows)?;
    writeln!(out)?;
    write_all_figures(out, &report.rows)?;
    for row in &report.rows {
        for fault in &row.faults {
            writeln!(out, "\nFAILED: {}: {fault}.", row.name)?;
        }
    }
    Ok(())
}

fn write_targets(out: &mut impl Write, rows: &[RowReport]) -> Result<()> {
    writeln!(out, "| set-up | figure | measured | first | goal | reached |")?;
    writeln!(out, "|---|---|---:|---:|---:|---|")?;
    for row in rows {
        for target in &row.targets {
            let measured = target.measured.map_or_else(|| "not measured".to_owned(), number);
            let reached = match target.reached {
                Some(Reached::Goal) => "goal",
                Some(Reached::First) => "first",
                Some(Reached::Neither) | None => "no",
            };
            let (figure, first, goal) = (target.figure.label(), number(target.first), number(target.goal));
            writeln!(out, "| {} | {figure} | {measured} | {first} | {goal} | {reached} |", row.name)?;
        }
    }
    Ok(())
}

fn write_all_figures(out: &mut impl Write, rows: &[RowReport]) -> Result<()> {
    writeln!(
        out,
        "| set-up | runs | events /s | deliveries /s | ack p50 / p95 / p99, ms | end to end p50 / p95 / p99, ms \
         | server CPU s per 1,000 | cores of server / load / receiver | server MiB | duplicates | errors |"
    )?;
    writeln!(out, "|---|---|---:|---:|---|---|---:|---|---:|---:|---:|")?;
    for row in rows {
        let median = |value: fn(&Measurement) -> f64| number(row.median(value));
        let runs = format!("{} × {} s", row.runs.len(), row.workload.duration.as_secs_f64());
        let end_to_end = match row.workload.fan_out {
            0 => "–".to_owned(),
            _ => row.percentiles(|run| run.end_to_end),
        };
        let cores =
            [median(|run| run.server.cores), median(|run| run.load.cores), median(|run| run.receiver.cores)];
        let cells = [
            row.name.clone(),
            runs,
            median(|run| run.events_per_second),
            median(|run| run.deliveries_per_second),
            row.percentiles(|run| run.ack),
            end_to_end,
            median(|run| run.server_cpu_seconds_per_1000),
            cores.join(" / "),
            median(|run| run.server.memory_peak_mib),
            median(|run| run.check.duplicates as f64),
            median(|run| run.check.errors.values().sum::<u64>() as f64),
        ];
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
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
    format!("{rate} deliveries/s: {count} distinct, the last {drain} s after the last answer")
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

fn errors(check: &Check) -> String {
    if check.errors.is_empty() {
        return "none".to_owned();
    }
    let errors: Vec<_> =
        check.errors.iter().map(|(error, count)| format!("{} × {error}", grouped(*count))).collect();
    errors.join(", ")
}

/// Returns the middle value, of an even number the lower of the two; `None` of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Writes a number with about three digits that count.
fn number(value: f64) -> String {
    if value >= 100.0 {
        grouped(value.round() as u64)
    } else if value >= 10.0 {
        trimmed(format!("{value:.1}"))
    } else if value >= 1.0 {
        trimmed(format!("{value:.2}"))
    } else {
        trimmed(format!("{value:.3}"))
    }
}

fn trimmed(decimals: String) -> String {
    decimals.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a whole number with a comma before every three digits.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests;
