//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use harbor_bench::duration;
use harbor_bench::settings::{Hold, Provider, Store, Workload};

/// Measures Harborhook: starts server, load and receiver on this machine and prints what they did.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) means: Means,
}

/// What every measurement uses.
#[derive(Args)]
pub(crate) struct Means {
    /// The server's program, instead of building it
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Take the server's program that lies beside this one, without building it first
    #[arg(long, global = true, conflicts_with = "server")]
    pub(crate) no_build: bool,
    /// A folder on the disk to be measured; each run makes its own folder in it and removes it [default: beside this
    /// program]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) scratch: Option<PathBuf>,
    /// Another bench.toml than that of the repository
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// How long nothing may arrive before what is missing counts as lost; longer than the first retries wait
    #[arg(long, global = true, default_value = "20s", value_parser = duration::parse)]
    pub(crate) patience: Duration,
    /// Where the server keeps everything [default: sqlite]; `all` measures only the rows of this store
    #[arg(long, global = true, value_enum)]
    pub(crate) store: Option<Store>,
    /// A PostgreSQL server on which each run makes a database and drops it again [default: one of our own, by
    /// scripts/services]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HARBORHOOK_TEST_POSTGRES_URL",
        hide_env_values = true
    )]
    pub(crate) database_url: Option<String>,
    /// scripts/services runs this program
    #[arg(long, global = true, hide = true)]
    pub(crate) with_services: bool,
    /// API and worker as processes of their own, over PostgreSQL; not for `all`, whose rows say so
    #[arg(long, global = true)]
    pub(crate) split: bool,
    /// How long each sync of the embedded store waits first, as on a slower disk; not for `all`, whose rows say so
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) sync_delay: Option<Duration>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
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
    /// A tenant alone, and beside a neighbour with a slow endpoint and one that refuses connections
    Noisy {
        /// How many events the neighbour publishes [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        events: Option<u64>,
        /// How many of them a second [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        noise_rate: Option<u64>,
        #[command(flatten)]
        changes: Changes,
    },
    /// A tenant before and beside another's backlog, then `kill -9` and the way back
    Backlog {
        /// How many due deliveries wait [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        deliveries: Option<u64>,
        /// Why they wait [default: as bench.toml says]
        #[arg(long, value_enum)]
        hold: Option<Hold>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Many tenants with many endpoints each, in a closed loop over all
    Tenants {
        /// How many tenants [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        tenants: Option<u64>,
        /// How many endpoints each [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        fan_out: Option<u64>,
        #[command(flatten)]
        changes: Changes,
    },
    /// A receiver that fails attempts by chance, with short retries and the circuit breaker disabled
    Storm {
        /// The share of attempts that fail, from 0 to 1 [default: as bench.toml says]
        #[arg(long, value_name = "SHARE")]
        fail_rate: Option<f64>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Ordering keys at one endpoint: each reaches it in order, one event at a time
    Ordered {
        /// How many keys [default: as bench.toml says]
        #[arg(long, value_name = "N")]
        keys: Option<u64>,
        #[command(flatten)]
        changes: Changes,
    },
    /// A receiver behind TLS, with kept connections
    Tls {
        /// Over HTTP/2 instead of HTTP/1.1
        #[arg(long)]
        http2: bool,
        #[command(flatten)]
        changes: Changes,
    },
    /// Webhooks of a provider come in through a source, are verified, stored and relayed to one endpoint
    Ingest {
        /// How many a second, timed from when each was due [default: each connection as fast as it is
        /// answered]
        #[arg(long, value_name = "N")]
        rate: Option<u64>,
        /// Whose webhooks [default: as bench.toml says]
        #[arg(long, value_enum)]
        provider: Option<Provider>,
        #[command(flatten)]
        changes: Changes,
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
pub(crate) struct LoadArgs {
    /// How long is measured
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    pub(crate) duration: Duration,
    /// How long the same load runs before
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    pub(crate) warmup: Duration,
    /// Over how many connections
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) connections: usize,
    /// The size of each payload
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub(crate) payload_bytes: usize,
    /// How many events one request publishes
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) batch: u64,
    /// How many events nobody subscribes to are published before, so that tables are not empty
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) preload: u64,
}

/// What is done otherwise than a row of bench.toml says.
#[derive(Args)]
pub(crate) struct Changes {
    /// How long is measured, instead of what bench.toml says
    #[arg(long, value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,
    /// How long the same load runs before, instead of what bench.toml says
    #[arg(long, value_parser = duration::parse)]
    pub(crate) warmup: Option<Duration>,
    /// How many events nobody subscribes to are published before, instead of what bench.toml says
    #[arg(long, value_name = "N")]
    pub(crate) preload: Option<u64>,
}

#[derive(Args)]
pub(crate) struct AllArgs {
    /// How often each row is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) runs: u8,
    /// Only the rows with this in their name
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) only: String,
    /// How many due deliveries wait in the rows with a backlog, if they say more
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    pub(crate) backlog_max: u64,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

impl LoadArgs {
    pub(crate) fn workload(self, fan_out: u64, rate: Option<u64>) -> Workload {
        let Self { duration, warmup, connections, payload_bytes, batch, preload } = self;
        Workload {
            fan_out,
            batch,
            connections,
            rate,
            payload_bytes,
            preload,
            warmup,
            duration,
            ..Workload::default()
        }
    }
}

impl Changes {
    pub(crate) fn apply(&self, workload: &mut Workload) {
        workload.duration = self.duration.unwrap_or(workload.duration);
        workload.warmup = self.warmup.unwrap_or(workload.warmup);
        workload.preload = self.preload.unwrap_or(workload.preload);
    }
}
