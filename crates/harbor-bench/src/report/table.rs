//! All rows as a document shows them.

use std::io::Write;

use anyhow::Result;

use crate::figure::Reached;
use crate::histogram::Percentiles;
use crate::measurement::Measurement;
use crate::report::facts::{self, facts};
use crate::report::number::{median, number};
use crate::report::{RowReport, TableReport, write_machine};
use crate::settings::Store;

/// Writes all rows as Markdown: the figures that have targets, then everything.
pub fn write_table(out: &mut impl Write, report: &TableReport) -> Result<()> {
    write_machine(out, &report.machine)?;
    writeln!(out, "Load, server and receiver share it; figures are medians of the runs.")?;
    writeln!(out)?;
    write_targets(out, &report.rows)?;
    writeln!(out)?;
    write_all_figures(out, &report.rows)?;
    for row in &report.rows {
        // Of several runs the last one speaks.
        let facts = row.runs.last().map(facts).unwrap_or_default();
        if !facts.is_empty() {
            writeln!(out, "\n{}: {}", row.name, facts.join(" "))?;
        }
    }
    if let Some(measure) = find_memory_measure(&report.rows) {
        writeln!(out, "\nPostgreSQL's memory: {measure}.")?;
    }
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
        "| set-up | runs | events /s | deliveries /s | attempts /s | ack p50 / p95 / p99, ms \
         | end to end p50 / p95 / p99, ms | server (+ PostgreSQL) CPU s per 1,000 \
         | cores of server (+ PostgreSQL) / load / receiver | server (+ PostgreSQL) MiB | dead | duplicates | errors |"
    )?;
    writeln!(out, "|---|---|---:|---:|---:|---|---|---|---|---|---:|---:|---:|")?;
    for line in rows.iter().flat_map(RowReport::lines) {
        writeln!(out, "| {} |", cells(&line).join(" | "))?;
    }
    Ok(())
}

fn cells(line: &Line<'_>) -> [String; 13] {
    let workload = line.row.work.workload();
    let median = |value: fn(&Measurement) -> f64| number(line.median(value));
    let runs = format!("{} × {} s", line.runs.len(), workload.duration.as_secs_f64());
    let end_to_end = match workload.fan_out {
        0 => "–".to_owned(),
        _ => line.percentiles(|run| run.end_to_end),
    };
    let cpu =
        line.with_database(|run| run.server_cpu_seconds_per_1000, |run| run.database_cpu_seconds_per_1000);
    let cores = [
        line.with_database(|run| run.server.cores, |run| run.database.map(|database| database.cores)),
        median(|run| run.load.cores),
        median(|run| run.receiver.cores),
    ];
    let memory = line.with_database(
        |run| run.server.memory_peak_mib,
        |run| run.database.map(|database| database.memory_mib),
    );
    [
        line.name(),
        runs,
        median(|run| run.events_per_second),
        median(|run| run.deliveries_per_second),
        median(|run| run.attempts_per_second),
        line.percentiles(|run| run.ack),
        end_to_end,
        cpu,
        cores.join(" / "),
        memory,
        median(|run| run.dead as f64),
        median(|run| run.check.duplicates as f64),
        median(|run| run.check.errors.values().sum::<u64>() as f64),
    ]
}

/// Says how PostgreSQL's memory was counted, if it was.
fn find_memory_measure(rows: &[RowReport]) -> Option<&'static str> {
    let mut lines = rows.iter().flat_map(RowReport::lines);
    lines.find_map(|line| {
        line.runs.iter().find_map(|run| Some(facts::memory_measure(run.database?.memory_measure)))
    })
}

/// One load of a row, in all the runs.
struct Line<'a> {
    row: &'a RowReport,
    /// What tells it apart from the row's others; nothing where it is the only one.
    name: &'static str,
    runs: Vec<&'a Measurement>,
}

impl Line<'_> {
    fn name(&self) -> String {
        if self.name.is_empty() { self.row.name.clone() } else { format!("{}: {}", self.row.name, self.name) }
    }

    fn median(&self, value: impl Fn(&Measurement) -> f64) -> f64 {
        median(self.runs.iter().map(|run| value(run))).unwrap_or_default()
    }

    fn percentiles(&self, of: impl Fn(&Measurement) -> Percentiles) -> String {
        let median = |value: fn(&Percentiles) -> f64| number(self.median(|run| value(&of(run))));
        format!("{} / {} / {}", median(|p| p.p50_ms), median(|p| p.p95_ms), median(|p| p.p99_ms))
    }

    /// Writes a median of the server and, where there is one, behind a plus that of PostgreSQL.
    fn with_database(
        &self,
        of_server: impl Fn(&Measurement) -> f64,
        of_database: impl Fn(&Measurement) -> Option<f64>,
    ) -> String {
        let server = number(self.median(of_server));
        match (median(self.runs.iter().filter_map(|run| of_database(run))), self.row.setup.store) {
            (Some(database), _) => format!("{server} + {}", number(database)),
            (None, Store::Postgres) => format!("{server} + unseen"),
            (None, Store::Sqlite) => server,
        }
    }
}

impl RowReport {
    /// Returns each load of the row with its name, in all the runs.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for run in &self.runs {
            for (number, (name, measured)) in run.measurements().into_iter().enumerate() {
                if lines.len() <= number {
                    lines.push(Line { row: self, name, runs: Vec::new() });
                }
                lines[number].runs.push(measured);
            }
        }
        lines
    }
}
