//! The daemon `harborhook`: settings, wiring, and what runs beside the engine.
//!
//! Start with [`instance`], which puts the parts together; then [`settings`].
//! Only this crate reads the environment and names a store.

mod chance;
mod cli;
mod clock;
mod command;
mod dev;
mod environment;
mod first_key;
mod instance;
mod keys;
mod listen;
mod ops;
mod settings;
mod surface;
mod tasks;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => command::serve::run(&args),
        Command::Config(ConfigCommand::Check(args)) => command::config::check(&args),
        Command::Config(ConfigCommand::Print(args)) => command::config::print(&args),
        Command::Migrate(args) => command::migrate::run(&args),
        Command::Receiver(args) => command::receive(args),
    };
    done.unwrap_or_else(|error| {
        command::complain(&format!("harborhook: {}\n", told(&error)));
        ExitCode::FAILURE
    })
}

/// An error with its causes, each said once: many texts hold that of their cause already.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
