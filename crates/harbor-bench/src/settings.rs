//! `bench.toml`: what is measured, and what it should come to.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

mod row;
mod workload;

pub use row::{Backlog, Hold, Noisy, Row, Setup, Store, Target, Work};
pub use workload::{Provider, Transport, Workload};

/// The file at the root of the repository, so that the program runs from anywhere.
const DEFAULT: &str = include_str!("../../../bench.toml");

/// All of `bench.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Written to the server's configuration file as it stands.
    #[serde(default)]
    pub server: toml::Table,
    /// Merged into the requests that create tenants.
    #[serde(default)]
    pub tenant: toml::Table,
    /// Merged into the requests that create endpoints.
    #[serde(default)]
    pub endpoint: toml::Table,
    /// Merged into the requests that create sources.
    #[serde(default)]
    pub source: toml::Table,
    /// What `all` measures, in order.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
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

    /// Returns these settings with others for endpoints besides; the others win.
    #[must_use]
    pub fn with_endpoint(&self, endpoint: &toml::Table) -> Self {
        let mut settings = self.clone();
        settings.endpoint.extend(endpoint.clone());
        settings
    }

    fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text)?;
        for row in &settings.rows {
            row.validate().with_context(|| format!("row {:?}", row.name))?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests;
