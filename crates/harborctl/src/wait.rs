//! Waits until deliveries are final.

pub(crate) mod job;

use std::time::Duration;

use clap::Args;
use harbor_wire::client::ClientError;
use harbor_wire::delivery::{DeliveryStatus, DeliveryWithAttempts};
use tokio::time::{Instant, sleep};

use crate::args::duration;
use crate::failure::Failure;
use crate::output::{Output, progress};

/// The pause after the first look, which grows to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether to wait for the outcome.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct WaitArgs {
    /// Wait for the outcome this long; exit with 1 unless it is `delivered`
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub(crate) wait: Option<Duration>,
}

/// What was seen last.
pub(crate) struct Waited {
    /// The deliveries with their attempts.
    pub(crate) deliveries: Vec<DeliveryWithAttempts>,
    /// How long it was waited.
    patience: Duration,
}

/// Looks until every delivery is final or `patience` is at its end.
///
/// # Errors
/// The server could not be asked.
pub(crate) async fn until_final(
    output: &Output,
    patience: Duration,
    look: impl AsyncFn() -> Result<Vec<DeliveryWithAttempts>, ClientError>,
) -> Result<Waited, ClientError> {
    let spinner = progress::spinner(output, "waiting for the endpoint");
    let end = Instant::now() + patience;
    let mut pause = PAUSE_MIN;
    let deliveries = loop {
        let deliveries = look().await?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || deliveries.iter().all(|one| is_final(one.delivery.status)) {
            break deliveries;
        }
        let attempts: u32 = deliveries.iter().map(|one| u32::from(one.delivery.attempt_count)).sum();
        spinner.set_message(format!("waiting for the endpoint, {attempts} attempts so far"));
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    };
    spinner.finish_and_clear();
    Ok(Waited { deliveries, patience })
}

impl Waited {
    /// Whether the endpoints have it.
    ///
    /// # Errors
    /// Says how many of them do not.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let statuses = || self.deliveries.iter().map(|one| one.delivery.status);
        let all = self.deliveries.len();
        let failed = statuses().filter(|status| is_final(*status) && *status != DeliveryStatus::Delivered);
        let failed = failed.count();
        if failed > 0 {
            return Err(Failure::Unfulfilled(format!("{failed} of {all} deliveries failed")));
        }
        let open = statuses().filter(|status| !is_final(*status)).count();
        if open > 0 {
            let patience = duration::print(self.patience);
            let text = format!("{open} of {all} deliveries are not final after {patience}");
            return Err(Failure::Unfulfilled(text));
        }
        Ok(())
    }
}

/// Whether nothing becomes of it any more.
pub(crate) fn is_final(status: DeliveryStatus) -> bool {
    match status {
        DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled => true,
        DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed => false,
    }
}
