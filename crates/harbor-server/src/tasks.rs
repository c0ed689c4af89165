//! What goes on beside requests: clearing up, carrying out jobs, settling quotas, passing on hints.

use std::sync::Arc;

use harbor_deliver::worker::Worker;
use harbor_ingest::publish::Publisher;
use harbor_ingest::quota;
use harbor_ingest::rejections::{self, RejectionLog};
use harbor_model::id::WorkerId;
use harbor_model::port::handoff::Handoff;
use harbor_recover::jobs::runner::{self, OpenJobs, Runner};
use harbor_recover::leadership::Leadership;
use harbor_recover::upkeep;
use harbor_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::instance::Senses;
use crate::settings::Settings;
use crate::settings::value::Role;

/// What the tasks beside requests work with.
pub(crate) struct Engine<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    /// None where this process does not deliver.
    pub(crate) worker: Option<&'a Worker>,
    pub(crate) publisher: Publisher,
    pub(crate) rejections: Arc<RejectionLog>,
    pub(crate) handoff: Arc<dyn Handoff>,
}

/// What goes on beside requests.
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    /// None where this process carries out no jobs.
    pub(crate) open_jobs: Option<OpenJobs>,
}

/// Starts what goes on beside requests.
pub(crate) fn start(
    settings: &Settings,
    engine: Engine<'_>,
    senses: &Senses,
    stopping: &CancellationToken,
) -> Tasks {
    let Engine { store, worker, publisher, rejections, handoff } = engine;
    let tracker = TaskTracker::new();
    let node = WorkerId::new(senses.clock.now(), &*senses.rng);
    if settings.has_role(Role::Api) {
        let deps = quota::Deps {
            quotas: store.clone(),
            meter: publisher.meter().clone(),
            clock: senses.clock.clone(),
            node,
        };
        tracker.spawn(quota::run(deps, stopping.clone()));
        tracker.spawn(rejections::run(rejections, senses.clock.clone(), stopping.clone()));
    }
    let mut open_jobs = None;
    if settings.has_role(Role::Scheduler) {
        let leadership = |task| {
            let limits = settings.leadership.clone();
            Leadership::new(store.clone(), senses.clock.clone(), node, task, limits)
        };
        let deps = upkeep::Deps {
            upkeep: store.clone(),
            jobs: store.clone(),
            notices: store.clone(),
            announcer: Arc::new(publisher),
            clock: senses.clock.clone(),
            leadership: leadership("upkeep"),
        };
        tracker.spawn(upkeep::run(deps, settings.upkeep.clone(), stopping.clone()));
        let deps = runner::Deps {
            jobs: store.clone(),
            directory: store.clone(),
            handoff,
            clock: senses.clock.clone(),
            rng: senses.rng.clone(),
            leadership: leadership("jobs"),
        };
        let jobs = Runner::new(deps, settings.job_runner.clone());
        open_jobs = Some(jobs.open());
        tracker.spawn(runner::run(jobs, stopping.clone()));
    }
    if let Some(worker) = worker {
        tracker.spawn(pass_on_hints(Arc::clone(store), worker.clone(), stopping.clone()));
    }
    tracker.close();
    Tasks { tracker, open_jobs }
}

/// Lets the worker look whenever another process may have made work for it.
async fn pass_on_hints(store: Arc<dyn Store>, worker: Worker, stopping: CancellationToken) {
    let mut hints = store.hints();
    loop {
        tokio::select! {
            changed = hints.changed() => match changed {
                Ok(()) => worker.nudge(),
                Err(_) => return,
            },
            () = stopping.cancelled() => return,
        }
    }
}
