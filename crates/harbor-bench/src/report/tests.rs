use std::collections::BTreeMap;

use super::table::write_table;
use super::terminal::write_run;
use super::*;
use crate::account::Account;
use crate::findings::Measured;
use crate::histogram::Percentiles;
use crate::measurement::{Check, DatabaseUse, Measurement, ProcessUse};
use crate::noisy::{Neighbour, NoisyMeasurement};
use crate::settings::{Noisy, Store, Workload};

fn machine() -> Machine {
    Machine {
        cores: 2,
        processor: "Test Processor".to_owned(),
        kernel: "Linux 6.1 x86_64".to_owned(),
        syncs_per_second: 7_012.4,
    }
}

fn measured(deliveries_per_second: f64) -> Measurement {
    let check = Check { deliveries_owed: 10, recorded: 10, signatures_checked: 1, ..Check::default() };
    Measurement { deliveries_per_second, check, ..Measurement::default() }
}

fn found(measured: Measured) -> Findings {
    Findings { program_megabytes: 21.0, commit_mean_ms: None, measured, faults: Vec::new() }
}

fn row(name: &str, targets: impl IntoIterator<Item = (Figure, Target)>) -> Row {
    Row {
        name: name.to_owned(),
        command: None,
        setup: Setup::default(),
        endpoint: toml::Table::new(),
        work: Work::Load(Workload::default()),
        targets: targets.into_iter().collect(),
    }
}

fn table(row: &Row, runs: Vec<Findings>) -> String {
    let report = TableReport { machine: machine(), rows: vec![RowReport::of(row, runs, Vec::new())] };
    let mut out = Vec::new();
    write_table(&mut out, &report).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_row_shows_the_median_beside_its_targets() {
    let row = row(
        "one endpoint",
        [
            (Figure::DeliveriesPerSecond, Target { first: 8_000.0, goal: 20_000.0 }),
            (Figure::ReadySeconds, Target { first: 0.5, goal: 0.1 }),
        ],
    );
    let runs = [9_000.0, 30_000.0, 12_345.6].map(|rate| found(Measured::Load(measured(rate)))).to_vec();

    let out = table(&row, runs);

    assert!(
        out.starts_with("2 cores of Test Processor, Linux 6.1 x86_64.\nThe disk syncs 7,012 appends"),
        "{out}"
    );
    assert!(out.contains("| one endpoint | deliveries /s | 12,346 | 8,000 | 20,000 | first |"), "{out}");
    assert!(
        out.contains("| one endpoint | empty instance ready, s | not measured | 0.5 | 0.1 | no |"),
        "{out}"
    );
    assert!(out.contains("| one endpoint | 3 × 60 s | 0 | 12,346 |"), "{out}");
    assert!(!out.contains("FAILED"), "{out}");
}

#[test]
fn what_postgresql_used_stands_beside_what_the_server_used() {
    let mut row = row("over PostgreSQL", []);
    row.setup.store = Store::Postgres;
    let used = ProcessUse { cpu_seconds: 3.0, cores: 0.5, memory_peak_mib: 80.0 };
    let database = DatabaseUse { cores: 0.25, memory_mib: 300.0, ..DatabaseUse::default() };
    let measured = Measurement {
        server: used,
        server_cpu_seconds_per_1000: 0.023,
        database: Some(database),
        database_cpu_seconds_per_1000: Some(0.019),
        ..measured(1.0)
    };

    let out = table(&row, vec![found(Measured::Load(measured))]);
    assert!(out.contains("| 0.023 + 0.019 | 0.5 + 0.25 / 0 / 0 | 80 + 300 |"), "{out}");
    assert!(out.contains("PostgreSQL's memory: proportional set size"), "{out}");

    let out = table(&row, vec![found(Measured::Load(Measurement::default()))]);
    assert!(out.contains("| 0 + unseen |"), "{out}");
}

#[test]
fn a_neighbour_has_two_lines_and_sentences_of_its_own() {
    let mut row = row("noisy", [(Figure::EndToEndP99Ratio, Target { first: 2.0, goal: 1.2 })]);
    row.work = Work::Noisy(Noisy::default());
    let with_p99 = |p99_ms| {
        let end_to_end = Percentiles { p99_ms, ..Percentiles::default() };
        Measurement { end_to_end, ..measured(100.0) }
    };
    let neighbour = Neighbour {
        seconds: 12.0,
        sent_again: 1_200,
        errors: BTreeMap::from([("429 crowded".to_owned(), 1_200)]),
        account: Account { events: 50_000, deliveries: 99_999, missing: 1, ..Account::default() },
    };
    let noisy = NoisyMeasurement { alone: with_p99(3.0), beside: with_p99(15.0), neighbour };

    let out = table(&row, vec![found(Measured::Noisy(noisy))]);

    assert!(out.contains("| noisy | end to end p99, beside ÷ before | 1.5 | 2 | 1.2 | first |"), "{out}");
    assert!(out.contains("| noisy: alone | 1 × 60 s |"), "{out}");
    assert!(out.contains("| noisy: beside the neighbour | 1 × 60 s |"), "{out}");
    assert!(out.contains("50,000 events acknowledged in 12 s and sent 1,200 again after 429"), "{out}");
    assert!(out.contains("FAILED: noisy: of the neighbour, 1 deliveries of acknowledged events"), "{out}");
}

#[test]
fn a_run_that_lost_something_says_so() {
    let mut measured = measured(1.0);
    measured.check.missing = 2;
    measured.check.errors = BTreeMap::from([("429 quota".to_owned(), 1_200)]);
    let findings = found(Measured::Load(measured));
    let faults = findings.faults();
    let (setup, work) = (Setup::default(), Work::Load(Workload::default()));
    let report = RunReport { machine: machine(), setup, work, findings, faults };

    let mut out = Vec::new();
    write_run(&mut out, &report).unwrap();

    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("1,200 × 429 quota"), "{out}");
    assert!(out.ends_with("FAILED: 2 of the deliveries owed never arrived.\n"), "{out}");
}
