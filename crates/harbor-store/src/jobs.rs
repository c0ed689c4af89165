//! Jobs' tasks and counts as JSON, the way stores keep them.

use harbor_model::delivery::DeliveryStatus;
use harbor_model::event_type::EventType;
use harbor_model::id::{DeliveryId, EndpointId, EventId};
use harbor_model::job::{JobKind, ReplayTask, Selection, Task};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::Removed;
use harbor_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Writes a task; its kind stands beside it.
pub(crate) fn task_to_json(task: &Task) -> String {
    let json = match task {
        Task::Replay(task) => serde_json::to_string(&ReplayJson::from(task)),
        Task::Cancel(filter) => serde_json::to_string(&FilterJson::from(filter)),
        Task::Purge => return "{}".to_owned(),
    };
    json.expect("a task has only text keys")
}

/// Reads a task that [`task_to_json`] wrote.
pub(crate) fn task_from_json(kind: JobKind, json: &str) -> Result<Task, TaskError> {
    Ok(match kind {
        JobKind::Replay => Task::Replay(serde_json::from_str::<ReplayJson>(json)?.try_into()?),
        JobKind::Cancel => Task::Cancel(serde_json::from_str::<FilterJson>(json)?.try_into()?),
        JobKind::Purge => Task::Purge,
    })
}

/// Says why a stored task cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{field} is `{value}`")]
    Value { field: &'static str, value: String },
}

/// Writes what a purge has removed.
pub(crate) fn removed_to_json(removed: &Removed) -> String {
    serde_json::to_string(removed).expect("it has only text keys")
}

/// Reads what [`removed_to_json`] wrote.
pub(crate) fn removed_from_json(json: &str) -> Result<Removed, serde_json::Error> {
    serde_json::from_str(json)
}

#[derive(Serialize, Deserialize)]
struct ReplayJson {
    selection: SelectionJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<u32>,
    is_dry_run: bool,
    new_webhook_id: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SelectionJson {
    Ids(Vec<String>),
    DeadLetters {
        from_ms: i64,
        to_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint_id: Option<String>,
    },
    Filter(FilterJson),
}

#[derive(Serialize, Deserialize)]
struct FilterJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<i64>,
}

impl From<&ReplayTask> for ReplayJson {
    fn from(task: &ReplayTask) -> Self {
        Self {
            selection: SelectionJson::from(&task.selection),
            rate_per_second: task.rate_per_second,
            is_dry_run: task.is_dry_run,
            new_webhook_id: task.new_webhook_id,
            reason: task.reason.clone(),
        }
    }
}

impl TryFrom<ReplayJson> for ReplayTask {
    type Error = TaskError;

    fn try_from(json: ReplayJson) -> Result<Self, TaskError> {
        Ok(Self {
            selection: json.selection.try_into()?,
            rate_per_second: json.rate_per_second,
            is_dry_run: json.is_dry_run,
            new_webhook_id: json.new_webhook_id,
            reason: json.reason,
        })
    }
}

impl From<&Selection> for SelectionJson {
    fn from(selection: &Selection) -> Self {
        match selection {
            Selection::Ids(ids) => Self::Ids(ids.iter().map(DeliveryId::to_string).collect()),
            Selection::DeadLetters { from, to, endpoint_id } => Self::DeadLetters {
                from_ms: from.unix_ms(),
                to_ms: to.unix_ms(),
                endpoint_id: endpoint_id.map(|id| id.to_string()),
            },
            Selection::Filter(filter) => Self::Filter(FilterJson::from(filter)),
        }
    }
}

impl TryFrom<SelectionJson> for Selection {
    type Error = TaskError;

    fn try_from(json: SelectionJson) -> Result<Self, TaskError> {
        Ok(match json {
            SelectionJson::Ids(ids) => {
                Self::Ids(ids.into_iter().map(|id| parsed("delivery_ids", id)).collect::<Result<_, _>>()?)
            }
            SelectionJson::DeadLetters { from_ms, to_ms, endpoint_id } => Self::DeadLetters {
                from: Timestamp::from_unix_ms(from_ms),
                to: Timestamp::from_unix_ms(to_ms),
                endpoint_id: endpoint_id.map(|id| parsed::<EndpointId>("endpoint_id", id)).transpose()?,
            },
            SelectionJson::Filter(filter) => Self::Filter(filter.try_into()?),
        })
    }
}

impl From<&DeliveryFilter> for FilterJson {
    fn from(filter: &DeliveryFilter) -> Self {
        let DeliveryFilter { endpoint_id, event_id, event_type, status, since, until } = filter;
        Self {
            endpoint_id: endpoint_id.map(|id| id.to_string()),
            event_id: event_id.map(|id| id.to_string()),
            event_type: event_type.as_ref().map(ToString::to_string),
            status: status.map(|status| status.to_string()),
            since_ms: since.map(Timestamp::unix_ms),
            until_ms: until.map(Timestamp::unix_ms),
        }
    }
}

impl TryFrom<FilterJson> for DeliveryFilter {
    type Error = TaskError;

    fn try_from(json: FilterJson) -> Result<Self, TaskError> {
        let status = |name: String| {
            let known = DeliveryStatus::from_name(&name);
            known.ok_or(TaskError::Value { field: "status", value: name })
        };
        Ok(Self {
            endpoint_id: json.endpoint_id.map(|id| parsed::<EndpointId>("endpoint_id", id)).transpose()?,
            event_id: json.event_id.map(|id| parsed::<EventId>("event_id", id)).transpose()?,
            event_type: json.event_type.map(|text| parsed::<EventType>("event_type", text)).transpose()?,
            status: json.status.map(status).transpose()?,
            since: json.since_ms.map(Timestamp::from_unix_ms),
            until: json.until_ms.map(Timestamp::from_unix_ms),
        })
    }
}

fn parsed<T: std::str::FromStr>(field: &'static str, value: String) -> Result<T, TaskError> {
    value.parse().map_err(|_| TaskError::Value { field, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_survive_their_json() {
        let check = |task: Task| {
            let json = task_to_json(&task);
            assert_eq!(task_from_json(task.kind(), &json).unwrap(), task, "{json}");
        };
        let replay = |selection| {
            Task::Replay(ReplayTask {
                selection,
                rate_per_second: Some(500),
                is_dry_run: true,
                new_webhook_id: false,
                reason: Some("the receiver lost a day".to_owned()),
            })
        };
        let at = Timestamp::from_unix_ms(1_800_000_000_000);
        let filter = DeliveryFilter {
            endpoint_id: Some(EndpointId::from_number(7)),
            event_id: Some(EventId::from_number(8)),
            event_type: Some("invoice.paid".parse().unwrap()),
            status: Some(DeliveryStatus::Dead),
            since: Some(at),
            until: Some(at),
        };
        check(Task::Purge);
        check(Task::Cancel(filter.clone()));
        check(Task::Cancel(DeliveryFilter::default()));
        check(replay(Selection::Filter(filter)));
        check(replay(Selection::Ids(vec![DeliveryId::from_number(1), DeliveryId::from_number(2)])));
        for endpoint_id in [None, Some(EndpointId::from_number(7))] {
            check(replay(Selection::DeadLetters { from: at, to: at, endpoint_id }));
        }
        assert!(task_from_json(JobKind::Cancel, r#"{"status": "lost"}"#).is_err());
    }
}
