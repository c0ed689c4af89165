//! `harborhook migrate`: brings the store to this version's form.

use std::process::ExitCode;

use anyhow::Result;
use harbor_store::{postgres, sqlite};

use crate::chance::SystemRng;
use crate::cli::MigrateArgs;
use crate::command::{load_or_complain, runtime, say};
use crate::environment::sources_of_store;
use crate::instance::prepare_data;
use crate::settings::ChosenStore;

/// Migrates, and tells what was done.
pub(crate) fn run(args: &MigrateArgs) -> Result<ExitCode> {
    let loaded = match load_or_complain(&sources_of_store(&args.store)) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    // A store and its master key are made together: one without the other cannot be started.
    prepare_data(&loaded.settings, &SystemRng)?;
    let applied = match loaded.settings.chosen_store() {
        ChosenStore::Sqlite(settings) => {
            sqlite::migrate(settings.path.as_deref().expect("the store of a server has a file"))?
        }
        ChosenStore::Postgres(settings) => runtime()?.block_on(postgres::migrate(settings.url))?,
    };
    if applied.is_empty() {
        say("The store has this version's form already.\n");
    }
    for name in applied {
        say(&format!("applied {name}\n"));
    }
    Ok(ExitCode::SUCCESS)
}
