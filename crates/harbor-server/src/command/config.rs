//! `harborhook config`: looks at settings.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{ConfigArgs, Output};
use crate::command::{complain, complain_of, load_or_complain, say};
use crate::environment::sources_of_serve;
use crate::settings::load::load;
use crate::settings::print;

/// Shows every mistake at once.
pub(crate) fn check(args: &ConfigArgs) -> Result<ExitCode> {
    let loaded =
        sources_of_serve(&args.serve).map_err(|mistake| vec![mistake]).and_then(|sources| load(&sources));
    let (mistakes, warnings) = match loaded {
        Ok(loaded) => (Vec::new(), loaded.warnings),
        Err(mistakes) => (mistakes, Vec::new()),
    };
    match args.output {
        Output::Json => say(&format!("{:#}\n", print::check_as_json(&mistakes, &warnings))),
        Output::Text => {
            for warning in &warnings {
                complain(&format!("harborhook: warning: {warning}\n"));
            }
            complain_of(&mistakes);
            if mistakes.is_empty() {
                say("The settings are valid.\n");
            }
        }
    }
    Ok(if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows every setting, its value and where it came from.
pub(crate) fn print(args: &ConfigArgs) -> Result<ExitCode> {
    let loaded = match load_or_complain(&sources_of_serve(&args.serve)) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    match args.output {
        Output::Text => say(&print::as_text(&loaded)),
        Output::Json => say(&format!("{:#}\n", print::as_json(&loaded))),
    }
    Ok(ExitCode::SUCCESS)
}
