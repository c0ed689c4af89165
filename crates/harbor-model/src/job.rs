//! Jobs: work on many deliveries, done a little at a time and gone on with after a restart.

use std::collections::BTreeMap;

use crate::delivery::names;
use crate::id::{DeliveryId, EndpointId, JobId, TenantId};
use crate::port::history::DeliveryFilter;
use crate::time::Timestamp;

/// Work on many deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Names it. A replay shows it as a [`ReplayId`](crate::id::ReplayId) of the same number.
    pub id: JobId,
    /// Whose deliveries.
    pub tenant_id: TenantId,
    /// What is to be done.
    pub task: Task,
    /// Where it stands.
    pub status: JobStatus,
    /// How far it has come.
    pub counts: JobCounts,
    /// What a purge has removed, by kind: `events`, `deliveries`, `attempts` and so on.
    pub removed: BTreeMap<String, u64>,
    /// Why it failed, for people.
    pub error: Option<String>,
    /// Where it goes on. Opaque to all but the store; empty at the beginning.
    pub place: Vec<u8>,
    /// Raised by every step, so that no step is made twice.
    pub version: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last came farther.
    pub updated_at: Timestamp,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Makes new deliveries of old events.
    Replay(ReplayTask),
    /// Calls off open deliveries that match, as far as they were made before the job.
    Cancel(DeliveryFilter),
    /// Removes everything of a tenant that was deleted.
    Purge,
}

impl Task {
    /// Which kind it is.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Replay(_) => JobKind::Replay,
            Self::Cancel(_) => JobKind::Cancel,
            Self::Purge => JobKind::Purge,
        }
    }
}

/// The kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// See [`Task::Replay`].
    Replay,
    /// See [`Task::Cancel`].
    Cancel,
    /// See [`Task::Purge`].
    Purge,
}

names!(JobKind { Replay = "replay", Cancel = "cancel", Purge = "purge", });

/// A bulk replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayTask {
    /// Of which deliveries.
    pub selection: Selection,
    /// The most replays made per second; none for as fast as it goes.
    pub rate_per_second: Option<u32>,
    /// Whether it only counts what it would replay.
    pub is_dry_run: bool,
    /// Whether receivers are to take replays for new webhooks rather than repeats.
    pub new_webhook_id: bool,
    /// Why, for people.
    pub reason: Option<String>,
}

/// Which deliveries a job replays. All are of before the job, and none of them was replayed before: the
/// same selection twice replays nothing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These. What of them is missing, open or was replayed counts as failed.
    Ids(Vec<DeliveryId>),
    /// Open dead letters that died in `from..to`.
    DeadLetters {
        /// The earliest death.
        from: Timestamp,
        /// After the latest death.
        to: Timestamp,
        /// Of this endpoint alone.
        endpoint_id: Option<EndpointId>,
    },
    /// Final deliveries that match.
    Filter(DeliveryFilter),
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Nothing is done yet.
    Pending,
    /// It is at work.
    Running,
    /// It came to its end: everything that matched is done, and every replay has ended.
    Done,
    /// Somebody stopped it. What it did stays.
    Cancelled,
    /// It cannot go on; see [`Job::error`].
    Failed,
}

names!(JobStatus {
    Pending = "pending",
    Running = "running",
    Done = "done",
    Cancelled = "cancelled",
    Failed = "failed",
});

impl JobStatus {
    /// Whether nothing more comes of it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Done | Self::Cancelled | Self::Failed => true,
        }
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Deliveries that match; grows while they are counted.
    pub matched: u64,
    /// Of those, replays that were made.
    pub queued: u64,
    /// Replays that were delivered; of a cancel job, deliveries that were called off.
    pub succeeded: u64,
    /// What could not be replayed, and replays that are dead or were cancelled; of a cancel job, deliveries
    /// that ended otherwise first.
    pub failed: u64,
}
