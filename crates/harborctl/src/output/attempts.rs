//! Deliveries with their attempts, for people.

use harbor_wire::delivery::{Attempt, Delivery, DeliveryStatus, DeliveryWithAttempts};

use crate::args::word;
use crate::output::View;
use crate::output::table::{Cell, Column, Tone, plain};

/// The most characters of an answer that are shown; JSON has all of it.
const ANSWER_CHARS_MAX: usize = 400;

const COLUMNS: &[Column<Attempt>] = &[
    Column::new("ATTEMPT", |attempt, _| {
        attempt.number.map_or_else(|| Cell::new("late"), |number| Cell::new(format_args!("#{number}")))
    }),
    Column::new("STARTED", |attempt, view| Cell::time(&attempt.started_at, view)),
    Column::new("ANSWER", |attempt, _| answer(attempt)),
    Column::new("TOOK", |attempt, _| Cell::new(format_args!("{} ms", attempt.latency_ms))),
    Column::flexible("ERROR", |attempt, _| Cell::maybe(attempt.error.as_ref())),
    Column::roomy("ADDRESS", |attempt, _| Cell::maybe(attempt.remote_address.as_ref())),
];

/// What the endpoint answered, or why it did not.
pub(crate) fn answer(attempt: &Attempt) -> Cell {
    match (attempt.http_status, attempt.error_class) {
        (Some(status), None) => Cell::toned(status, Tone::Good),
        (Some(status), Some(_)) => Cell::toned(status, Tone::Bad),
        (None, Some(class)) => Cell::toned(word::print(&class), Tone::Bad),
        (None, None) => Cell::new("-"),
    }
}

/// Where a delivery stands.
pub(crate) fn status(status: DeliveryStatus) -> Cell {
    let tone = match status {
        DeliveryStatus::Delivered => Tone::Good,
        DeliveryStatus::Queued | DeliveryStatus::Inflight => Tone::Plain,
        DeliveryStatus::Failed => Tone::Waiting,
        DeliveryStatus::Dead | DeliveryStatus::Cancelled => Tone::Bad,
    };
    Cell::toned(word::print(&status), tone)
}

/// What there is to say of a delivery.
pub(crate) fn delivery_rows<'a>(delivery: &Delivery, view: &View) -> Vec<(&'a str, Cell)> {
    let mut rows = vec![
        ("delivery", Cell::new(&delivery.id)),
        ("status", status(delivery.status)),
        ("event", Cell::new(format_args!("{} ({})", delivery.event_id, delivery.event_type))),
        ("endpoint", Cell::new(&delivery.endpoint_id)),
        ("created", Cell::exact_time(&delivery.created_at, view)),
    ];
    let exact = |time: &String| Cell::exact_time(time, view);
    rows.extend(delivery.next_attempt_at.as_ref().map(|time| ("next attempt", exact(time))));
    rows.extend(delivery.delivered_at.as_ref().map(|time| ("delivered", exact(time))));
    rows.extend(delivery.cause.map(|cause| ("cause", Cell::toned(word::print(&cause), Tone::Bad))));
    rows.extend(delivery.replay_of.as_ref().map(|id| ("replay of", Cell::new(id))));
    rows
}

/// A delivery, its attempts, and what the endpoint last answered if that was no success.
pub(crate) fn render(one: &DeliveryWithAttempts, view: &View) -> String {
    let mut text = view.details(delivery_rows(&one.delivery, view));
    if !one.attempts.is_empty() {
        text.push_str("\n\n");
        text.push_str(&view.table(&one.attempts, COLUMNS));
    }
    let failed = one.attempts.last().filter(|attempt| attempt.error_class.is_some());
    if let Some(answer) = failed.map(|attempt| attempt.response_body.trim()).filter(|body| !body.is_empty()) {
        let shown: String = answer.chars().take(ANSWER_CHARS_MAX).collect();
        let more = if shown.len() < answer.len() { " …" } else { "" };
        text.push_str(&format!("\n\nlast answer: {}{more}", plain(&shown)));
    }
    text
}

/// Several deliveries with their attempts.
pub(crate) fn render_all(deliveries: &[DeliveryWithAttempts], view: &View) -> String {
    deliveries.iter().map(|one| render(one, view)).collect::<Vec<_>>().join("\n\n\n")
}
