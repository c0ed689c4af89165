//! The flags that every command takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use crate::args::duration;
use crate::output::Format;
use crate::settings::Secret;

/// The flags that every command takes.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Server to talk to [env: HARBORCTL_BASE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) base_url: Option<String>,

    /// Key to ask with [env: HARBORCTL_API_KEY, which other users of this machine do not see]
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) api_key: Option<Secret>,

    /// Tenant to act for, unless the key's own [env: HARBORCTL_TENANT]
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) tenant: Option<String>,

    /// Profile of the config file [env: HARBORCTL_PROFILE] [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// Config file [env: HARBORCTL_CONFIG] [default: ~/.config/harborhook/config.toml]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// How results are written [env: HARBORCTL_OUTPUT] [default: table]
    #[arg(long, short, global = true, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<Format>,

    /// No colour, also not on a terminal [env: NO_COLOR]
    #[arg(long, global = true)]
    pub(crate) no_color: bool,

    /// Time for one request [env: HARBORCTL_TIMEOUT] [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub(crate) timeout: Option<Duration>,

    /// No hints, no progress; results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}
