//! `harborhook serve`: runs the instance until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use harbor_model::time::Clock;
use harbor_observe::logs::Logs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::cli::ServeArgs;
use crate::clock::SystemClock;
use crate::command::{complain, load_or_complain, runtime, say};
use crate::environment::{is_coloured_terminal, raise_open_files, sources_of_serve};
use crate::instance::Instance;
use crate::settings::load::{Loaded, load};

/// Runs the instance.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode> {
    let mut loaded = match load_or_complain(&sources_of_serve(args)) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let log = &mut loaded.settings.log;
    log.is_coloured = log.file.is_none() && is_coloured_terminal();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let logs = Arc::new(Logs::start(log, clock.clone())?);
    log_panics();
    // The log outlives the runtime: what its last task says is still written.
    let runtime = runtime()?;
    runtime.block_on(serve(args, &loaded, clock, logs))
}

/// A panic ends a task, not the daemon: the log is where somebody looks for it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        error!(thread, place, "a task panicked at {place}: {message}");
    }));
}

async fn serve(
    args: &ServeArgs,
    loaded: &Loaded,
    clock: Arc<dyn Clock>,
    logs: Arc<Logs>,
) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let open_files = raise_open_files();
    debug!(?open_files, "this process may open {open_files:?} files");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let starting = Instance::start(&loaded.settings, args.dev, clock, logs.clone());
    let instance = tokio::select! {
        started = starting => started?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(welcome) = &instance.welcome {
        say(welcome);
    }
    while signals.next().await == Asked::ToReload {
        reload(args, &logs);
    }
    tokio::select! {
        () = instance.stop(loaded.settings.server.shutdown_grace) => Ok(ExitCode::SUCCESS),
        () = signals.stop() => {
            complain("harborhook: stopped at once by a second signal\n");
            // Without waiting for what still runs.
            std::process::exit(1);
        }
    }
}

/// Reads the log level anew, and opens the log file anew.
fn reload(args: &ServeArgs, logs: &Logs) {
    logs.reopen();
    let loaded = sources_of_serve(args).map_err(|mistake| vec![mistake]).and_then(|sources| load(&sources));
    match loaded {
        Ok(loaded) => {
            let log_level = &loaded.settings.log.level;
            logs.set_level(log_level);
            info!(%log_level, "the log level is {log_level}");
        }
        Err(mistakes) => {
            for mistake in mistakes {
                error!("the settings were not read anew: {mistake}");
            }
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ToStop,
    ToReload,
}

/// The signals that the daemon obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::ToStop,
            _ = self.terminate.recv() => Asked::ToStop,
            _ = self.hangup.recv() => Asked::ToReload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Asked::ToStop {}
    }
}
