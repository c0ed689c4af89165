//! What a person, a document or a program reads of the runs.

mod facts;
mod number;
pub mod table;
pub mod terminal;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::figure::{Figure, Reached};
use crate::findings::Findings;
use crate::machine::Machine;
use crate::report::number::{median, number};
use crate::settings::{Row, Setup, Target, Work};

/// One run as JSON.
#[derive(Serialize)]
pub struct RunReport {
    /// The machine.
    pub machine: Machine,
    /// What it was measured on.
    pub setup: Setup,
    /// What was done.
    pub work: Work,
    /// What it came to.
    pub findings: Findings,
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
    /// What it was measured on.
    pub setup: Setup,
    /// What was done.
    pub work: Work,
    /// The medians beside the targets.
    pub targets: Vec<TargetReport>,
    /// The runs.
    pub runs: Vec<Findings>,
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
    pub(crate) fn of(row: &Row, runs: Vec<Findings>, failures: Vec<String>) -> Self {
        let target = |(figure, target): (&Figure, &_)| {
            let measured = median(runs.iter().filter_map(|run| figure.of(run)));
            TargetReport::of(*figure, measured, *target)
        };
        Self {
            name: row.name.clone(),
            setup: row.setup,
            work: row.work.clone(),
            targets: row.targets.iter().map(target).collect(),
            faults: runs.iter().flat_map(Findings::faults).chain(failures).collect(),
            runs,
        }
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

#[cfg(test)]
mod tests;
