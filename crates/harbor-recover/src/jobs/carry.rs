//! Carries out the steps of a job.

use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::id::{DeliveryId, EndpointId, TenantId};
use harbor_model::job::{Job, JobCounts, JobStatus, Selection, Task};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::jobs::{JobNote, JobSteps, Stepped};
use harbor_model::time::Timestamp;
use tracing::debug;

use crate::jobs::step::{Step, counts_after};

/// What is told to people of a job that cannot go on. What failed is for operators, in the log.
const HOPELESS: &str = "its steps failed again and again; the log of the instance says why";

/// A step that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) job: Job,
    pub(super) step: Step,
    /// How many deliveries, or rows, it deals with at most.
    pub(super) limit: usize,
}

/// What came of a step.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub(super) enum Came {
    /// The job after it, and how the walk went where it was a part of one.
    On { job: Job, walk: Option<Walk> },
    /// The job has changed since it was read, or is gone.
    Stale,
}

/// How a part of a walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) count: usize,
    pub(super) is_end: bool,
}

/// What making steps needs.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) jobs: Arc<dyn JobSteps>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) handoff: Arc<dyn Handoff>,
    pub(super) rng: Arc<dyn Rng>,
}

impl Hands {
    /// Makes a step, and wakes whoever delivers where something is due by it.
    pub(super) async fn carry_out(&self, order: Order, now: Timestamp) -> Result<Came, Fault> {
        let Order { job, step, limit } = order;
        let jobs = &*self.jobs;
        let stepped = match step {
            Step::Count => jobs.count_matches(&job, limit, now).await?,
            Step::Replay => {
                let ids = (0..limit).map(|_| DeliveryId::new(now, &*self.rng)).collect();
                jobs.replay_batch(&job, ids, now).await?
            }
            Step::Cancel => jobs.cancel_batch(&job, limit, now).await?,
            Step::Purge => jobs.purge_batch(&job, limit, now).await?,
            Step::Begin => return note(jobs, &job, JobStatus::Running, job.counts, now).await,
            Step::Look => return look(jobs, job, now).await,
            Step::End => return note(jobs, &job, JobStatus::Done, job.counts, now).await,
            Step::GiveUp => return note(jobs, &job, JobStatus::Failed, job.counts, now).await,
            Step::Nothing => return Ok(Came::Stale),
        };
        let Stepped::Made { job, count, is_end } = stepped else { return Ok(Came::Stale) };
        if count > 0 {
            self.announce(&job).await;
        }
        Ok(Came::On { job, walk: Some(Walk { count, is_end }) })
    }

    /// Says where something may be due by a step: a replay, or the next one of a lane whose head was called
    /// off.
    async fn announce(&self, job: &Job) {
        let endpoint_id = match &job.task {
            Task::Replay(task) => match &task.selection {
                Selection::Ids(_) => None,
                Selection::DeadLetters { endpoint_id, .. } => *endpoint_id,
                Selection::Filter(filter) => filter.endpoint_id,
            },
            Task::Cancel(filter) => filter.endpoint_id,
            Task::Purge => return,
        };
        let endpoints = match endpoint_id {
            Some(endpoint_id) => vec![endpoint_id],
            None => self.endpoints(&job.tenant_id).await,
        };
        let key = |endpoint_id| EndpointKey { tenant_id: job.tenant_id.clone(), endpoint_id };
        let keys: Vec<_> = endpoints.into_iter().map(key).collect();
        self.handoff.announce(&keys);
    }

    /// The endpoints of a tenant, where there are few enough to announce all. What is not announced is found
    /// a little later by whoever delivers.
    async fn endpoints(&self, tenant: &TenantId) -> Vec<EndpointId> {
        match self.directory.tenant(tenant).await {
            Ok(Some(snapshot)) if snapshot.endpoints.len() <= ANNOUNCED_MAX => {
                snapshot.endpoints.keys().copied().collect()
            }
            Ok(_) => Vec::new(),
            Err(fault) => {
                debug!(%fault, "what is due by a step is not announced: {fault}");
                Vec::new()
            }
        }
    }
}

/// So many endpoints of a tenant are announced at once.
const ANNOUNCED_MAX: usize = 256;

/// Looks what has become of the replays of a job, and notes it where that is news.
async fn look(jobs: &dyn JobSteps, job: Job, now: Timestamp) -> Result<Came, Fault> {
    let outcomes = jobs.outcomes(&job).await?;
    let counts = counts_after(&job, outcomes);
    if outcomes.open == 0 {
        return note(jobs, &job, JobStatus::Done, counts, now).await;
    }
    if counts == job.counts {
        return Ok(Came::On { job, walk: None });
    }
    note(jobs, &job, JobStatus::Running, counts, now).await
}

async fn note(
    jobs: &dyn JobSteps,
    job: &Job,
    status: JobStatus,
    counts: JobCounts,
    now: Timestamp,
) -> Result<Came, Fault> {
    let error = (status == JobStatus::Failed).then(|| HOPELESS.to_owned());
    let noted = jobs.note_job(job, JobNote { status, counts, error }, now).await?;
    Ok(noted.map_or(Came::Stale, |job| Came::On { job, walk: None }))
}
