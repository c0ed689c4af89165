//! One line for each attempt.

use harbor_wire::delivery::{Attempt, Cause, Delivery, DeliveryStatus};
use jiff::Timestamp;
use serde::Serialize;

use crate::args::word;
use crate::output::table::{Cell, Tone};
use crate::output::{View, attempts, time};

/// Below this width, the endpoint is left out.
const ENDPOINT_WIDTH_MIN: u16 = 150;

/// An attempt, and what it meant for its delivery.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) delivery_id: String,
    event_id: String,
    event_type: String,
    endpoint_id: String,
    /// How it left the delivery; null for one whose result came too late to count.
    pub(super) status: Option<DeliveryStatus>,
    cause: Option<Cause>,
    next_attempt_at: Option<String>,
    pub(super) attempt: Attempt,
}

impl Line {
    /// The line of an attempt; `last` is the number of the delivery's last one.
    pub(super) fn new(delivery: &Delivery, attempt: Attempt, last: Option<u16>) -> Self {
        let is_last = attempt.number == last;
        let status = match (attempt.number, attempt.error_class) {
            (None, _) => None,
            (Some(_), None) => Some(DeliveryStatus::Delivered),
            (Some(_), Some(_)) if is_last && delivery.status == DeliveryStatus::Dead => {
                Some(DeliveryStatus::Dead)
            }
            (Some(_), Some(_)) => Some(DeliveryStatus::Failed),
        };
        let waits = is_last && delivery.status == DeliveryStatus::Failed;
        Self {
            delivery_id: delivery.id.clone(),
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
            endpoint_id: delivery.endpoint_id.clone(),
            status,
            cause: delivery.cause.filter(|_| status == Some(DeliveryStatus::Dead)),
            next_attempt_at: delivery.next_attempt_at.clone().filter(|_| waits),
            attempt,
        }
    }

    /// The line for people. Columns are as wide as what usually stands in them.
    pub(super) fn render(&self, view: &View) -> String {
        let has_room = view.width.is_none_or(|width| width >= ENDPOINT_WIDTH_MIN);
        let number = self.attempt.number.map_or_else(|| "late".to_owned(), |number| format!("#{number}"));
        let took = format!("{} ms", self.attempt.latency_ms);
        let mut parts = vec![
            Cell::new(time_of_day(&self.attempt.started_at)).painted(13, view),
            Cell::new(&self.delivery_id).painted(30, view),
            Cell::new(&self.event_type).painted(20, view),
        ];
        parts.extend(has_room.then(|| Cell::new(&self.endpoint_id).painted(29, view)));
        parts.extend([
            Cell::new(number).painted(4, view),
            attempts::answer(&self.attempt).painted(18, view),
            Cell::new(format_args!("{took:>8}")).painted(8, view),
            self.consequence(view).painted(0, view),
        ]);
        parts.join("  ")
    }

    /// What comes next.
    fn consequence(&self, view: &View) -> Cell {
        let Some(status) = self.status else { return Cell::new("counts for nothing") };
        let text = match (status, &self.next_attempt_at, self.cause) {
            (DeliveryStatus::Failed, Some(next), _) => format!("next {}", time::relative(next, view.now)),
            (_, _, Some(cause)) => format!("{}: {}", word::print(&status), word::print(&cause)),
            (_, _, None) => word::print(&status),
        };
        let tone = match status {
            DeliveryStatus::Delivered => Tone::Good,
            DeliveryStatus::Dead => Tone::Bad,
            DeliveryStatus::Queued
            | DeliveryStatus::Inflight
            | DeliveryStatus::Failed
            | DeliveryStatus::Cancelled => Tone::Waiting,
        };
        Cell::toned(text, tone)
    }
}

/// A time of the API without its date: `12:00:00.123Z`.
fn time_of_day(time: &str) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: Option<u16>, http_status: Option<u16>) -> Attempt {
        let is_good = http_status.is_some_and(|status| status < 400);
        let class = if http_status.is_some() { "http_5xx" } else { "connection_refused" };
        let class = (!is_good).then(|| serde_json::from_value(class.into()).unwrap());
        Attempt {
            id: "att_1".to_owned(),
            number,
            started_at: "2026-01-31T12:00:00.007Z".to_owned(),
            latency_ms: 20,
            http_status,
            error_class: class,
            error: None,
            response_body: String::new(),
            response_headers: [].into(),
            remote_address: None,
        }
    }

    fn delivery(status: DeliveryStatus, cause: Option<Cause>, next: Option<&str>) -> Delivery {
        let time = "2026-01-31T12:00:00.000Z".to_owned();
        Delivery {
            id: "dlv_1".to_owned(),
            event_id: "evt_1".to_owned(),
            endpoint_id: "ep_1".to_owned(),
            event_type: "a.b".to_owned(),
            status,
            attempt_count: 2,
            next_attempt_at: next.map(str::to_owned),
            created_at: time.clone(),
            updated_at: time,
            delivered_at: None,
            replay_of: None,
            cause,
        }
    }

    #[test]
    fn a_line_says_what_the_attempt_meant() {
        let view = View { width: Some(80), color: false, now: "2026-01-31T12:00:00Z".parse().unwrap() };
        let check = |delivery: Delivery, attempt: Attempt, expected: &str| {
            let text = Line::new(&delivery, attempt, Some(2)).render(&view);
            let parts: Vec<_> = text.split_whitespace().collect();
            assert_eq!(parts.join(" "), format!("12:00:00.007Z dlv_1 a.b {expected}"));
        };
        let next = Some("2026-01-31T12:00:05.000Z");
        let (failed, dead) = (DeliveryStatus::Failed, DeliveryStatus::Dead);
        let delivered = || delivery(DeliveryStatus::Delivered, None, None);
        check(delivered(), attempt(Some(2), Some(204)), "#2 204 20 ms delivered");
        check(delivered(), attempt(Some(1), Some(503)), "#1 503 20 ms failed");
        check(delivered(), attempt(None, Some(200)), "late 200 20 ms counts for nothing");
        check(delivery(failed, None, next), attempt(Some(2), None), "#2 connection_refused 20 ms next in 5s");
        check(delivery(failed, None, next), attempt(Some(1), Some(500)), "#1 500 20 ms failed");
        check(
            delivery(dead, Some(Cause::AttemptsExhausted), None),
            attempt(Some(2), Some(500)),
            "#2 500 20 ms dead: attempts_exhausted",
        );
        check(
            delivery(DeliveryStatus::Inflight, None, next),
            attempt(Some(2), Some(500)),
            "#2 500 20 ms failed",
        );
    }

    #[test]
    fn columns_stand_below_each_other() {
        let view = View { width: None, color: false, now: Timestamp::UNIX_EPOCH };
        let line =
            Line::new(&delivery(DeliveryStatus::Delivered, None, None), attempt(Some(2), Some(200)), Some(2));
        assert_eq!(line.render(&view).find("delivered"), Some(13 + 30 + 20 + 29 + 4 + 18 + 8 + 7 * 2));
        let color = View { color: true, ..view };
        assert!(line.render(&color).contains("\u{1b}[32m200\u{1b}[0m "), "{}", line.render(&color));
    }
}
