use std::collections::BTreeMap;

use super::*;

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

#[test]
fn a_row_shows_the_median_beside_its_targets() {
    let row = Row {
        name: "one endpoint".to_owned(),
        workload: Workload::default(),
        targets: BTreeMap::from([
            (Figure::DeliveriesPerSecond, Target { first: 8_000.0, goal: 20_000.0 }),
            (Figure::ReadySeconds, Target { first: 0.5, goal: 0.1 }),
        ]),
    };
    let runs = [9_000.0, 30_000.0, 12_345.6].map(measured).to_vec();
    let report = TableReport { machine: machine(), rows: vec![RowReport::of(&row, runs, Vec::new())] };

    let mut out = Vec::new();
    write_table(&mut out, &report).unwrap();

    let out = String::from_utf8(out).unwrap();
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
fn a_run_that_lost_something_says_so() {
    let mut measured = measured(1.0);
    measured.check.missing = 2;
    measured.check.errors = BTreeMap::from([("429 quota".to_owned(), 1_200)]);
    let faults = measured.check.faults();
    let report = RunReport { machine: machine(), workload: Workload::default(), measured, faults };

    let mut out = Vec::new();
    write_run(&mut out, &report).unwrap();

    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("1,200 × 429 quota"), "{out}");
    assert!(out.ends_with("FAILED: 2 of the deliveries owed never arrived.\n"), "{out}");
}

#[test]
fn the_median_is_the_middle_or_the_lower_of_two() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.0));
    assert_eq!(median([5.0].into_iter()), Some(5.0));
    assert_eq!(median([].into_iter()), None);
}

#[test]
fn numbers_are_as_precise_as_they_are_large() {
    let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
    check(0.0, "0");
    check(0.0612, "0.061");
    check(0.5, "0.5");
    check(2.345, "2.35");
    check(25.04, "25");
    check(25.06, "25.1");
    check(812.6, "813");
    check(1_234_567.0, "1,234,567");
    check(100_000.0, "100,000");
}
