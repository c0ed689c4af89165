use std::time::Duration;

use super::*;
use crate::figure::Figure;

#[test]
fn the_file_of_the_repository_holds_rows_that_can_be_run() {
    let settings = Settings::load(None).unwrap();
    for row in &settings.rows {
        let least = match row.work {
            // No checkpoint and no vacuum would fall into a shorter one.
            Work::Load(_) => 60,
            Work::Noisy(_) | Work::Backlog(_) => 30,
        };
        assert!(row.work.workload().duration >= Duration::from_secs(least), "{} is too short", row.name);
        assert!(!row.targets.is_empty(), "{} has no target", row.name);
        assert!(row.targets.keys().all(|figure| figure.is_of(&row.work)), "{}: {:?}", row.name, row.targets);
    }
    let embedded = settings.rows.iter().filter(|row| row.setup == Setup::default()).count();
    assert!(embedded >= 10, "only {embedded} rows are embedded");
    for command in ["noisy", "backlog", "tenants", "storm", "ordered", "tls", "ingest"] {
        assert!(settings.rows.iter().any(|row| row.command.as_deref() == Some(command)), "{command}");
    }
}

#[test]
fn what_a_row_leaves_out_is_the_default() {
    let settings = Settings::parse(
        r#"
        [endpoint]
        max_in_flight = 7
        [[row]]
        name = "slow"
        sync_delay = "5ms"
        workload = { rate = 10, warmup = "0s", duration = "1m" }
        targets.ack_p99_ms = { first = 25, goal = 10.5 }
        "#,
    )
    .unwrap();
    let row = &settings.rows[0];
    let expected = Workload { rate: Some(10), warmup: Duration::ZERO, ..Workload::default() };
    assert_eq!(row.work, Work::Load(expected));
    let delay = Some(Duration::from_millis(5));
    assert_eq!(row.setup, Setup { store: Store::Sqlite, is_split: false, sync_delay: delay });
    assert_eq!(row.targets[&Figure::AckP99Ms], Target { first: 25.0, goal: 10.5 });
    assert_eq!(settings.endpoint["max_in_flight"].as_integer(), Some(7));
}

#[test]
fn a_neighbour_and_a_backlog_have_defaults_of_their_own() {
    let settings = Settings::parse(
        r#"
        [[row]]
        name = "neighbour"
        [row.noisy]
        rate = 5_000
        workload = { rate = 50 }
        [[row]]
        name = "backlog"
        [row.backlog]
        hold = "paused"
        "#,
    )
    .unwrap();
    let neighbour = Noisy {
        rate: Some(5_000),
        workload: Workload { rate: Some(50), ..Workload::default() },
        ..Noisy::default()
    };
    assert_eq!(settings.rows[0].work, Work::Noisy(neighbour));
    assert_eq!(settings.rows[1].work, Work::Backlog(Backlog { hold: Hold::Paused, ..Backlog::default() }));
}

#[test]
fn the_endpoint_of_a_row_wins() {
    let settings = Settings::parse("[endpoint]\nmax_in_flight = 7\ntimeout_ms = 100\n[[row]]\nname = \"x\"");
    let endpoint = toml::from_str("max_in_flight = 9").unwrap();
    let merged = settings.unwrap().with_endpoint(&endpoint).endpoint;
    assert_eq!(merged, toml::from_str("max_in_flight = 9\ntimeout_ms = 100").unwrap());
}

#[test]
fn mistakes_are_named() {
    let check = |row: &str, expected: &str| {
        let error = format!("{:#}", Settings::parse(&format!("[[row]]\nname = \"x\"\n{row}")).unwrap_err());
        assert!(error.contains(expected), "{row}: {error}");
    };
    check("workload = { conections = 1 }", "conections");
    check("workload = { connections = 0 }", "connections is 0");
    check("workload = { rate = 0 }", "rate is 0");
    check("workload = { batch = 1001 }", "batch is 1001");
    check("workload = { payload_bytes = 10 }", "payload_bytes is 10");
    check("workload = { fail_rate = 1.5 }", "fail_rate is 1.5");
    check("workload = { transport = \"pigeon\" }", "pigeon");
    check("workload = { source = \"pigeon\" }", "pigeon");
    check("workload = { source = \"github\", batch = 2 }", "one event with each request, not 2");
    check("workload = { source = \"github\", fan_out = 2 }", "one endpoint, not to 2");
    check("workload = { source = \"stripe\", ordering_keys = 100 }", "no ordering key");
    check("workload = { source = \"stripe\", payload_bytes = 100 }", "payload_bytes is 100");
    check("workload = { duration = \"soon\" }", "\"soon\" is not a duration");
    check("targets.speed = { first = 1, goal = 2 }", "speed");
    check("split = true", "cannot share the embedded store");
    check("store = \"postgres\"\nsync_delay = \"1ms\"", "only the embedded store");
    check("workload = {}\nnoisy = {}", "one of workload, noisy and backlog");
    check("noisy = { workload = {} }", "has no rate");
    check("backlog = { deliveries = 0 }", "deliveries is 0");
}
