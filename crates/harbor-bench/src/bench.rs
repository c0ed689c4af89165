//! Runs on servers of their own: one, or the rows of `bench.toml` several times each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::database::Database;
use crate::findings::{Findings, Measured};
use crate::measure::Ground;
use crate::report::{self, RowReport};
use crate::server::{Launch, Server};
use crate::settings::{Row, Settings, Setup, Store, Transport, Work};
use crate::slow_disk::SlowDisk;
use crate::tls::Identity;
use crate::{backlog, measure, metrics, noisy};

/// What every run uses.
pub struct Bench {
    /// The server's program.
    pub server: PathBuf,
    /// This program, which the load and the receiver run too.
    pub program: PathBuf,
    /// Where each run makes its folder, and removes it: it should lie on the disk that is to be measured.
    pub scratch: PathBuf,
    /// A PostgreSQL server on which each run that needs one makes its database, and drops it.
    pub database_url: Option<String>,
    /// How long nothing may arrive before what is missing counts as lost.
    pub patience: Duration,
    /// The settings.
    pub settings: Settings,
}

impl Bench {
    /// Measures a row once, on a new server.
    pub async fn run(&self, row: &Row) -> Result<Findings> {
        row.validate()?;
        // Made before the server and so removed after it.
        let folder = tempfile::Builder::new().prefix("harbor-bench-").tempdir_in(&self.scratch)?;
        let database = self.database(row.setup)?;
        let (identity, settings) = secured(&self.settings, row.work.workload().transport, folder.path())?;
        let settings = settings.with_endpoint(&row.endpoint);
        let delay = row.setup.sync_delay;
        let launch = Launch {
            program: &self.server,
            settings: settings.server.clone(),
            folder: folder.path(),
            database_url: database.as_ref().map(Database::url),
            postmaster: database.as_ref().and_then(Database::postmaster),
            is_split: row.setup.is_split,
            slow_disk: delay.map(|delay| SlowDisk::build(folder.path(), delay)).transpose()?,
        };
        let ground = Ground {
            program: &self.program,
            folder: folder.path(),
            identity: identity.as_ref(),
            patience: self.patience,
        };

        let mut server = Server::start(&launch).await?;
        let measured = work(&mut server, &launch, &settings, &row.work, &ground).await;
        let measured = measured
            .with_context(|| format!("the run failed; the server's log ends:\n{}", server.log_tail()))?;
        let commit_mean_ms = metrics::find_commit_mean_ms(&server.site().ops).await?;
        match row.work {
            Work::Load(_) => {
                if let Err(error) = server.stop().await {
                    // The figures were read before and stand.
                    report::note(&format!("{error:#}"));
                }
            }
            // Its other tenant's requests take longer than anybody wants to wait.
            Work::Noisy(_) | Work::Backlog(_) => drop(server),
        }
        Ok(Findings {
            program_megabytes: std::fs::metadata(&self.server)?.len() as f64 / 1e6,
            commit_mean_ms,
            measured,
            faults: undelayed(delay, commit_mean_ms).into_iter().collect(),
        })
    }

    /// Measures a row several times; a run that fails is told in the report and the others go on.
    pub async fn run_row(&self, row: &Row, runs: u8) -> RowReport {
        let (mut findings, mut failures) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            report::note(&format!("{}: run {run} of {runs}", row.name));
            match self.run(row).await {
                Ok(found) => findings.push(found),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        RowReport::of(row, findings, failures)
    }

    fn database(&self, setup: Setup) -> Result<Option<Database>> {
        match setup.store {
            Store::Sqlite => Ok(None),
            Store::Postgres => {
                let url = self.database_url.as_deref().context("there is no PostgreSQL")?;
                Database::create(url).map(Some)
            }
        }
    }
}

async fn work(
    server: &mut Server,
    launch: &Launch<'_>,
    settings: &Settings,
    work: &Work,
    ground: &Ground<'_>,
) -> Result<Measured> {
    let site = server.site();
    match work {
        Work::Load(workload) => measure::measure(site, settings, workload, ground).await.map(Measured::Load),
        Work::Noisy(noisy) => noisy::measure(site, settings, noisy, ground).await.map(Measured::Noisy),
        Work::Backlog(backlog) => {
            backlog::measure(server, launch, settings, backlog, ground).await.map(Measured::Backlog)
        }
    }
}

/// Makes what a receiver proves who it is with, where it has to, and adds to the settings that the server trusts it.
fn secured(settings: &Settings, transport: Transport, folder: &Path) -> Result<(Option<Identity>, Settings)> {
    let is_http2 = match transport {
        Transport::Http => return Ok((None, settings.clone())),
        Transport::Https => false,
        Transport::HttpsH2 => true,
    };
    let (identity, roots) = Identity::make(folder, is_http2)?;
    let mut settings = settings.clone();
    let security = settings.server.entry("security").or_insert_with(|| toml::Table::new().into());
    let security = security.as_table_mut().context("[server] security is not a table")?;
    let roots = roots.to_str().context("the folder's path is not text")?;
    security.insert("extra_roots_file".to_owned(), roots.into());
    Ok((Some(identity), settings))
}

/// Says so if syncs were not delayed as they should have been: every commit waits for one.
fn undelayed(delay: Option<Duration>, commit_mean_ms: Option<f64>) -> Option<String> {
    let delay_ms = delay?.as_secs_f64() * 1e3;
    let mean_ms = commit_mean_ms.unwrap_or_default();
    (mean_ms < delay_ms).then(|| {
        format!(
            "a commit took {mean_ms:.3} ms in the mean, less than the {delay_ms} ms that a sync should take"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_trusts_the_receiver_of_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::load(None).unwrap();
        settings.server = toml::from_str("security.allow_http = true").unwrap();

        let (identity, secured) = secured(&settings, Transport::HttpsH2, folder.path()).unwrap();

        assert!(identity.unwrap().is_http2);
        let roots = secured.server["security"]["extra_roots_file"].as_str().unwrap();
        assert_eq!(Path::new(roots), folder.path().join("roots.pem"));
        assert_eq!(secured.server["security"]["allow_http"].as_bool(), Some(true), "what was set stays");
    }

    #[test]
    fn a_delay_that_had_no_effect_is_told() {
        let check = |delay_ms, mean_ms, expected| {
            let delay = Some(Duration::from_millis(delay_ms));
            assert_eq!(undelayed(delay, mean_ms).is_some(), expected, "{delay_ms} ms, {mean_ms:?}");
        };
        check(5, Some(5.4), false);
        check(5, Some(0.4), true);
        check(5, None, true);
        assert_eq!(undelayed(None, Some(0.4)), None);
    }
}
