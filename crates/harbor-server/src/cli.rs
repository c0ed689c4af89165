//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use harbor_receiver::ReceiverArgs;

/// Self-hosted webhooks: publish an event once, and every endpoint that wants it gets it.
#[derive(Debug, Parser)]
#[command(name = "harborhook", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the instance.
    Serve(ServeArgs),
    /// Look at settings without running anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring the store to this version's form, and end. `serve` does the same when it starts.
    Migrate(MigrateArgs),
    Receiver(ReceiverArgs),
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every mistake at once; exit with 1 if there is one.
    Check(ConfigArgs),
    /// Show every setting, its value and where it came from.
    Print(ConfigArgs),
}

/// Flags of `config`: those of `serve`, so that the same line can be looked at before it runs.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Flags of `serve`. What is left out comes from the environment (`HARBORHOOK_LISTEN`), then from the file,
/// then from the defaults.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Open what development needs: tenant tn_demo, http and loopback endpoints, keys in
    /// dev-credentials.json. Listens on the loopback address only.
    #[arg(long)]
    pub(crate) dev: bool,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// What this process does: api, worker, scheduler, several with commas between them, or all
    /// [default: all]
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,

    /// What tells workers of other processes that there is work: local [default: local]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    /// Where the API listens; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// Where metrics and health checks are served [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,

    /// URL under which others reach the API
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// File with the operator key
    #[arg(long, value_name = "FILE")]
    operator_key_file: Option<String>,

    /// File with the master key [default: made in the data directory]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,

    /// json or text [default: json; text under --dev on a terminal]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Which lines are logged, like info or info,harbor_deliver=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// File that is logged to [default: standard error]
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
}

/// Flags that say where the store is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StoreArgs {
    /// Settings file in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where everything is kept [default: ./harborhook-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,

    /// Store: sqlite: and its file, or postgres://… [default: harborhook.db in the data directory]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// Flags of `migrate`.
#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

impl StoreArgs {
    /// The flags that were given, without their dashes.
    pub(crate) fn given(&self) -> Vec<(&'static str, String)> {
        given([("data-dir", &self.data_dir), ("database-url", &self.database_url)])
    }
}

impl ServeArgs {
    /// The flags that were given, without their dashes.
    pub(crate) fn given(&self) -> Vec<(&'static str, String)> {
        let own = given([
            ("roles", &self.roles),
            ("queue", &self.queue),
            ("listen", &self.listen),
            ("ops-listen", &self.ops_listen),
            ("public-url", &self.public_url),
            ("operator-key-file", &self.operator_key_file),
            ("master-key-file", &self.master_key_file),
            ("log-format", &self.log_format),
            ("log-level", &self.log_level),
            ("log-file", &self.log_file),
        ]);
        self.store.given().into_iter().chain(own).collect()
    }
}

fn given<const N: usize>(flags: [(&'static str, &Option<String>); N]) -> Vec<(&'static str, String)> {
    flags.into_iter().filter_map(|(flag, text)| Some((flag, text.clone()?))).collect()
}
