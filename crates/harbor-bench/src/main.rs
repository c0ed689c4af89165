//! The program: what each command runs.

mod cli;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use harbor_bench::bench::Bench;
use harbor_bench::machine::Machine;
use harbor_bench::report::{self, RunReport, TableReport};
use harbor_bench::settings::{Backlog, Noisy, Row, Settings, Setup, Store, Transport, Work, Workload};
use harbor_bench::{load, receiver, server};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{AllArgs, Changes, Cli, Command, Means};

/// What starts a PostgreSQL server, runs a command beside it and stops it again.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(is_sound) if is_sound => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            report::note(&format!("harbor-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command and returns whether its figures count.
fn run(cli: Cli) -> Result<bool> {
    // One thread: each of the three processes should take as little from the others as it can.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = dispatch(cli) => result,
            signal = interruption() => bail!("ended by {}", signal?),
        }
    })
}

/// Waits for a signal to end. The caller then drops what runs, which kills every child and removes its folder.
async fn interruption() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.map(|()| "Ctrl-C").context("Ctrl-C cannot be awaited"),
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = hangup.recv() => Ok("SIGHUP"),
    }
}

async fn dispatch(cli: Cli) -> Result<bool> {
    let means = cli.means;
    match cli.command {
        Command::E2e { fan_out, load } => measure_load(means, load.workload(fan_out, None)).await,
        Command::Publish { load } => measure_load(means, load.workload(0, None)).await,
        Command::Rate { rate, fan_out, load } => {
            measure_load(means, load.workload(fan_out, Some(rate))).await
        }
        Command::Noisy { events, noise_rate, changes } => {
            measure_named(means, "noisy", &changes, |work| {
                let Work::Noisy(noisy) = work else { bail!("the row is not one of a noisy neighbour") };
                let Noisy { events: row_events, rate, .. } = noisy;
                *row_events = events.unwrap_or(*row_events);
                *rate = noise_rate.or(*rate);
                Ok(())
            })
            .await
        }
        Command::Backlog { deliveries, hold, changes } => {
            measure_named(means, "backlog", &changes, |work| {
                let Work::Backlog(backlog) = work else { bail!("the row is not one of a backlog") };
                let Backlog { deliveries: row_deliveries, hold: row_hold, .. } = backlog;
                *row_deliveries = deliveries.unwrap_or(*row_deliveries);
                *row_hold = hold.unwrap_or(*row_hold);
                Ok(())
            })
            .await
        }
        Command::Tenants { tenants, fan_out, changes } => {
            measure_named(means, "tenants", &changes, |work| {
                let workload = work.workload_mut();
                workload.tenants = tenants.unwrap_or(workload.tenants);
                workload.fan_out = fan_out.unwrap_or(workload.fan_out);
                Ok(())
            })
            .await
        }
        Command::Storm { fail_rate, changes } => {
            measure_named(means, "storm", &changes, |work| {
                let workload = work.workload_mut();
                workload.fail_rate = fail_rate.unwrap_or(workload.fail_rate);
                Ok(())
            })
            .await
        }
        Command::Ordered { keys, changes } => {
            measure_named(means, "ordered", &changes, |work| {
                let workload = work.workload_mut();
                workload.ordering_keys = keys.unwrap_or(workload.ordering_keys);
                Ok(())
            })
            .await
        }
        Command::Tls { http2, changes } => {
            measure_named(means, "tls", &changes, |work| {
                if http2 {
                    work.workload_mut().transport = Transport::HttpsH2;
                }
                Ok(())
            })
            .await
        }
        Command::Ingest { rate, provider, changes } => {
            measure_named(means, "ingest", &changes, |work| {
                let workload = work.workload_mut();
                workload.rate = rate.or(workload.rate);
                workload.source = provider.or(workload.source);
                Ok(())
            })
            .await
        }
        Command::All(args) => measure_all(means, args).await,
        Command::Probe => probe(&means),
        Command::Load => load::run().await.map(|()| true),
        Command::Receiver => receiver::run().await.map(|()| true),
    }
}

/// Measures a workload that is on the command line as a whole.
async fn measure_load(means: Means, workload: Workload) -> Result<bool> {
    let row = Row {
        name: String::new(),
        command: None,
        setup: Setup::default(),
        endpoint: toml::Table::new(),
        work: Work::Load(workload),
        targets: BTreeMap::new(),
    };
    measure_one(&means, Settings::load(means.settings.as_deref())?, row).await
}

/// Measures the row of bench.toml that bears a command, with changes.
async fn measure_named(
    means: Means,
    command: &str,
    changes: &Changes,
    change: impl FnOnce(&mut Work) -> Result<()>,
) -> Result<bool> {
    let settings = Settings::load(means.settings.as_deref())?;
    let row = settings.rows.iter().find(|row| row.command.as_deref() == Some(command));
    let mut row = row.with_context(|| format!("no row has the command {command:?}"))?.clone();
    changes.apply(row.work.workload_mut());
    change(&mut row.work)?;
    measure_one(&means, settings, row).await
}

async fn measure_one(means: &Means, settings: Settings, mut row: Row) -> Result<bool> {
    row.setup = Setup {
        // Only PostgreSQL can be shared by two processes.
        store: means.store.unwrap_or(if means.split { Store::Postgres } else { Store::Sqlite }),
        is_split: means.split,
        sync_delay: means.sync_delay,
    };
    row.validate()?;
    if row.setup.store == Store::Postgres {
        means.become_with_services()?;
    }
    let bench = means.bench(settings)?;
    let machine = Machine::probe(&bench.scratch)?;
    let findings = bench.run(&row).await?;
    let faults = findings.faults();
    let report = RunReport { machine, setup: row.setup, work: row.work, findings, faults };

    let mut out = std::io::stdout().lock();
    if means.json {
        report::write_json(&mut out, &report)?;
    } else {
        report::terminal::write_run(&mut out, &report)?;
    }
    Ok(report.faults.is_empty())
}

async fn measure_all(means: Means, args: AllArgs) -> Result<bool> {
    ensure!(!means.split && means.sync_delay.is_none(), "the rows say what is split and what is delayed");
    let mut settings = Settings::load(means.settings.as_deref())?;
    let mut rows = std::mem::take(&mut settings.rows);
    rows.retain(|row| row.name.contains(&args.only));
    rows.retain(|row| means.store.is_none_or(|store| row.setup.store == store));
    let needs_services = rows.iter().any(|row| row.setup.store == Store::Postgres);
    if needs_services {
        means.become_with_services()?;
    }
    if needs_services && means.database_url.is_none() {
        report::note("skipped: no PostgreSQL; only the embedded rows are measured");
        rows.retain(|row| row.setup.store == Store::Sqlite);
    }
    ensure!(!rows.is_empty(), "no row has {:?} in its name and this store", args.only);

    let bench = means.bench(settings)?;
    let machine = Machine::probe(&bench.scratch)?;
    let mut report = TableReport { machine, rows: Vec::new() };
    for mut row in rows {
        args.changes.apply(row.work.workload_mut());
        if let Work::Backlog(backlog) = &mut row.work
            && backlog.deliveries > args.backlog_max
        {
            backlog.deliveries = args.backlog_max;
            report::note(&format!("{}: with {} deliveries here", row.name, args.backlog_max));
        }
        report.rows.push(bench.run_row(&row, args.runs).await);
    }

    let mut out = std::io::stdout().lock();
    if means.json {
        report::write_json(&mut out, &report)?;
    } else {
        report::table::write_table(&mut out, &report)?;
    }
    Ok(report.rows.iter().all(|row| row.faults.is_empty()))
}

fn probe(means: &Means) -> Result<bool> {
    let machine = Machine::probe(&means.scratch()?)?;
    let mut out = std::io::stdout().lock();
    if means.json {
        report::write_json(&mut out, &machine)?;
    } else {
        report::write_machine(&mut out, &machine)?;
    }
    out.flush()?;
    Ok(true)
}

impl Means {
    fn bench(&self, settings: Settings) -> Result<Bench> {
        let server = match &self.server {
            Some(path) => path.clone(),
            None if self.no_build => server::beside_this_program()?,
            None => server::build()?,
        };
        if cfg!(debug_assertions) {
            report::note("This program was built without --release: its figures say nothing about speed.");
        }
        let (program, scratch) = (std::env::current_exe()?, self.scratch()?);
        let (database_url, patience) = (self.database_url.clone(), self.patience);
        Ok(Bench { server, program, scratch, database_url, patience, settings })
    }

    /// Runs this program again beside a PostgreSQL server of its own, in place of this process; returns where there
    /// is a server already, or where none could be had.
    fn become_with_services(&self) -> Result<()> {
        if self.database_url.is_some() || self.with_services {
            return Ok(());
        }
        ensure!(
            Path::new(SERVICES).exists(),
            "without {SERVICES}, --database-url must name a PostgreSQL server"
        );
        let mut command = std::process::Command::new(SERVICES);
        command.arg("run").arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
        // In place of this process, so that nobody stands between a signal and those it is for.
        let error = command.arg("--with-services").exec();
        Err(error).with_context(|| format!("cannot start {SERVICES}"))
    }

    /// Not the system's folder for temporary files: that often lies in memory, where nothing is synced.
    fn scratch(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.scratch {
            return Ok(folder.clone());
        }
        let program = std::env::current_exe()?;
        Ok(program.parent().context("this program lies in no folder")?.to_owned())
    }
}
