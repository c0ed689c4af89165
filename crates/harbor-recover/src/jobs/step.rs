//! What comes next for a job: a function of what is known of it.

use harbor_model::job::{Job, JobCounts, JobStatus, Task};
use harbor_model::port::jobs::Outcomes;

/// What comes next for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Count on what matches.
    Count,
    /// Say that it is at work from now on.
    Begin,
    /// Replay on.
    Replay,
    /// Cancel on.
    Cancel,
    /// Remove on.
    Purge,
    /// Look what has become of the replays.
    Look,
    /// Say that it came to its end.
    End,
    /// Say that it cannot go on.
    GiveUp,
    /// Nothing: it has ended.
    Nothing,
}

/// What is known of a job beside its row, by who carries it out. After a restart that is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Whether the walk has come to its end: of a replay that is pending the count, else the work.
    pub(super) is_walked: bool,
    /// Whether its steps have failed for too long.
    pub(super) is_hopeless: bool,
}

/// Decides what comes next.
///
/// A replay is counted while it is pending. While it is running it is carried out until the walk has ended,
/// and watched from then on. That a walk has ended is known, or shows in the row, or a step more finds nothing.
pub(super) fn next(job: &Job, known: Known) -> Step {
    let is_pending = match job.status {
        JobStatus::Done | JobStatus::Cancelled | JobStatus::Failed => return Step::Nothing,
        JobStatus::Pending => true,
        JobStatus::Running => false,
    };
    if known.is_hopeless {
        return Step::GiveUp;
    }
    match &job.task {
        Task::Replay(_) if is_pending && !(known.is_walked || is_counted(job)) => Step::Count,
        Task::Replay(task) if is_pending && task.is_dry_run => Step::End,
        Task::Replay(_) | Task::Cancel(_) | Task::Purge if is_pending => Step::Begin,
        Task::Replay(_) if !(known.is_walked || has_outcomes(job)) => Step::Replay,
        Task::Replay(_) if job.counts.queued > 0 => Step::Look,
        Task::Cancel(_) if !known.is_walked => Step::Cancel,
        Task::Purge if !known.is_walked => Step::Purge,
        Task::Replay(_) | Task::Cancel(_) | Task::Purge => Step::End,
    }
}

/// Whether it shows that all is counted: the place is back at the beginning.
fn is_counted(job: &Job) -> bool {
    job.counts.matched > 0 && job.place.is_empty()
}

/// Whether it shows that replays have ended. That is noted only after the walk, by when each match is either
/// queued or failed: more than that are replays that failed.
fn has_outcomes(job: &Job) -> bool {
    let counts = job.counts;
    counts.succeeded > 0 || counts.queued + counts.failed > counts.matched
}

/// How a replay stands whose walk has ended, by what has become of what it made. What was noted once stays,
/// though its rows may be gone by now.
pub(super) fn counts_after(job: &Job, outcomes: Outcomes) -> JobCounts {
    let counts = job.counts;
    let refused = counts.matched.saturating_sub(counts.queued);
    JobCounts {
        succeeded: outcomes.delivered.max(counts.succeeded),
        failed: (refused + outcomes.failed).max(counts.failed),
        ..counts
    }
}

#[cfg(test)]
mod tests;
