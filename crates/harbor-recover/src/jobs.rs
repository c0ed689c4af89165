//! Jobs as people start, watch and stop them.
//!
//! What carries them out is the [`runner`]; what comes next for one is decided in `step`.

mod request;

pub mod runner;

mod carry;
mod pace;
mod step;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::id::{JobId, TenantId};
use harbor_model::invalid::FieldError;
use harbor_model::job::{Job, JobKind, JobStatus, Task};
use harbor_model::port::Fault;
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::{JobCancelled, JobCreated, Jobs as Port, NewJob};
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::{Clock, Timestamp};

use crate::tenants::pending;

pub use request::{DeadLetterRange, ReplayJobRequest};

/// What starting and stopping jobs needs.
#[derive(Clone)]
pub struct Deps {
    /// Keeps jobs.
    pub jobs: Arc<dyn Port>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
}

/// The limits of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most deliveries that a replay names one by one.
    pub ids_max: usize,
    /// The most open jobs of one tenant.
    pub open_max: usize,
    /// The most characters in a reason.
    pub reason_chars_max: usize,
    /// The most characters in an idempotency key.
    pub key_chars_max: usize,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let replay = crate::dead_letters::Settings::default();
        Self {
            ids_max: 10_000,
            open_max: 20,
            reason_chars_max: replay.reason_chars_max,
            key_chars_max: replay.key_chars_max,
            idempotency_window: replay.idempotency_window,
        }
    }
}

/// Says why a job is not started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartRefusal {
    /// Fields break their rules.
    #[error("{} of the fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// There is no such tenant.
    #[error("the tenant does not exist")]
    NoTenant,
    /// The tenant has as many open jobs as it may.
    #[error("{max} jobs are open already")]
    TooMany {
        /// How many it may have.
        max: usize,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another job")]
    KeyReused,
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Says why a job is not stopped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StopRefusal {
    /// There is no such job.
    #[error("the job does not exist")]
    NotFound,
    /// It has ended.
    #[error("the job has ended: it is {0}")]
    Final(JobStatus),
    /// What lies beneath failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Starts, shows and stops jobs.
#[derive(Clone)]
pub struct Jobs {
    deps: Deps,
    settings: Settings,
}

impl Jobs {
    /// With these limits.
    pub fn new(deps: Deps, settings: Settings) -> Self {
        Self { deps, settings }
    }

    /// Starts a replay of many deliveries. The same request under the same idempotency key answers the first
    /// job.
    ///
    /// # Errors
    /// The request breaks a rule, or too many jobs are open.
    pub async fn start_replay(
        &self,
        tenant: &TenantId,
        request: ReplayJobRequest,
    ) -> Result<Job, StartRefusal> {
        let checked = request::check(request, &self.settings).map_err(StartRefusal::Invalid)?;
        let until = self.deps.clock.now() + self.settings.idempotency_window;
        let fingerprint = request::fingerprint(&checked.task);
        let idempotency = checked.idempotency_key.map(|key| (key, fingerprint, until));
        self.start(tenant, Task::Replay(checked.task), idempotency).await
    }

    /// Starts to call off the open deliveries that match, as far as they were made before.
    ///
    /// # Errors
    /// The filter contradicts itself, or too many jobs are open.
    pub async fn start_cancel(&self, tenant: &TenantId, filter: DeliveryFilter) -> Result<Job, StartRefusal> {
        request::check_cancel(&filter).map_err(StartRefusal::Invalid)?;
        self.start(tenant, Task::Cancel(filter), None).await
    }

    /// Reads a job of these kinds: of this tenant, or of any, also of one that was deleted.
    ///
    /// # Errors
    /// The store failed.
    pub async fn find(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        id: JobId,
    ) -> Result<Option<Job>, Fault> {
        let found = self.deps.jobs.find_job(tenant, id).await?;
        Ok(found.filter(|job| kinds.contains(&job.task.kind())))
    }

    /// Lists jobs of these kinds, newest first: of this tenant, or of all.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        page: PageAsk,
    ) -> Result<Page<Job>, Fault> {
        self.deps.jobs.jobs(tenant, kinds, page).await
    }

    /// Stops an open job of these kinds. What it did stays. A purge is not stopped: its tenant is gone.
    ///
    /// # Errors
    /// There is no such job, or it has ended.
    pub async fn stop(&self, tenant: &TenantId, kinds: &[JobKind], id: JobId) -> Result<Job, StopRefusal> {
        let found = self.find(Some(tenant), kinds, id).await?;
        match found.map(|job| job.task.kind()) {
            Some(JobKind::Replay | JobKind::Cancel) => {}
            Some(JobKind::Purge) | None => return Err(StopRefusal::NotFound),
        }
        match self.deps.jobs.cancel_job(tenant, id, self.deps.clock.now()).await? {
            JobCancelled::Done(job) => Ok(job),
            JobCancelled::Missing => Err(StopRefusal::NotFound),
            JobCancelled::Final(status) => Err(StopRefusal::Final(status)),
        }
    }

    async fn start(
        &self,
        tenant: &TenantId,
        task: Task,
        idempotency: Option<(String, [u8; 32], Timestamp)>,
    ) -> Result<Job, StartRefusal> {
        let now = self.deps.clock.now();
        let job = pending(JobId::new(now, &*self.deps.rng), tenant.clone(), task, now);
        let max = self.settings.open_max;
        match self.deps.jobs.create_job(NewJob { job, idempotency }, max).await? {
            JobCreated::Done(job) => Ok(job),
            JobCreated::NoTenant => Err(StartRefusal::NoTenant),
            JobCreated::TooMany => Err(StartRefusal::TooMany { max }),
            JobCreated::KeyReused => Err(StartRefusal::KeyReused),
        }
    }
}

#[cfg(test)]
mod tests;
