//! Clears up behind events, a little at a time.

use std::sync::Arc;
use std::time::Duration;

use harbor_model::id::NoticeId;
use harbor_model::notice::Notice;
use harbor_model::port::Fault;
use harbor_model::port::jobs::JobSteps;
use harbor_model::port::notices::{Announcer, Notices};
use harbor_model::port::upkeep::Upkeep;
use harbor_model::time::{Clock, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::leadership::Leadership;

/// What upkeep needs.
pub struct Deps {
    /// What is cleared up.
    pub upkeep: Arc<dyn Upkeep>,
    /// Keeps jobs, also those that have ended.
    pub jobs: Arc<dyn JobSteps>,
    /// Keeps notices.
    pub notices: Arc<dyn Notices>,
    /// Publishes notices.
    pub announcer: Arc<dyn Announcer>,
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
    /// The most batches of one chore in one round.
    pub batches_max: usize,
    /// The most notices that are published at the same moment.
    pub announced_at_once_max: usize,
    /// How long jobs are kept that have ended.
    pub jobs_kept: Duration,
    /// The most rows of history that are removed in one transaction.
    pub sweep_rows_max: usize,
    /// The rest after each of them: what events wait for is to wait for one of them at most.
    pub sweep_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            batch_rows_max: 200,
            batches_max: 50,
            announced_at_once_max: 16,
            jobs_kept: Duration::from_secs(90 * 24 * 60 * 60),
            sweep_rows_max: 200,
            sweep_pause: Duration::from_millis(20),
        }
    }
}

/// What is done in each round.
#[derive(Clone, Copy, Debug)]
enum Chore {
    EndOrphans,
    EndDrains,
    Announce,
    ForgetKeys,
    ForgetJobs,
}

impl Chore {
    const ALL: [Self; 5] =
        [Self::EndOrphans, Self::EndDrains, Self::Announce, Self::ForgetKeys, Self::ForgetJobs];

    async fn batch(self, deps: &Deps, settings: &Settings) -> Result<usize, Fault> {
        let now = deps.clock.now();
        let limit = settings.batch_rows_max;
        match self {
            Self::EndOrphans => deps.upkeep.end_orphans(now, limit).await,
            Self::EndDrains => deps.upkeep.end_drains(now, limit).await,
            Self::Announce => announce(deps, limit, settings.announced_at_once_max).await,
            Self::ForgetKeys => deps.upkeep.forget_keys(now, limit).await,
            Self::ForgetJobs => deps.jobs.forget_jobs(now - settings.jobs_kept, limit).await,
        }
    }
}

/// Clears up, round after round, until `shutdown`, while it is this process's task; a batch that has begun
/// is finished.
pub async fn run(mut deps: Deps, settings: Settings, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let next_at = round(&mut deps, &settings, &shutdown).await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = deps.clock.sleep_until(next_at) => {}
        }
    }
}

/// Does one round, as far as it is this process's task: every chore once, and then retention until the next
/// round is due, which is what this answers.
pub async fn round(deps: &mut Deps, settings: &Settings, shutdown: &CancellationToken) -> Timestamp {
    do_chores(deps, settings, shutdown).await;
    let next_at = deps.clock.now() + settings.interval;
    sweep_until(next_at, deps, settings, shutdown).await;
    next_at
}

async fn do_chores(deps: &mut Deps, settings: &Settings, shutdown: &CancellationToken) {
    for chore in Chore::ALL {
        if let Err(fault) = finish(chore, deps, settings, shutdown).await {
            // What is left is found again in the next round.
            warn!(?chore, %fault, "upkeep {chore:?} failed and goes on in the next round: {fault}");
        }
    }
    if !goes_on(deps, shutdown).await {
        return;
    }
    if let Err(fault) = deps.upkeep.maintain(deps.clock.now()).await {
        warn!(%fault, "the database could not be looked after, the next round tries again: {fault}");
    }
}

/// Does a chore batch by batch until nothing is left, or enough was done for one round.
async fn finish(
    chore: Chore,
    deps: &mut Deps,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Result<(), Fault> {
    for _ in 0..settings.batches_max {
        if !goes_on(deps, shutdown).await {
            return Ok(());
        }
        let done = chore.batch(deps, settings).await?;
        if done > 0 {
            debug!(?chore, rows = done, "upkeep {chore:?} dealt with {done} rows");
        }
        if done < settings.batch_rows_max {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether the next batch is this process's. Asked before each: a long round is no reason to lose the task.
async fn goes_on(deps: &mut Deps, shutdown: &CancellationToken) -> bool {
    !shutdown.is_cancelled() && deps.leadership.is_mine().await
}

/// Removes history whose retention is over, with rests between, until nothing is left or the next round is
/// due. So a lot of history stands back behind everything else, and little is gone at once.
async fn sweep_until(next_at: Timestamp, deps: &mut Deps, settings: &Settings, shutdown: &CancellationToken) {
    while deps.clock.now() < next_at && goes_on(deps, shutdown).await {
        match deps.upkeep.sweep(deps.clock.now(), settings.sweep_rows_max).await {
            Ok(0) => return,
            Ok(rows) => debug!(rows, "retention removed {rows} rows"),
            Err(fault) => {
                warn!(%fault, "retention failed and goes on in the next round: {fault}");
                return;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = deps.clock.sleep_until(deps.clock.now() + settings.sweep_pause) => {}
        }
    }
}

/// Publishes the oldest notices and forgets those that were. One that was published and not forgotten, since
/// the process ended between, is published again as the same event. Answers how many are done with.
async fn announce(deps: &Deps, limit: usize, at_once_max: usize) -> Result<usize, Fault> {
    let mut waiting = deps.notices.notices(limit).await?.into_iter();
    let mut announcing = JoinSet::new();
    let (mut announced, mut failed) = (Vec::new(), None);
    loop {
        // After a fault those that wait are left to the next round.
        while announcing.len() < at_once_max.max(1) && failed.is_none() {
            let Some(notice) = waiting.next() else { break };
            announcing.spawn(announce_one(deps.announcer.clone(), notice));
        }
        match announcing.join_next().await {
            Some(Ok(Ok(id))) => announced.push(id),
            Some(Ok(Err(fault))) => failed = Some(fault),
            Some(Err(_)) => failed = Some(Fault::bare("publishing a notice panicked")),
            None => break,
        }
    }
    let count = announced.len();
    if count > 0 {
        deps.notices.forget_notices(announced).await?;
    }
    failed.map_or(Ok(count), Err)
}

async fn announce_one(announcer: Arc<dyn Announcer>, notice: Notice) -> Result<NoticeId, Fault> {
    announcer.announce(&notice).await?;
    Ok(notice.id)
}

#[cfg(test)]
mod tests;
