//! Waits until jobs end, and shows how far they have come.

use std::time::Duration;

use clap::Args;
use harbor_wire::client::ClientError;
use harbor_wire::job::JobStatus;
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::duration;
use crate::failure::{Failure, is_passing};
use crate::output::Output;
use crate::output::progress::Gauge;
use crate::wait::WaitArgs;

/// The pause after the first look, which grows to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a server may be away while it is waited for a job, which goes on when it is back.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long is waited for a delivery where no end is named: longer than retries take.
const PATIENCE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Whether to wait until a job ends.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct JobWaitArgs {
    /// Wait until it ends, at most this long; exit with 1 unless it came to a good end
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    wait: Option<Option<Duration>>,
}

impl JobWaitArgs {
    /// How long to wait, if at all.
    pub(crate) fn patience(self) -> Option<Patience> {
        self.wait.map(Patience)
    }
}

/// How long to wait; without end if there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Option<Duration>);

impl From<Patience> for WaitArgs {
    fn from(Patience(patience): Patience) -> Self {
        Self { wait: Some(patience.unwrap_or(PATIENCE_MAX)) }
    }
}

/// Work that the server does a little at a time.
pub(crate) trait LongWork {
    /// Names it.
    fn id(&self) -> &str;
    /// Where it stands.
    fn status(&self) -> JobStatus;
    /// Why it failed.
    fn error(&self) -> Option<&str>;
    /// How far it has come.
    fn progress(&self) -> Progress;
    /// What it could not do, though it came to its end.
    fn shortfall(&self) -> Option<String>;
}

/// How far work has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How much is done.
    pub(crate) done: u64,
    /// How much there is, once that is known.
    pub(crate) total: Option<u64>,
    /// What is going on.
    pub(crate) text: String,
}

/// What was seen last.
pub(crate) struct Waited<T> {
    /// The work.
    pub(crate) work: T,
    end: End,
}

/// Why it was waited no longer.
enum End {
    /// It has ended.
    Final,
    /// It took too long.
    Patience(Duration),
    /// Somebody interrupted the program.
    Interrupted,
}

/// Looks until the work has ended, `patience` is at its end, or somebody interrupts.
///
/// # Errors
/// The server could not be asked, for longer than a restart takes.
pub(crate) async fn until_ended<T: LongWork>(
    output: &Output,
    Patience(patience): Patience,
    first: T,
    look: impl AsyncFn(&T) -> Result<T, ClientError>,
) -> Result<Waited<T>, ClientError> {
    let mut gauge = Gauge::new(output);
    let end = patience.map(|patience| Instant::now() + patience);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut work, mut pause, mut heard) = (first, PAUSE_MIN, Instant::now());
    let reason = loop {
        gauge.show(&work.progress());
        if work.status().is_final() {
            break End::Final;
        }
        let next = async {
            sleep(pause).await;
            look(&work).await
        };
        let looked = tokio::select! {
            _ = &mut interrupted => break End::Interrupted,
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                break End::Patience(patience.unwrap_or_default());
            }
            looked = next => looked,
        };
        pause = (pause * 2).min(PAUSE_MAX);
        match looked {
            Ok(seen) => (work, heard) = (seen, Instant::now()),
            Err(error) if is_passing(&error) && heard.elapsed() < SILENCE_MAX => {}
            Err(error) => return Err(error),
        }
    };
    gauge.clear();
    Ok(Waited { work, end: reason })
}

impl<T: LongWork> Waited<T> {
    /// Whether it did all that it was asked to.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let id = self.work.id();
        let text = match (&self.end, self.work.status()) {
            (End::Patience(patience), _) => {
                format!("{id} has not ended after {}; it goes on", duration::print(*patience))
            }
            (End::Interrupted, _) => format!("{id} has not ended yet; it goes on"),
            (End::Final, JobStatus::Failed) => {
                format!("{id} failed: {}", self.work.error().unwrap_or("the server does not say why"))
            }
            (End::Final, JobStatus::Cancelled) => format!("{id} was cancelled"),
            (End::Final, JobStatus::Done | JobStatus::Pending | JobStatus::Running) => {
                return self.work.shortfall().map_or(Ok(()), |text| Err(Failure::Unfulfilled(text)));
            }
        };
        Err(Failure::Unfulfilled(text))
    }
}
