//! Logs: lines of JSON, or of text for people, that never hold up who writes them.
//!
//! A line is formatted where it is written and copied into a bounded buffer; one thread of its own
//! carries the buffer to its file. A full buffer loses the line and counts it.

mod json;
mod sink;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use harbor_model::invalid::FieldError;
use harbor_model::time::Clock;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::logs::json::JsonLayer;
use crate::logs::sink::{Sink, Writer};

/// How a program logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a line looks like.
    pub format: Format,
    /// Which lines are written.
    pub level: Level,
    /// Where they go; none for standard error.
    pub file: Option<PathBuf>,
    /// So much may wait to be written.
    pub buffer_bytes_max: usize,
    /// Whether text is coloured. For terminals.
    pub is_coloured: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Json,
            level: Level::default(),
            file: None,
            buffer_bytes_max: 8 * 1024 * 1024,
            is_coloured: false,
        }
    }
}

/// The least that holds a burst of wide lines.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

impl Settings {
    /// Every rule that is broken.
    pub fn validate(&self) -> Vec<FieldError> {
        if self.buffer_bytes_max >= BUFFER_BYTES_MIN {
            return Vec::new();
        }
        vec![FieldError::new("buffer_bytes_max", format!("must be at least {BUFFER_BYTES_MIN}"))]
    }
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, for programs.
    Json,
    /// One line of text, for people.
    Text,
}

/// Which lines are written: a level, or levels by module, like `info,harbor_deliver=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    fn targets(&self) -> Targets {
        self.0.parse().expect("a level was read before")
    }
}

/// Says that a text is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be error, warn, info, debug, trace or off, or such levels by module: info,harbor_deliver=debug"
)]
pub struct LevelError;

impl Default for Level {
    fn default() -> Self {
        "info".parse().expect("info is a level")
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        // A bare word that is no level would be taken for a module, and everything else switched off.
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        if !text.split(',').all(|part| part.contains('=') || is_level(part)) {
            return Err(LevelError);
        }
        text.parse::<Targets>().map_err(|_| LevelError)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The running log. Dropping it writes what still waits.
pub struct Logs {
    level: reload::Handle<Targets, Registry>,
    sink: Sink,
    _writer: Writer,
}

/// Says why logs cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The log file cannot be opened.
    #[error("cannot open the log file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(io::Error),
    /// Something else logs already.
    #[error("this process has a log already")]
    Taken,
}

impl Logs {
    /// Logs everything that this process traces from now on.
    ///
    /// # Errors
    /// If the file cannot be opened, or the process has a log already.
    pub fn start(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, LogsError> {
        let (subscriber, logs) = Self::prepare(settings, clock)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::Taken)?;
        Ok(logs)
    }

    fn prepare(
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<(impl Subscriber + Send + Sync, Self), LogsError> {
        let (sink, writer) = sink::open(settings.file.clone(), settings.buffer_bytes_max)?;
        let (filter, level) = reload::Layer::new(settings.level.targets());
        let lines: Box<dyn Layer<_> + Send + Sync> = match settings.format {
            Format::Json => Box::new(JsonLayer::new(sink.clone(), clock)),
            Format::Text => Box::new(
                tracing_subscriber::fmt::layer()
                    .with_ansi(settings.is_coloured)
                    .with_timer(WallTime(clock))
                    .with_writer(sink.clone()),
            ),
        };
        Ok((Registry::default().with(filter).with(lines), Self { level, sink, _writer: writer }))
    }

    /// Writes these lines from now on.
    pub fn set_level(&self, level: &Level) {
        // It fails only if the subscriber is gone, and then there are no lines.
        let _ = self.level.reload(level.targets());
    }

    /// Opens the log file anew, for those who have moved it away.
    pub fn reopen(&self) {
        self.sink.reopen();
    }

    /// How many lines were lost since the start.
    pub fn lines_dropped(&self) -> u64 {
        self.sink.lines_dropped()
    }
}

/// Puts the clock's time before lines of text.
struct WallTime(Arc<dyn Clock>);

impl FormatTime for WallTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> fmt::Result {
        write!(writer, "{}", self.0.now())
    }
}

#[cfg(test)]
mod tests;
