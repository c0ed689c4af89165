//! The command line of the benchmark program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use harbor_bench::bench::Bench;
use harbor_bench::machine::Machine;
use harbor_bench::report::{self, RunReport, TableReport};
use harbor_bench::settings::{Settings, Workload};
use harbor_bench::{duration, load, receiver, server};
use tokio::signal::unix::{SignalKind, signal};

/// Measures Harborhook: starts server, load and receiver on this machine and prints what they did.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    means: Means,
}

/// What every measurement uses.
#[derive(Args)]
struct Means {
    /// The server's program, instead of building it
    #[arg(long, global = true, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Take the server's program that lies beside this one, without building it first
    #[arg(long, global = true, conflicts_with = "server")]
    no_build: bool,
    /// A folder on the disk to be measured; each run makes its own folder in it and removes it [default: beside this
    /// program]
    #[arg(long, global = true, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Another bench.toml than that of the repository
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How long nothing may arrive before what is missing counts as lost; longer than the first retries wait
    #[arg(long, global = true, default_value = "20s", value_parser = duration::parse)]
    patience: Duration,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Publish and deliver, each connection as fast as it is answered
    E2e {
        /// How many endpoints subscribe
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        fan_out: u64,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Publish where nobody subscribes
    Publish {
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Publish and deliver at a fixed rate, timed from when each request was due
    Rate {
        /// Events a second
        #[arg(long, default_value_t = 1_000, value_name = "N")]
        rate: u64,
        /// How many endpoints subscribe
        #[arg(long, default_value_t = 1, value_name = "N")]
        fan_out: u64,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Measure the rows of bench.toml and print them beside their targets, as Markdown
    All(AllArgs),
    /// Look at the machine only: its processors and how fast its disk syncs
    Probe,
    /// Publish as a plan on standard input says
    #[command(hide = true)]
    Load,
    /// Receive as a plan on standard input says
    #[command(hide = true)]
    Receiver,
}

#[derive(Args)]
struct LoadArgs {
    /// How long is measured
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    duration: Duration,
    /// How long the same load runs before
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    warmup: Duration,
    /// Over how many connections
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// The size of each payload
    #[arg(long, default_value_t = 512, value_name = "N")]
    payload_bytes: usize,
    /// How many events one request publishes
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: u64,
    /// How many events nobody subscribes to are published before, so that tables are not empty
    #[arg(long, default_value_t = 0, value_name = "N")]
    preload: u64,
}

#[derive(Args)]
struct AllArgs {
    /// How often each row is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Only the rows with this in their name
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    only: String,
    /// How long is measured, instead of what the rows say
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// How many events are published before, instead of what the rows say
    #[arg(long, value_name = "N")]
    preload: Option<u64>,
}

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
        Command::E2e { fan_out, load } => measure_one(means, load.workload(fan_out, None)).await,
        Command::Publish { load } => measure_one(means, load.workload(0, None)).await,
        Command::Rate { rate, fan_out, load } => measure_one(means, load.workload(fan_out, Some(rate))).await,
        Command::All(args) => measure_all(means, args).await,
        Command::Probe => probe(&means),
        Command::Load => load::run().await.map(|()| true),
        Command::Receiver => receiver::run().await.map(|()| true),
    }
}

async fn measure_one(means: Means, workload: Workload) -> Result<bool> {
    workload.validate()?;
    let bench = means.bench()?;
    let machine = Machine::probe(&bench.scratch)?;
    let measured = bench.run(&workload).await?;
    let faults = measured.check.faults();
    let report = RunReport { machine, workload, measured, faults };

    let mut out = std::io::stdout().lock();
    if means.json {
        report::write_json(&mut out, &report)?;
    } else {
        report::write_run(&mut out, &report)?;
    }
    Ok(report.faults.is_empty())
}

async fn measure_all(means: Means, args: AllArgs) -> Result<bool> {
    let mut bench = means.bench()?;
    let mut rows = std::mem::take(&mut bench.settings.rows);
    rows.retain(|row| row.name.contains(&args.only));
    ensure!(!rows.is_empty(), "no row has {:?} in its name", args.only);

    let machine = Machine::probe(&bench.scratch)?;
    let mut report = TableReport { machine, rows: Vec::new() };
    for mut row in rows {
        row.workload.duration = args.duration.unwrap_or(row.workload.duration);
        row.workload.preload = args.preload.unwrap_or(row.workload.preload);
        report.rows.push(bench.run_row(&row, args.runs).await);
    }

    let mut out = std::io::stdout().lock();
    if means.json {
        report::write_json(&mut out, &report)?;
    } else {
        report::write_table(&mut out, &report)?;
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

impl LoadArgs {
    fn workload(self, fan_out: u64, rate: Option<u64>) -> Workload {
        let Self { duration, warmup, connections, payload_bytes, batch, preload } = self;
        Workload { fan_out, batch, connections, rate, payload_bytes, preload, warmup, duration }
    }
}

impl Means {
    fn bench(&self) -> Result<Bench> {
        let settings = Settings::load(self.settings.as_deref())?;
        let server = match &self.server {
            Some(path) => path.clone(),
            None if self.no_build => server::beside_this_program()?,
            None => server::build()?,
        };
        if cfg!(debug_assertions) {
            report::note("This program was built without --release: its figures say nothing about speed.");
        }
        let (program, scratch) = (std::env::current_exe()?, self.scratch()?);
        Ok(Bench { server, program, scratch, patience: self.patience, settings })
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
