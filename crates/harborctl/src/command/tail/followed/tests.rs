use super::*;

const BEGAN: &str = "2026-01-31T12:00:00.000Z";

fn at(seconds: i64) -> Timestamp {
    BEGAN.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn text(seconds: i64) -> String {
    crate::clock::rfc3339(at(seconds))
}

/// A delivery that was made at second `created`.
fn delivery(id: &str, created: i64, status: DeliveryStatus, attempt_count: u16) -> Delivery {
    Delivery {
        id: id.to_owned(),
        event_id: "evt_1".to_owned(),
        endpoint_id: "ep_1".to_owned(),
        event_type: "a.b".to_owned(),
        status,
        attempt_count,
        next_attempt_at: None,
        created_at: text(created),
        updated_at: text(created),
        delivered_at: None,
        replay_of: None,
        cause: None,
    }
}

/// The delivery with an attempt at each of these seconds.
fn with_attempts(delivery: Delivery, started: &[i64]) -> DeliveryWithAttempts {
    let attempt = |(index, second): (usize, &i64)| Attempt {
        id: format!("att_{index}"),
        number: u16::try_from(index + 1).ok(),
        started_at: text(*second),
        latency_ms: 20,
        http_status: Some(500),
        error_class: serde_json::from_value("http_5xx".into()).unwrap(),
        error: None,
        response_body: String::new(),
        response_headers: [].into(),
        remote_address: None,
    };
    DeliveryWithAttempts { delivery, attempts: started.iter().enumerate().map(attempt).collect() }
}

fn numbers(lines: &[Line]) -> Vec<u16> {
    lines.iter().filter_map(|line| line.attempt.number).collect()
}

#[test]
fn what_was_there_before_is_not_shown_and_what_comes_is_shown_once() {
    let mut followed = Followed::new(at(0));
    let failed = delivery("dlv_1", -60, DeliveryStatus::Failed, 2);
    followed.see(&failed, at(0));
    assert_eq!(followed.due(at(0), 10), [""; 0]);
    assert_eq!(followed.due(at(2), 10), ["dlv_1"]);

    let tried = delivery("dlv_1", -60, DeliveryStatus::Failed, 3);
    let lines = followed.read(with_attempts(tried.clone(), &[-60, -30, 1]), at(2));
    assert_eq!(numbers(&lines), [3]);
    let lines = followed.read(with_attempts(tried, &[-60, -30, 1]), at(4));
    assert_eq!(numbers(&lines), [0; 0]);
}

#[test]
fn a_new_delivery_is_read_when_it_was_tried() {
    let mut followed = Followed::new(at(0));
    followed.see(&delivery("dlv_1", 1, DeliveryStatus::Queued, 0), at(1));
    assert_eq!(followed.due(at(1), 10), [""; 0]);
    followed.see(&delivery("dlv_2", 1, DeliveryStatus::Delivered, 1), at(1));
    followed.see(&delivery("dlv_1", 1, DeliveryStatus::Failed, 1), at(1));
    assert_eq!(followed.due(at(1), 10), ["dlv_2", "dlv_1"]);
    assert_eq!(followed.due(at(1), 1), ["dlv_2"]);

    let read = with_attempts(delivery("dlv_2", 1, DeliveryStatus::Delivered, 1), &[1]);
    assert_eq!(numbers(&followed.read(read, at(1))), [1]);
    followed.see(&delivery("dlv_2", 1, DeliveryStatus::Delivered, 1), at(2));
    assert_eq!(followed.due(at(1), 10), ["dlv_1"]);
}

#[test]
fn a_delivery_is_looked_at_when_it_is_due_and_less_often_while_nothing_happens() {
    let mut followed = Followed::new(at(0));
    let planned =
        Delivery { next_attempt_at: Some(text(10)), ..delivery("dlv_1", -1, DeliveryStatus::Failed, 1) };
    followed.see(&planned, at(0));
    assert_eq!(followed.due(at(10), 10), [""; 0]);
    assert_eq!(followed.due(at(11), 10), ["dlv_1"]);

    let queued = || delivery("dlv_2", -1, DeliveryStatus::Queued, 0);
    followed.see(&queued(), at(0));
    let mut looks = 0;
    for second in 0..100 {
        if followed.due(at(second), 10).contains(&"dlv_2".to_owned()) {
            looks += 1;
            followed.read(with_attempts(queued(), &[]), at(second));
        }
    }
    assert_eq!(looks, 7);
}

#[test]
fn what_has_ended_is_forgotten_when_it_is_listed_no_more() {
    let mut followed = Followed::new(at(0));
    followed.see(&delivery("dlv_1", 1, DeliveryStatus::Delivered, 1), at(1));
    followed.read(with_attempts(delivery("dlv_1", 1, DeliveryStatus::Delivered, 1), &[1]), at(1));
    assert_eq!((followed.trim(), followed.known.len()), (0, 1));
    followed.see(&delivery("dlv_2", 9, DeliveryStatus::Queued, 0), at(9));
    assert_eq!(followed.since(), at(7));
    assert_eq!((followed.trim(), followed.known.len()), (0, 1));
}

#[test]
fn what_is_too_much_is_counted_and_given_up() {
    let mut followed = Followed::new(at(0));
    for n in 0..UNREAD_MAX + 7 {
        followed.see(&delivery(&format!("dlv_{n}"), 1, DeliveryStatus::Delivered, 1), at(1));
    }
    assert_eq!((followed.drop_unread(), followed.drop_unread()), (7, 0));
    assert_eq!(followed.due(at(1), 1), ["dlv_7"]);
    assert_eq!(followed.due(at(1), 1_000).len(), UNREAD_MAX);

    let mut followed = Followed::new(at(0));
    for n in 0..FOLLOWED_MAX + 5 {
        followed.see(&delivery(&format!("dlv_{n}"), 1, DeliveryStatus::Queued, 0), at(1));
    }
    assert_eq!((followed.trim(), followed.known.len()), (5, FOLLOWED_MAX));
}
