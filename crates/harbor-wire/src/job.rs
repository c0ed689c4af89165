//! Jobs: work on many deliveries, done a little at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::delivery::DeliveryFilter;
use crate::object;

/// A bulk replay: exactly one of `delivery_ids`, `dlq_range` and `filter` says of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "dlq_range": {
        "from": "2026-01-31T12:00:00.000Z",
        "to": "2026-01-31T13:00:00.000Z",
        "endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d",
    },
    "rate_per_second": 50,
}))]
pub struct CreateReplay {
    /// Of these deliveries. What of them is missing, still open or was replayed before counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 10_000)]
    pub delivery_ids: Option<Vec<String>>,
    /// Of open dead letters, by when they died.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub dlq_range: Option<DlqRange>,
    /// Of final deliveries that match and were not replayed before.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub filter: Option<DeliveryFilter>,
    /// The most replays made per second; as fast as it goes unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub rate_per_second: Option<u32>,
    /// Whether it only counts what it would replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = false)]
    pub dry_run: Option<bool>,
    /// Whether receivers are to process again what they have seen: each replay gets a `webhook-id` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = false)]
    pub new_webhook_id: Option<bool>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub reason: Option<String>,
}

/// Open dead letters by when they died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": "2026-01-31T12:00:00.000Z", "to": "2026-01-31T13:00:00.000Z"}))]
pub struct DlqRange {
    /// Dead at or after this time.
    pub from: String,
    /// Dead before this time.
    pub to: String,
    /// Of this endpoint alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
}

/// A bulk replay and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "rpl_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "status": "running",
    "counts": {"matched": 1200, "queued": 400, "succeeded": 380, "failed": 0},
    "delivery_ids": null,
    "dlq_range": {"from": "2026-01-31T12:00:00.000Z", "to": "2026-01-31T13:00:00.000Z"},
    "filter": null,
    "rate_per_second": 50,
    "dry_run": false,
    "new_webhook_id": false,
    "reason": "receiver was misconfigured",
    "error": null,
    "created_at": "2026-01-31T14:00:00.000Z",
    "updated_at": "2026-01-31T14:00:08.000Z",
}))]
pub struct Replay {
    /// Names it.
    pub id: String,
    /// Where it stands.
    pub status: JobStatus,
    /// How far it has come.
    pub counts: JobCounts,
    /// What was asked for; null where something else was, and in lists.
    #[schema(required)]
    pub delivery_ids: Option<Vec<String>>,
    /// What was asked for; null where something else was.
    #[schema(required)]
    pub dlq_range: Option<DlqRange>,
    /// What was asked for; null where something else was.
    #[schema(required)]
    pub filter: Option<DeliveryFilter>,
    /// The most replays made per second; null for as fast as it goes.
    #[schema(required)]
    pub rate_per_second: Option<u32>,
    /// Whether it only counts what it would replay.
    pub dry_run: bool,
    /// Whether each replay gets a `webhook-id` of its own.
    pub new_webhook_id: bool,
    /// Why, for people.
    #[schema(required)]
    pub reason: Option<String>,
    /// Why it failed, for people; null where it has not.
    #[schema(required)]
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When it last came farther.
    pub updated_at: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Nothing is done yet.
    Pending,
    /// It is at work.
    Running,
    /// It came to its end: of a replay, every delivery that it made has ended too.
    Done,
    /// Somebody stopped it. What it did stays.
    Cancelled,
    /// It cannot go on; `error` says why.
    Failed,
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"matched": 1200, "queued": 400, "succeeded": 380, "failed": 0}))]
pub struct JobCounts {
    /// Deliveries that match; grows while they are counted.
    pub matched: u64,
    /// Of those, replays that were made.
    pub queued: u64,
    /// Replays that were delivered; of a cancellation, deliveries that were cancelled.
    pub succeeded: u64,
    /// What could not be replayed, and replays that are dead or were cancelled; of a cancellation, deliveries
    /// that ended otherwise first.
    pub failed: u64,
}

/// A job that cancels deliveries or removes a tenant, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "job_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "kind": "purge",
    "tenant_id": "acme",
    "status": "running",
    "counts": null,
    "filter": null,
    "removed": {"deliveries": 12_000, "events": 4_000},
    "error": null,
    "created_at": "2026-01-31T12:00:00.000Z",
    "updated_at": "2026-01-31T12:00:08.000Z",
}))]
pub struct Job {
    /// Names it.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// Whose deliveries it is about.
    pub tenant_id: String,
    /// Where it stands.
    pub status: JobStatus,
    /// How far it has come, for a cancellation.
    #[schema(required)]
    pub counts: Option<JobCounts>,
    /// Which deliveries it cancels, for a cancellation.
    #[schema(required)]
    pub filter: Option<DeliveryFilter>,
    /// What it has removed, by kind, for a purge.
    #[schema(required)]
    pub removed: Option<BTreeMap<String, u64>>,
    /// Why it failed, for people; null where it has not.
    #[schema(required)]
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When it last came farther.
    pub updated_at: String,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Cancels open deliveries.
    Cancel,
    /// Removes everything of a tenant that was deleted.
    Purge,
}
