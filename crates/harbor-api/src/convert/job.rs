//! Jobs: what is asked of them, and how they are shown.

use std::str::FromStr;

use harbor_model::id::{JobId, ReplayId};
use harbor_model::invalid::FieldError;
use harbor_model::job::{Job, JobCounts, JobStatus, ReplayTask, Selection, Task};
use harbor_model::port::history::DeliveryFilter;
use harbor_recover::jobs::{DeadLetterRange, ReplayJobRequest};
use harbor_wire::delivery as wire_delivery;
use harbor_wire::job as wire;

use crate::convert::checks::Checks;
use crate::convert::delivery::{read_status, write_status};

/// The most wrong ids of a list that one answer names.
const WRONG_IDS_MAX: usize = 20;

/// Reads a bulk replay that somebody asks for.
pub(crate) fn read_replay(
    replay: wire::CreateReplay,
    idempotency_key: Result<Option<String>, FieldError>,
) -> Result<ReplayJobRequest, Vec<FieldError>> {
    let mut checks = Checks::default();
    let idempotency_key = idempotency_key.unwrap_or_else(|error| {
        checks.extend(vec![error]);
        None
    });
    let request = ReplayJobRequest {
        delivery_ids: replay.delivery_ids.map(|ids| read_ids(&ids, &mut checks)),
        dlq_range: replay.dlq_range.and_then(|range| read_range(&range, &mut checks)),
        filter: replay.filter.map(|filter| read_filter(&filter, &mut checks)),
        rate_per_second: replay.rate_per_second,
        is_dry_run: replay.dry_run.unwrap_or(false),
        new_webhook_id: replay.new_webhook_id.unwrap_or(false),
        reason: replay.reason,
        idempotency_key,
    };
    checks.finish().map(|()| request)
}

fn read_ids<T>(texts: &[String], checks: &mut Checks) -> Vec<T>
where
    T: FromStr,
    T::Err: ToString,
{
    let mut wrong = 0;
    let mut ids = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        match checks.parse(&format!("delivery_ids[{n}]"), Some(text)) {
            Some(id) => ids.push(id),
            None if wrong + 1 == WRONG_IDS_MAX => break,
            None => wrong += 1,
        }
    }
    ids
}

fn read_range(range: &wire::DlqRange, checks: &mut Checks) -> Option<DeadLetterRange> {
    let from = checks.parse("dlq_range.from", Some(&range.from));
    let to = checks.parse("dlq_range.to", Some(&range.to));
    let endpoint_id = checks.parse("dlq_range.endpoint_id", range.endpoint_id.as_deref());
    Some(DeadLetterRange { from: from?, to: to?, endpoint_id })
}

/// Reads which deliveries a job is about.
pub(crate) fn read_filter(filter: &wire_delivery::DeliveryFilter, checks: &mut Checks) -> DeliveryFilter {
    DeliveryFilter {
        endpoint_id: checks.parse("filter.endpoint_id", filter.endpoint_id.as_deref()),
        event_id: checks.parse("filter.event_id", filter.event_id.as_deref()),
        event_type: checks.parse("filter.event_type", filter.event_type.as_deref()),
        status: filter.status.map(read_status),
        since: checks.parse("filter.since", filter.since.as_deref()),
        until: checks.parse("filter.until", filter.until.as_deref()),
    }
}

fn write_filter(filter: &DeliveryFilter) -> wire_delivery::DeliveryFilter {
    wire_delivery::DeliveryFilter {
        endpoint_id: filter.endpoint_id.map(|id| id.to_string()),
        event_id: filter.event_id.map(|id| id.to_string()),
        event_type: filter.event_type.as_ref().map(ToString::to_string),
        status: filter.status.map(write_status),
        since: filter.since.map(|at| at.to_string()),
        until: filter.until.map(|at| at.to_string()),
    }
}

/// The job that a replay is. Each is named by the number of the other.
pub(crate) fn job_of(id: ReplayId) -> JobId {
    JobId::from_number(id.number())
}

/// Writes out a job that replays.
///
/// # Panics
/// It does something else: the store was asked for replays alone.
pub(crate) fn write_replay(job: &Job) -> wire::Replay {
    let Task::Replay(task) = &job.task else { unreachable!("{} is no replay", job.id) };
    let ReplayTask { selection, rate_per_second, is_dry_run, new_webhook_id, reason } = task;
    let shown = wire::Replay {
        id: ReplayId::from_number(job.id.number()).to_string(),
        status: write_job_status(job.status),
        counts: write_counts(job.counts),
        delivery_ids: None,
        dlq_range: None,
        filter: None,
        rate_per_second: *rate_per_second,
        dry_run: *is_dry_run,
        new_webhook_id: *new_webhook_id,
        reason: reason.clone(),
        error: job.error.clone(),
        created_at: job.created_at.to_string(),
        updated_at: job.updated_at.to_string(),
    };
    match selection {
        Selection::Ids(ids) => {
            wire::Replay { delivery_ids: Some(ids.iter().map(ToString::to_string).collect()), ..shown }
        }
        Selection::DeadLetters { from, to, endpoint_id } => {
            let range = wire::DlqRange {
                from: from.to_string(),
                to: to.to_string(),
                endpoint_id: endpoint_id.map(|id| id.to_string()),
            };
            wire::Replay { dlq_range: Some(range), ..shown }
        }
        Selection::Filter(filter) => wire::Replay { filter: Some(write_filter(filter)), ..shown },
    }
}

/// As [`write_replay`], as lists show it: they would be very long with all the ids.
pub(crate) fn write_replay_summary(job: &Job) -> wire::Replay {
    wire::Replay { delivery_ids: None, ..write_replay(job) }
}

/// Writes out a job that cancels or purges.
///
/// # Panics
/// It replays: the store was asked for others alone.
pub(crate) fn write(job: &Job) -> wire::Job {
    let (kind, counts, filter, removed) = match &job.task {
        Task::Replay(_) => unreachable!("{} is a replay", job.id),
        Task::Cancel(filter) => {
            (wire::JobKind::Cancel, Some(write_counts(job.counts)), Some(write_filter(filter)), None)
        }
        Task::Purge => (wire::JobKind::Purge, None, None, Some(job.removed.clone())),
    };
    wire::Job {
        id: job.id.to_string(),
        kind,
        tenant_id: job.tenant_id.to_string(),
        status: write_job_status(job.status),
        counts,
        filter,
        removed,
        error: job.error.clone(),
        created_at: job.created_at.to_string(),
        updated_at: job.updated_at.to_string(),
    }
}

fn write_counts(counts: JobCounts) -> wire::JobCounts {
    let JobCounts { matched, queued, succeeded, failed } = counts;
    wire::JobCounts { matched, queued, succeeded, failed }
}

fn write_job_status(status: JobStatus) -> wire::JobStatus {
    match status {
        JobStatus::Pending => wire::JobStatus::Pending,
        JobStatus::Running => wire::JobStatus::Running,
        JobStatus::Done => wire::JobStatus::Done,
        JobStatus::Cancelled => wire::JobStatus::Cancelled,
        JobStatus::Failed => wire::JobStatus::Failed,
    }
}

#[cfg(test)]
mod tests;
