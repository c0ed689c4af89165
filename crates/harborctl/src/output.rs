//! What a command writes: its result on stdout, everything else on stderr.
//!
//! With `--output json` stdout holds exactly one JSON value, whatever happens; one in each line where
//! results come one by one.

pub(crate) mod attempts;
pub(crate) mod policy;
pub(crate) mod problem;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod yaml;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use terminal_size::{Width, terminal_size};

use crate::clock;
use crate::failure::Failure;

/// The width of a terminal that does not tell it.
const COLUMNS_DEFAULT: u16 = 80;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON value, as the API gives it
    Json,
    /// The same as YAML
    Yaml,
}

impl Format {
    /// Its word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }
}

/// Writes results, hints and progress.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// How results are written.
    pub(crate) format: Format,
    width: Option<u16>,
    color: bool,
    quiet: bool,
}

/// What people see it through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Columns of the terminal; none where the output goes to a file or a program.
    pub(crate) width: Option<u16>,
    /// Whether there may be colour.
    pub(crate) color: bool,
    /// What `3m ago` is reckoned from.
    pub(crate) now: Timestamp,
}

impl Output {
    /// Looks at the terminal.
    pub(crate) fn new(format: Format, no_color: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = terminal_size().map_or(COLUMNS_DEFAULT, |(Width(columns), _)| columns);
        let width = terminal.then_some(columns);
        Self { format, width, color: terminal && !no_color, quiet }
    }

    /// Writes the result: `value` for programs, `human` for people.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&View) -> String,
    ) -> Result<(), Failure> {
        let json = || serde_json::to_string_pretty(value).map_err(io::Error::from);
        let text = match self.format {
            Format::Table => human(&self.view()),
            Format::Json => json()?,
            Format::Yaml => yaml::from_json(&json()?),
        };
        self.write(&text)
    }

    /// Writes one of many results: a line, or a document of YAML.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn item<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&View) -> String,
    ) -> Result<(), Failure> {
        let json = || serde_json::to_string(value).map_err(io::Error::from);
        let text = match self.format {
            Format::Table => human(&self.view()),
            Format::Json => json()?,
            Format::Yaml => format!("---\n{}", yaml::from_json(&json()?)),
        };
        self.write(&text)
    }

    /// The clock is read only now, so that nothing that was waited for lies in the future.
    fn view(&self) -> View {
        View { width: self.width, color: self.color, now: clock::now() }
    }

    /// Writes text as it is, with a line end if it has none.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Writes bytes as they are and nothing else.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn write_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Tells people something beside the result. Programs and the quiet do not see it.
    pub(crate) fn hint(&self, text: &str) {
        if self.format == Format::Table {
            self.note(text);
        }
    }

    /// Tells everybody but the quiet something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// Whether progress is shown.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// Writes a line to stderr.
pub(crate) fn complain(text: &str) {
    // If nobody reads stderr there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
