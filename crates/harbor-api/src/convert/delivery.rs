//! Deliveries, attempts and dead letters.

use std::collections::BTreeMap;

use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::delivery::{Cause, DeadLetterState, Delivery, DeliveryStatus, DeliveryWithAttempts};
use harbor_model::invalid::FieldError;
use harbor_model::port::history::{DeadLetterFilter, DeadLetterGroup, DeadLetterSummary, DeliveryFilter};
use harbor_wire::delivery as wire;
use harbor_wire::event::ListEventDeliveries;

use crate::convert::checks::Checks;

/// Writes out a delivery.
pub(crate) fn write(delivery: &Delivery) -> wire::Delivery {
    wire::Delivery {
        id: delivery.id.to_string(),
        event_id: delivery.event_id.to_string(),
        endpoint_id: delivery.endpoint_id.to_string(),
        event_type: delivery.event_type.to_string(),
        status: write_status(delivery.status),
        attempt_count: delivery.attempt_count,
        next_attempt_at: delivery.next_attempt_at.map(|at| at.to_string()),
        created_at: delivery.created_at.to_string(),
        updated_at: delivery.updated_at.to_string(),
        delivered_at: delivery.delivered_at.map(|at| at.to_string()),
        replay_of: delivery.replay_of.map(|id| id.to_string()),
        cause: delivery.dead_letter.map(|letter| write_cause(letter.cause)),
    }
}

/// Writes out a delivery with its attempts.
pub(crate) fn write_with_attempts(found: &DeliveryWithAttempts) -> wire::DeliveryWithAttempts {
    wire::DeliveryWithAttempts {
        delivery: write(&found.delivery),
        attempts: found.attempts.iter().map(write_attempt).collect(),
    }
}

/// Writes out a delivery that is dead.
///
/// # Panics
/// It is not: the store named it among the dead letters.
pub(crate) fn write_dead_letter(delivery: &Delivery) -> wire::DeadLetter {
    let letter = delivery.dead_letter.expect("a dead letter is a delivery that is dead");
    wire::DeadLetter {
        delivery: write(delivery),
        dead_at: letter.dead_at.to_string(),
        state: match letter.state {
            DeadLetterState::Open => wire::DeadLetterState::Open,
            DeadLetterState::Replayed => wire::DeadLetterState::Replayed,
            DeadLetterState::Discarded => wire::DeadLetterState::Discarded,
        },
        replayed_by: letter.replayed_by.map(|id| id.to_string()),
    }
}

/// Writes out a count of dead letters.
pub(crate) fn write_dead_letter_summary(summary: &DeadLetterSummary) -> wire::DeadLetterSummary {
    let group = |group: &DeadLetterGroup| wire::DeadLetterGroup {
        endpoint_id: group.endpoint_id.to_string(),
        cause: write_cause(group.cause),
        count: group.count,
        first_dead_at: group.first_dead_at.to_string(),
        last_dead_at: group.last_dead_at.to_string(),
    };
    wire::DeadLetterSummary {
        data: summary.groups.iter().map(group).collect(),
        complete: summary.is_complete,
    }
}

fn write_attempt(attempt: &Attempt) -> wire::Attempt {
    wire::Attempt {
        id: attempt.id.to_string(),
        number: attempt.number,
        started_at: attempt.started_at.to_string(),
        latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
        http_status: attempt.http_status,
        error_class: attempt.error_class.map(write_error_class),
        error: attempt.error.clone(),
        // What an endpoint says need not be text.
        response_body: String::from_utf8_lossy(&attempt.response_body).into_owned(),
        response_headers: write_headers(&attempt.response_headers),
        remote_address: attempt.remote_address.map(|address| address.to_string()),
    }
}

/// A header that came several times is shown once, its values separated as HTTP allows.
fn write_headers(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        shown
            .entry(name.clone())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    shown
}

/// Writes out a status.
pub(crate) fn write_status(status: DeliveryStatus) -> wire::DeliveryStatus {
    match status {
        DeliveryStatus::Queued => wire::DeliveryStatus::Queued,
        DeliveryStatus::Inflight => wire::DeliveryStatus::Inflight,
        DeliveryStatus::Delivered => wire::DeliveryStatus::Delivered,
        DeliveryStatus::Failed => wire::DeliveryStatus::Failed,
        DeliveryStatus::Dead => wire::DeliveryStatus::Dead,
        DeliveryStatus::Cancelled => wire::DeliveryStatus::Cancelled,
    }
}

/// Reads a status.
pub(crate) fn read_status(status: wire::DeliveryStatus) -> DeliveryStatus {
    match status {
        wire::DeliveryStatus::Queued => DeliveryStatus::Queued,
        wire::DeliveryStatus::Inflight => DeliveryStatus::Inflight,
        wire::DeliveryStatus::Delivered => DeliveryStatus::Delivered,
        wire::DeliveryStatus::Failed => DeliveryStatus::Failed,
        wire::DeliveryStatus::Dead => DeliveryStatus::Dead,
        wire::DeliveryStatus::Cancelled => DeliveryStatus::Cancelled,
    }
}

fn write_cause(cause: Cause) -> wire::Cause {
    match cause {
        Cause::AttemptsExhausted => wire::Cause::AttemptsExhausted,
        Cause::ClientError => wire::Cause::ClientError,
        Cause::Redirect => wire::Cause::Redirect,
        Cause::EndpointGone => wire::Cause::EndpointGone,
        Cause::EndpointDisabled => wire::Cause::EndpointDisabled,
        Cause::BlockedAddress => wire::Cause::BlockedAddress,
        Cause::EventExpired => wire::Cause::EventExpired,
        Cause::WorkerCrash => wire::Cause::WorkerCrash,
    }
}

fn read_cause(cause: wire::Cause) -> Cause {
    match cause {
        wire::Cause::AttemptsExhausted => Cause::AttemptsExhausted,
        wire::Cause::ClientError => Cause::ClientError,
        wire::Cause::Redirect => Cause::Redirect,
        wire::Cause::EndpointGone => Cause::EndpointGone,
        wire::Cause::EndpointDisabled => Cause::EndpointDisabled,
        wire::Cause::BlockedAddress => Cause::BlockedAddress,
        wire::Cause::EventExpired => Cause::EventExpired,
        wire::Cause::WorkerCrash => Cause::WorkerCrash,
    }
}

fn write_error_class(class: ErrorClass) -> wire::ErrorClass {
    match class {
        ErrorClass::Timeout => wire::ErrorClass::Timeout,
        ErrorClass::ConnectionRefused => wire::ErrorClass::ConnectionRefused,
        ErrorClass::ConnectionReset => wire::ErrorClass::ConnectionReset,
        ErrorClass::Dns => wire::ErrorClass::Dns,
        ErrorClass::Tls => wire::ErrorClass::Tls,
        ErrorClass::Protocol => wire::ErrorClass::Protocol,
        ErrorClass::BlockedAddress => wire::ErrorClass::BlockedAddress,
        ErrorClass::Http3xx => wire::ErrorClass::Http3xx,
        ErrorClass::Http4xx => wire::ErrorClass::Http4xx,
        ErrorClass::Http429 => wire::ErrorClass::Http429,
        ErrorClass::Http5xx => wire::ErrorClass::Http5xx,
    }
}

/// Reads which deliveries a list shows.
pub(crate) fn read_filter(query: &wire::ListDeliveries) -> Result<DeliveryFilter, Vec<FieldError>> {
    let mut checks = Checks::default();
    let (since, until) = checks.span(query.since.as_deref(), query.until.as_deref());
    let filter = DeliveryFilter {
        endpoint_id: checks.parse("endpoint_id", query.endpoint_id.as_deref()),
        event_id: checks.parse("event_id", query.event_id.as_deref()),
        event_type: checks.parse("event_type", query.event_type.as_deref()),
        status: query.status.map(read_status),
        since,
        until,
    };
    checks.finish().map(|()| filter)
}

/// Reads which deliveries of one event a list shows.
pub(crate) fn read_event_filter(query: &ListEventDeliveries) -> Result<DeliveryFilter, Vec<FieldError>> {
    let mut checks = Checks::default();
    let (since, until) = checks.span(query.since.as_deref(), query.until.as_deref());
    let endpoint_id = checks.parse("endpoint_id", query.endpoint_id.as_deref());
    checks.finish().map(|()| DeliveryFilter { endpoint_id, since, until, ..DeliveryFilter::default() })
}

/// Reads which dead letters a list shows; the open ones unless it says otherwise.
pub(crate) fn read_dead_letter_filter(
    query: &wire::ListDeadLetters,
) -> Result<DeadLetterFilter, Vec<FieldError>> {
    let mut checks = Checks::default();
    let (since, until) = checks.span(query.since.as_deref(), query.until.as_deref());
    let filter = DeadLetterFilter {
        endpoint_id: checks.parse("endpoint_id", query.endpoint_id.as_deref()),
        event_type: checks.parse("event_type", query.event_type.as_deref()),
        cause: query.cause.map(read_cause),
        state: Some(match query.state {
            None | Some(wire::DeadLetterState::Open) => DeadLetterState::Open,
            Some(wire::DeadLetterState::Replayed) => DeadLetterState::Replayed,
            Some(wire::DeadLetterState::Discarded) => DeadLetterState::Discarded,
        }),
        since,
        until,
    };
    checks.finish().map(|()| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name as the network writes it.
    fn name(word: impl serde::Serialize) -> String {
        serde_json::to_value(word).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn words_are_the_same_inside_and_out() {
        for status in DeliveryStatus::ALL {
            assert_eq!(name(write_status(*status)), status.as_str());
            assert_eq!(read_status(write_status(*status)), *status);
        }
        for cause in Cause::ALL {
            assert_eq!(name(write_cause(*cause)), cause.as_str());
            assert_eq!(read_cause(write_cause(*cause)), *cause);
        }
        for class in ErrorClass::ALL {
            assert_eq!(name(write_error_class(*class)), class.as_str());
        }
    }

    #[test]
    fn a_repeated_header_is_shown_once() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let shown = write_headers(&[header("via", "a"), header("date", "d"), header("via", "b")]);
        assert_eq!(shown, BTreeMap::from([header("date", "d"), header("via", "a, b")]));
    }

    #[test]
    fn dead_letters_are_the_open_ones_unless_asked_otherwise() {
        let state = |query: &str| {
            let query: wire::ListDeadLetters = crate::query::parse(query).unwrap();
            read_dead_letter_filter(&query).unwrap().state
        };
        assert_eq!(state(""), Some(DeadLetterState::Open));
        assert_eq!(state("state=discarded"), Some(DeadLetterState::Discarded));
    }
}
