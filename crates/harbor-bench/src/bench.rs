//! Runs on servers of their own: one, or the rows of `bench.toml` several times each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::measure::{Ground, measure};
use crate::measurement::Measurement;
use crate::report::{self, RowReport};
use crate::server::Server;
use crate::settings::{Row, Settings, Workload};

/// What every run uses.
pub struct Bench {
    /// The server's program.
    pub server: PathBuf,
    /// This program, which the load and the receiver run too.
    pub program: PathBuf,
    /// Where each run makes its folder, and removes it: it should lie on the disk that is to be measured.
    pub scratch: PathBuf,
    /// How long nothing may arrive before what is missing counts as lost.
    pub patience: Duration,
    /// The settings.
    pub settings: Settings,
}

impl Bench {
    /// Measures a workload on a new server.
    pub async fn run(&self, workload: &Workload) -> Result<Measurement> {
        workload.validate()?;
        // Made before the server and so removed after it.
        let folder = tempfile::Builder::new().prefix("harbor-bench-").tempdir_in(&self.scratch)?;
        let server = Server::start(&self.server, &self.settings.server, folder.path()).await?;
        let site = server.site();
        let ground = Ground { program: &self.program, folder: folder.path(), patience: self.patience };
        let measured = measure(site, &self.settings, workload, &ground)
            .await
            .with_context(|| format!("the run failed; the server's log ends:\n{}", server.log_tail()))?;
        if let Err(error) = server.stop().await {
            // The figures were read before and stand.
            report::note(&format!("{error:#}"));
        }
        Ok(measured)
    }

    /// Measures a row several times; a run that fails is told in the report and the others go on.
    pub async fn run_row(&self, row: &Row, runs: u8) -> RowReport {
        let (mut measurements, mut failures) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            report::note(&format!("{}: run {run} of {runs}", row.name));
            match self.run(&row.workload).await {
                Ok(measured) => measurements.push(measured),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        RowReport::of(row, measurements, failures)
    }
}
