//! The programs behind the command line.

pub(crate) mod config;
pub(crate) mod migrate;
pub(crate) mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use harbor_receiver::ReceiverArgs;
use tokio::runtime::Runtime;

use crate::settings::load::{Loaded, Mistake, Sources, load};

/// Runs the test receiver.
pub(crate) fn receive(args: ReceiverArgs) -> Result<ExitCode> {
    runtime()?.block_on(harbor_receiver::run(args))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what was asked for.
fn say(text: &str) {
    // Whoever read the output may have gone.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints what went wrong.
pub(crate) fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn complain_of(mistakes: &[Mistake]) {
    for mistake in mistakes {
        complain(&format!("harborhook: {mistake}\n"));
    }
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}

/// Loads settings; without valid ones there is nothing to do but to tell every mistake.
fn load_or_complain(sources: &Result<Sources, Mistake>) -> Result<Loaded, ExitCode> {
    let loaded = match sources {
        Ok(sources) => load(sources),
        Err(mistake) => Err(vec![mistake.clone()]),
    };
    loaded.map_err(|mistakes| {
        complain_of(&mistakes);
        ExitCode::FAILURE
    })
}
