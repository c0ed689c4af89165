//! The command line of Harborhook, `harborctl`.
//!
//! Start with [`cli`], the words a user types; each noun has its file below [`command`]. [`settings`]
//! decides which server and which key are meant, [`output`] writes what came of it.
//!
//! It knows the server only through the API, and the environment only through [`environment`].

mod cli;
mod command;

mod args;
mod confirm;
mod context;
mod failure;
mod output;
mod settings;
mod wait;

mod clock;
mod environment;

use std::process::ExitCode;

use clap::Parser;

/// One thread is enough: the work is waiting for answers.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).await
}
