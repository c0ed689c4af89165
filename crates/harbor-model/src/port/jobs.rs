//! Jobs as a store keeps them and carries out their steps.
//!
//! Each step is one transaction with the place that it came to, and is made only where the job still has
//! the version that the step was planned on: after a crash the next step begins where the last one ended,
//! and of two who plan the same step one makes it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::id::{DeliveryId, JobId, TenantId};
use crate::job::{Job, JobCounts, JobKind, JobStatus};
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::time::Timestamp;

/// Keeps jobs, as people start, see and stop them.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Adds a job; at most `open_max` of a tenant are open at a time.
    async fn create_job(&self, job: NewJob, open_max: usize) -> Result<JobCreated, Fault>;

    /// Reads one: of this tenant, or of any, also of one that was deleted.
    async fn find_job(&self, tenant: Option<&TenantId>, id: JobId) -> Result<Option<Job>, Fault>;

    /// Lists the jobs of some kinds, newest first; of this tenant, or of all.
    async fn jobs(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        page: PageAsk,
    ) -> Result<Page<Job>, Fault>;

    /// Stops a job that is open. What it did stays.
    async fn cancel_job(&self, tenant: &TenantId, id: JobId, now: Timestamp) -> Result<JobCancelled, Fault>;
}

/// Carries out the steps of jobs, for who has that task.
#[async_trait]
pub trait JobSteps: Send + Sync {
    /// All jobs that are open, oldest first; at most `limit`.
    async fn open_jobs(&self, limit: usize) -> Result<Vec<Job>, Fault>;

    /// Counts on what matches from the job's place, over at most `limit` rows, and notes the count and the
    /// place. When all is counted the place is back at the beginning, so that the work can start. The status
    /// stays as it is: a job that is pending is being counted, and [`JobSteps::note_job`] sets it running.
    async fn count_matches(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault>;

    /// Replays what matches from the job's place on: at most one for each id, and notes them and the place.
    /// `matched` is never less than what was seen so far, and equal to it at the end. The place stays at the
    /// end: a further step finds nothing. The status stays as it is.
    async fn replay_batch(&self, job: &Job, ids: Vec<DeliveryId>, now: Timestamp) -> Result<Stepped, Fault>;

    /// Cancels what matches from the job's place on, at most `limit`, and notes it and the place. The status
    /// stays as it is.
    async fn cancel_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault>;

    /// Removes rows of the job's tenant, about `limit`, and notes what was removed. The last step removes
    /// the tenant itself and sets the job done; its id is free from then on, and nothing of it can be found in
    /// the store's files.
    async fn purge_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault>;

    /// What has become of the replays that a job made.
    async fn outcomes(&self, job: &Job) -> Result<Outcomes, Fault>;

    /// Notes how a job stands: its status, counts and error. Answers the job as it then is; none where it has
    /// changed since it was read.
    async fn note_job(&self, job: &Job, note: JobNote, now: Timestamp) -> Result<Option<Job>, Fault>;

    /// Forgets up to `limit` jobs that ended before `before`. Answers how many.
    async fn forget_jobs(&self, before: Timestamp, limit: usize) -> Result<usize, Fault>;
}

/// A job to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The job, pending.
    pub job: Job,
    /// What makes a repeated request the same one, with SHA-256 of what it asks, and until when.
    pub idempotency: Option<(String, [u8; 32], Timestamp)>,
}

/// What came of making a job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum JobCreated {
    /// It is made; or it is the one that the same request made before.
    Done(Job),
    /// The tenant does not exist.
    NoTenant,
    /// The tenant has as many open jobs as it may.
    TooMany,
    /// The idempotency key was used for another request.
    KeyReused,
}

/// What came of stopping a job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum JobCancelled {
    /// It is stopped.
    Done(Job),
    /// There is no such job.
    Missing,
    /// It has ended.
    Final(JobStatus),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an answer that is taken apart at once")]
pub enum Stepped {
    /// It is made.
    Made {
        /// The job after it.
        job: Job,
        /// How many deliveries, or rows, it dealt with.
        count: usize,
        /// Whether the walk has come to its end.
        is_end: bool,
    },
    /// The job has changed since it was read, or is gone: somebody else made the step, or stopped the job.
    Stale,
}

/// What has become of the replays that a job made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Not ended yet.
    pub open: u64,
    /// Delivered.
    pub delivered: u64,
    /// Dead or cancelled.
    pub failed: u64,
}

/// How a job is to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobNote {
    /// See [`Job::status`].
    pub status: JobStatus,
    /// See [`Job::counts`].
    pub counts: JobCounts,
    /// See [`Job::error`].
    pub error: Option<String>,
}

/// What a purge has removed, by kind.
pub type Removed = BTreeMap<String, u64>;
