//! What people ask of a job, and the rules of it.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use aws_lc_rs::digest;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::id::{DeliveryId, EndpointId};
use harbor_model::invalid::FieldError;
use harbor_model::job::{ReplayTask, Selection};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::time::Timestamp;

use crate::dead_letters::check_text;
use crate::jobs::Settings;

/// A replay of many deliveries that somebody asks for. Exactly one of the first three says of which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayJobRequest {
    /// These.
    pub delivery_ids: Option<Vec<DeliveryId>>,
    /// Open dead letters that died within a range.
    pub dlq_range: Option<DeadLetterRange>,
    /// Final deliveries that match.
    pub filter: Option<DeliveryFilter>,
    /// The most replays made per second; none for as fast as it goes.
    pub rate_per_second: Option<u32>,
    /// Whether it only counts what it would replay.
    pub is_dry_run: bool,
    /// Whether receivers are to take replays for new webhooks rather than repeats.
    pub new_webhook_id: bool,
    /// Why, for people.
    pub reason: Option<String>,
    /// Makes a repeated request the same one.
    pub idempotency_key: Option<String>,
}

/// Dead letters that died in `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterRange {
    /// The earliest death.
    pub from: Timestamp,
    /// After the latest death.
    pub to: Timestamp,
    /// Of this endpoint alone.
    pub endpoint_id: Option<EndpointId>,
}

/// The bounds of the rate of a replay, in replays per second.
pub(super) const RATE: RangeInclusive<u32> = 1..=100_000;

/// A request that keeps the rules.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) task: ReplayTask,
    pub(super) idempotency_key: Option<String>,
}

/// Holds a request against the rules.
///
/// # Errors
/// Every field that breaks one.
pub(super) fn check(request: ReplayJobRequest, settings: &Settings) -> Result<Checked, Vec<FieldError>> {
    let mut wrong = Vec::new();
    check_text(&mut wrong, "reason", request.reason.as_deref(), 0..=settings.reason_chars_max);
    check_text(&mut wrong, "idempotency_key", request.idempotency_key.as_deref(), 1..=settings.key_chars_max);
    if request.rate_per_second.is_some_and(|rate| !RATE.contains(&rate)) {
        let rule = format!("must be {} to {}", RATE.start(), RATE.end());
        wrong.push(FieldError::new("rate_per_second", rule));
    }
    let selection = match (request.delivery_ids, request.dlq_range, request.filter) {
        (Some(ids), None, None) => Some(named(ids, settings, &mut wrong)),
        (None, Some(range), None) => Some(of_range(range, &mut wrong)),
        (None, None, Some(filter)) => {
            check_replayed(&filter, &mut wrong);
            Some(Selection::Filter(filter))
        }
        (ids, range, _) => {
            let field = match (ids, range) {
                (None, None) => "delivery_ids",
                (Some(_), Some(_)) => "dlq_range",
                (Some(_), None) | (None, Some(_)) => "filter",
            };
            wrong.push(FieldError::new(field, "exactly one of delivery_ids, dlq_range and filter is needed"));
            None
        }
    };
    match selection {
        Some(selection) if wrong.is_empty() => Ok(Checked {
            task: ReplayTask {
                selection,
                rate_per_second: request.rate_per_second,
                is_dry_run: request.is_dry_run,
                new_webhook_id: request.new_webhook_id,
                reason: request.reason,
            },
            idempotency_key: request.idempotency_key,
        }),
        Some(_) | None => Err(wrong),
    }
}

/// Holds the filter of a cancel job against the rules.
///
/// # Errors
/// Every field that breaks one.
pub(super) fn check_cancel(filter: &DeliveryFilter) -> Result<(), Vec<FieldError>> {
    let mut wrong = Vec::new();
    check_times(filter, &mut wrong);
    if filter.status.is_some_and(is_final) {
        wrong.push(FieldError::new("filter.status", "must be queued, inflight or failed: others have ended"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// The deliveries that are named, each once.
fn named(ids: Vec<DeliveryId>, settings: &Settings, wrong: &mut Vec<FieldError>) -> Selection {
    if !(1..=settings.ids_max).contains(&ids.len()) {
        let rule = format!("must name 1 to {} deliveries", settings.ids_max);
        wrong.push(FieldError::new("delivery_ids", rule));
    }
    let mut seen = HashSet::new();
    Selection::Ids(ids.into_iter().filter(|id| seen.insert(*id)).collect())
}

fn of_range(range: DeadLetterRange, wrong: &mut Vec<FieldError>) -> Selection {
    let DeadLetterRange { from, to, endpoint_id } = range;
    if from >= to {
        wrong.push(FieldError::new("dlq_range.to", "must be after dlq_range.from"));
    }
    Selection::DeadLetters { from, to, endpoint_id }
}

fn check_replayed(filter: &DeliveryFilter, wrong: &mut Vec<FieldError>) {
    check_times(filter, wrong);
    if filter.status.is_some_and(|status| !is_final(status)) {
        let rule = "must be delivered, dead or cancelled: others have not ended";
        wrong.push(FieldError::new("filter.status", rule));
    }
    // Everything that was ever delivered is what nobody means.
    if *filter == DeliveryFilter::default() {
        wrong.push(FieldError::new("filter", "must narrow what is replayed by at least one field"));
    }
}

fn check_times(filter: &DeliveryFilter, wrong: &mut Vec<FieldError>) {
    if filter.since.zip(filter.until).is_some_and(|(since, until)| since >= until) {
        wrong.push(FieldError::new("filter.until", "must be after filter.since"));
    }
}

fn is_final(status: DeliveryStatus) -> bool {
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed => false,
        DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled => true,
    }
}

/// What a repeat under the same idempotency key must agree in: SHA-256 of all that is asked.
pub(super) fn fingerprint(task: &ReplayTask) -> [u8; 32] {
    let ReplayTask { selection, rate_per_second, is_dry_run, new_webhook_id, reason } = task;
    let mut print = Print(digest::Context::new(&digest::SHA256));
    print.part("rate_per_second", rate_per_second.map(|rate| rate.to_string()));
    print.part("is_dry_run", Some(is_dry_run.to_string()));
    print.part("new_webhook_id", Some(new_webhook_id.to_string()));
    print.part("reason", reason.clone());
    match selection {
        Selection::Ids(ids) => {
            for id in ids {
                print.part("delivery_id", Some(id.to_string()));
            }
        }
        Selection::DeadLetters { from, to, endpoint_id } => {
            print.part("from", Some(from.to_string()));
            print.part("to", Some(to.to_string()));
            print.part("dead_letters_of", endpoint_id.map(|id| id.to_string()));
        }
        Selection::Filter(DeliveryFilter { endpoint_id, event_id, event_type, status, since, until }) => {
            print.part("endpoint_id", endpoint_id.map(|id| id.to_string()));
            print.part("event_id", event_id.map(|id| id.to_string()));
            print.part("event_type", event_type.as_ref().map(ToString::to_string));
            print.part("status", status.map(|status| status.to_string()));
            print.part("since", since.map(|since| since.to_string()));
            print.part("until", until.map(|until| until.to_string()));
        }
    }
    print.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A digest of named parts, in which no two lists of parts are the same bytes.
struct Print(digest::Context);

impl Print {
    /// Adds a part; nothing where there is none.
    fn part(&mut self, name: &str, value: Option<String>) {
        let Some(value) = value else { return };
        for text in [name, &value] {
            self.0.update(&(text.len() as u64).to_be_bytes());
            self.0.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
