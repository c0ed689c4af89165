//! One measurement with its targets.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration;
use crate::figure::Figure;
use crate::settings::Workload;

/// One measurement with its targets.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WrittenRow")]
pub struct Row {
    /// What the table calls it.
    pub name: String,
    /// The subcommand that measures it alone; several rows may share one, and the first is meant.
    pub command: Option<String>,
    /// What it is measured on.
    pub setup: Setup,
    /// Merged into the requests that create its endpoints, over those of all rows.
    pub endpoint: toml::Table,
    /// What is done.
    pub work: Work,
    /// What it should come to.
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

/// What a server is measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Where everything is kept.
    pub store: Store,
    /// Whether API and worker are processes of their own.
    pub is_split: bool,
    /// How long each sync waits first, as on a slower disk.
    pub sync_delay: Option<Duration>,
}

/// Where a server keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In its own directory.
    #[default]
    Sqlite,
    /// In a new database of a PostgreSQL server.
    Postgres,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// One load, from an empty server to its figures.
    Load(Workload),
    /// A load alone, and again beside a noisy neighbour.
    Noisy(Noisy),
    /// Loads before and after another tenant's backlog, and a crash.
    Backlog(Backlog),
}

/// A tenant and its noisy neighbour, whose endpoints are a slow one and one that refuses connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Noisy {
    /// What the tenant does, alone and beside the neighbour.
    pub workload: Workload,
    /// How many events the neighbour publishes while the tenant is measured.
    pub events: u64,
    /// How many of them a second; without it, as fast as they are answered.
    pub rate: Option<u64>,
    /// Over how many connections the neighbour publishes.
    pub connections: usize,
    /// How long its slow endpoint takes to answer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub answers_after: Duration,
    /// How long it is noisy before the tenant is measured beside it.
    #[serde(deserialize_with = "duration::deserialize")]
    pub lead: Duration,
    /// Merged into the requests that create its endpoints.
    pub endpoint: toml::Table,
}

/// A tenant, and the backlog of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backlog {
    /// What the tenant does before and after: at its rate, and in a closed loop.
    pub workload: Workload,
    /// How many due deliveries the other has.
    pub deliveries: u64,
    /// Why they wait.
    pub hold: Hold,
    /// Merged into the request that creates their endpoint.
    pub endpoint: toml::Table,
}

/// Why deliveries wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Their endpoint takes connections and never answers.
    Silent,
    /// Their endpoint is paused.
    Paused,
}

/// The rate of the tenant whose latency others may spoil.
const RATE: u64 = 100;

impl Default for Noisy {
    fn default() -> Self {
        Self {
            workload: Workload { rate: Some(RATE), ..Workload::default() },
            events: 50_000,
            rate: None,
            connections: 64,
            answers_after: Duration::from_secs(10),
            lead: Duration::from_secs(2),
            endpoint: toml::Table::new(),
        }
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            workload: Workload { rate: Some(RATE), ..Workload::default() },
            deliveries: 2_000_000,
            hold: Hold::Silent,
            endpoint: toml::Table::new(),
        }
    }
}

impl Row {
    /// Refuses what cannot be run.
    pub fn validate(&self) -> Result<()> {
        self.setup.validate()?;
        self.work.validate()
    }
}

impl Setup {
    /// Refuses what cannot be run.
    pub fn validate(&self) -> Result<()> {
        let is_postgres = self.store == Store::Postgres;
        ensure!(is_postgres || !self.is_split, "two processes cannot share the embedded store");
        ensure!(!is_postgres || self.sync_delay.is_none(), "only the embedded store's syncs can be delayed");
        Ok(())
    }
}

impl Work {
    /// Returns what the tenant that is looked at does.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        match self {
            Self::Load(workload) => workload,
            Self::Noisy(noisy) => &noisy.workload,
            Self::Backlog(backlog) => &backlog.workload,
        }
    }

    /// Returns what the tenant that is looked at does, to be changed.
    pub fn workload_mut(&mut self) -> &mut Workload {
        match self {
            Self::Load(workload) => workload,
            Self::Noisy(noisy) => &mut noisy.workload,
            Self::Backlog(backlog) => &mut backlog.workload,
        }
    }

    /// Refuses what cannot be run.
    pub fn validate(&self) -> Result<()> {
        self.workload().validate()?;
        match self {
            Self::Load(_) => Ok(()),
            Self::Noisy(noisy) => noisy.validate(),
            Self::Backlog(backlog) => backlog.validate(),
        }
    }
}

impl Noisy {
    fn validate(&self) -> Result<()> {
        ensure!(self.workload.rate.is_some(), "the tenant beside a neighbour has no rate");
        ensure!(self.events > 0, "events is 0");
        ensure!(self.rate != Some(0), "rate is 0");
        ensure!(self.connections > 0, "connections is 0");
        Ok(())
    }
}

impl Backlog {
    fn validate(&self) -> Result<()> {
        ensure!(self.workload.rate.is_some(), "the tenant beside a backlog has no rate");
        ensure!(self.deliveries > 0, "deliveries is 0");
        Ok(())
    }
}

/// A row as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRow {
    name: String,
    command: Option<String>,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    split: bool,
    #[serde(default, deserialize_with = "some_duration")]
    sync_delay: Option<Duration>,
    #[serde(default)]
    endpoint: toml::Table,
    workload: Option<Workload>,
    noisy: Option<Noisy>,
    backlog: Option<Backlog>,
    #[serde(default)]
    targets: BTreeMap<Figure, Target>,
}

impl TryFrom<WrittenRow> for Row {
    type Error = &'static str;

    fn try_from(written: WrittenRow) -> Result<Self, Self::Error> {
        let WrittenRow { name, command, store, split, sync_delay, endpoint, targets, .. } = written;
        let work = match (written.workload, written.noisy, written.backlog) {
            (Some(workload), None, None) => Work::Load(workload),
            (None, Some(noisy), None) => Work::Noisy(noisy),
            (None, None, Some(backlog)) => Work::Backlog(backlog),
            (None, None, None) => Work::Load(Workload::default()),
            _ => return Err("a row is one of workload, noisy and backlog"),
        };
        let setup = Setup { store, is_split: split, sync_delay };
        Ok(Self { name, command, setup, endpoint, work, targets })
    }
}

fn some_duration<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(input).map(Some)
}
