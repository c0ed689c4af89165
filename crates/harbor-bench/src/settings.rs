//! `bench.toml`: what is measured, and what it should come to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::figure::Figure;
use crate::payload::PAYLOAD_BYTES_MIN;

/// The file at the root of the repository, so that the program runs from anywhere.
const DEFAULT: &str = include_str!("../../../bench.toml");
/// The most events of one `events:batchPublish`.
const BATCH_MAX: u64 = 1_000;

/// All of `bench.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Written to the server's configuration file as it stands.
    #[serde(default)]
    pub server: toml::Table,
    /// Merged into the request that creates the tenant.
    #[serde(default)]
    pub tenant: toml::Table,
    /// Merged into the requests that create endpoints.
    #[serde(default)]
    pub endpoint: toml::Table,
    /// What `all` measures, in order.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
}

/// One measurement with its targets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What the table calls it.
    pub name: String,
    /// What is done.
    #[serde(default)]
    pub workload: Workload,
    /// What it should come to.
    #[serde(default)]
    pub targets: BTreeMap<Figure, Target>,
}

/// What a figure should come to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The promise of the first version.
    pub first: f64,
    /// The stretch.
    pub goal: f64,
}

/// What the load does and who receives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// How many endpoints subscribe; 0 measures publishing alone.
    pub fan_out: u64,
    /// How many events one request publishes.
    pub batch: u64,
    /// Over how many connections.
    pub connections: usize,
    /// Events a second of an open loop; without it the loop is closed.
    pub rate: Option<u64>,
    /// The size of each payload.
    pub payload_bytes: usize,
    /// How many events nobody subscribes to are published before, so that tables are not empty.
    pub preload: u64,
    /// How long the same load runs before anything is measured.
    #[serde(deserialize_with = "duration::deserialize")]
    pub warmup: Duration,
    /// How long is measured.
    #[serde(deserialize_with = "duration::deserialize")]
    pub duration: Duration,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            fan_out: 1,
            batch: 1,
            connections: 64,
            rate: None,
            payload_bytes: 512,
            preload: 0,
            warmup: Duration::from_secs(5),
            duration: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Reads a settings file, or without one the settings of the repository.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Self::parse(DEFAULT).context("bench.toml is wrong");
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text)?;
        for row in &settings.rows {
            row.workload.validate().with_context(|| format!("row {:?}", row.name))?;
        }
        Ok(settings)
    }
}

impl Workload {
    /// Refuses what cannot be run.
    pub fn validate(&self) -> Result<()> {
        ensure!(self.connections > 0, "connections is 0");
        ensure!(self.rate != Some(0), "rate is 0");
        ensure!((1..=BATCH_MAX).contains(&self.batch), "batch is {}, not 1 to {BATCH_MAX}", self.batch);
        ensure!(
            self.payload_bytes >= PAYLOAD_BYTES_MIN,
            "payload_bytes is {}, less than {PAYLOAD_BYTES_MIN}",
            self.payload_bytes
        );
        ensure!(!self.duration.is_zero(), "duration is 0");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_repository_holds_the_embedded_rows() {
        let settings = Settings::load(None).unwrap();
        assert_eq!(settings.rows.len(), 5);
        for row in &settings.rows {
            assert!(
                row.workload.duration >= Duration::from_secs(60),
                "{}: no checkpoint, no vacuum",
                row.name
            );
            assert!(!row.targets.is_empty(), "{} has no target", row.name);
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
            workload = { rate = 10, warmup = "0s", duration = "1m" }
            targets.ack_p99_ms = { first = 25, goal = 10.5 }
            "#,
        )
        .unwrap();
        let row = &settings.rows[0];
        let expected = Workload { rate: Some(10), warmup: Duration::ZERO, ..Workload::default() };
        assert_eq!(row.workload, expected);
        assert_eq!(row.targets[&Figure::AckP99Ms], Target { first: 25.0, goal: 10.5 });
        assert_eq!(settings.endpoint["max_in_flight"].as_integer(), Some(7));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |row: &str, expected: &str| {
            let error =
                format!("{:#}", Settings::parse(&format!("[[row]]\nname = \"x\"\n{row}")).unwrap_err());
            assert!(error.contains(expected), "{row}: {error}");
        };
        check("workload = { conections = 1 }", "conections");
        check("workload = { connections = 0 }", "connections is 0");
        check("workload = { rate = 0 }", "rate is 0");
        check("workload = { batch = 1001 }", "batch is 1001");
        check("workload = { payload_bytes = 10 }", "payload_bytes is 10");
        check("workload = { duration = \"soon\" }", "\"soon\" is not a duration");
        check("targets.speed = { first = 1, goal = 2 }", "speed");
    }
}
