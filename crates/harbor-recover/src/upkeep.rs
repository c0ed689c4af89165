//! Clears up behind events, a little at a time.

use std::sync::Arc;
use std::time::Duration;

use harbor_model::port::Fault;
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::Clock;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::leadership::Leadership;

/// What upkeep needs.
pub struct Deps {
    /// What is cleared up.
    pub upkeep: Arc<dyn Upkeep>,
    /// Tells the time and waits.
    pub clock: Arc<dyn Clock>,
    /// Of several processes, one clears up.
    pub leadership: Leadership,
}

/// How upkeep goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The wait between rounds.
    pub interval: Duration,
    /// The most rows of one batch; one batch is one transaction.
    pub batch_rows_max: usize,
    /// The most batches of one job in one round.
    pub batches_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), batch_rows_max: 200, batches_max: 50 }
    }
}

/// What is done in each round.
#[derive(Clone, Copy, Debug)]
enum Job {
    EndOrphans,
    ForgetKeys,
}

impl Job {
    const ALL: [Self; 2] = [Self::EndOrphans, Self::ForgetKeys];

    async fn batch(self, deps: &Deps, limit: usize) -> Result<usize, Fault> {
        let now = deps.clock.now();
        match self {
            Self::EndOrphans => deps.upkeep.end_orphans(now, limit).await,
            Self::ForgetKeys => deps.upkeep.forget_keys(now, limit).await,
        }
    }
}

/// Clears up, round after round, until `shutdown`, while it is this process's task; a batch that has begun
/// is finished.
pub async fn run(mut deps: Deps, settings: Settings, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if deps.leadership.is_mine().await {
            round(&deps, &settings, &shutdown).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = deps.clock.sleep_until(deps.clock.now() + settings.interval) => {}
        }
    }
}

async fn round(deps: &Deps, settings: &Settings, shutdown: &CancellationToken) {
    for job in Job::ALL {
        if let Err(fault) = finish(job, deps, settings, shutdown).await {
            // What is left is found again in the next round.
            warn!(?job, %fault, "upkeep job {job:?} failed and goes on in the next round");
        }
    }
    if let Err(fault) = deps.upkeep.maintain(deps.clock.now()).await {
        warn!(%fault, "the database could not be looked after, the next round tries again: {fault}");
    }
}

/// Does a job batch by batch until nothing is left, or enough was done for one round.
async fn finish(
    job: Job,
    deps: &Deps,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Result<(), Fault> {
    for _ in 0..settings.batches_max {
        if shutdown.is_cancelled() {
            return Ok(());
        }
        let done = job.batch(deps, settings.batch_rows_max).await?;
        if done > 0 {
            debug!(?job, rows = done, "upkeep job {job:?} cleared {done} rows");
        }
        if done < settings.batch_rows_max {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
