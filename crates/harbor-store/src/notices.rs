//! Notices' subjects as JSON, the way stores keep them. Only what the type of the event does not tell.

use harbor_model::delivery::Cause;
use harbor_model::endpoint::DisabledReason;
use harbor_model::notice::{CIRCUIT_OPENED, DELIVERY_DEAD, ENDPOINT_DISABLED, Subject};
use harbor_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Writes a subject. On PostgreSQL, deaths of many are written by SQL in the same form.
pub(crate) fn subject_to_json(subject: &Subject) -> String {
    serde_json::to_string(&SubjectJson::from(subject)).expect("a subject has only text keys")
}

/// Reads the subject of a notice of this kind; none where it is not one that this program knows.
pub(crate) fn subject_from_json(kind: &str, json: &str) -> Option<Subject> {
    let json: SubjectJson = serde_json::from_str(json).ok()?;
    let endpoint_id = json.endpoint_id.parse().ok()?;
    Some(match kind {
        ENDPOINT_DISABLED => {
            Subject::EndpointDisabled { endpoint_id, reason: DisabledReason::from_name(&json.reason?)? }
        }
        CIRCUIT_OPENED => Subject::CircuitOpened {
            endpoint_id,
            next_probe_at: Timestamp::from_unix_ms(json.next_probe_at_ms?),
        },
        DELIVERY_DEAD => Subject::DeliveryDead {
            delivery_id: json.delivery_id?.parse().ok()?,
            event_id: json.event_id?.parse().ok()?,
            event_type: json.event_type?.parse().ok()?,
            endpoint_id,
            cause: Cause::from_name(&json.cause?)?,
            attempt_count: json.attempt_count?,
        },
        _ => return None,
    })
}

#[derive(Default, Serialize, Deserialize)]
struct SubjectJson {
    endpoint_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_probe_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt_count: Option<u16>,
}

impl From<&Subject> for SubjectJson {
    fn from(subject: &Subject) -> Self {
        match subject {
            Subject::EndpointDisabled { endpoint_id, reason } => Self {
                endpoint_id: endpoint_id.to_string(),
                reason: Some(reason.as_str().to_owned()),
                ..Self::default()
            },
            Subject::CircuitOpened { endpoint_id, next_probe_at } => Self {
                endpoint_id: endpoint_id.to_string(),
                next_probe_at_ms: Some(next_probe_at.unix_ms()),
                ..Self::default()
            },
            Subject::DeliveryDead {
                delivery_id,
                event_id,
                event_type,
                endpoint_id,
                cause,
                attempt_count,
            } => Self {
                endpoint_id: endpoint_id.to_string(),
                delivery_id: Some(delivery_id.to_string()),
                event_id: Some(event_id.to_string()),
                event_type: Some(event_type.to_string()),
                cause: Some(cause.to_string()),
                attempt_count: Some(*attempt_count),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harbor_model::id::{DeliveryId, EndpointId, EventId};

    #[test]
    fn subjects_survive_their_json() {
        let endpoint_id = EndpointId::from_number(1);
        for subject in [
            Subject::EndpointDisabled { endpoint_id, reason: DisabledReason::Failing },
            Subject::CircuitOpened { endpoint_id, next_probe_at: Timestamp::from_unix_ms(1_800_000_000_000) },
            Subject::DeliveryDead {
                delivery_id: DeliveryId::from_number(2),
                event_id: EventId::from_number(3),
                event_type: "invoice.paid".parse().unwrap(),
                endpoint_id,
                cause: Cause::AttemptsExhausted,
                attempt_count: 5,
            },
        ] {
            let (kind, json) = (subject.event_type(), subject_to_json(&subject));
            assert_eq!(subject_from_json(kind.as_str(), &json), Some(subject), "{json}");
        }
        assert_eq!(subject_from_json("harborhook.other", "{}"), None);
    }
}
