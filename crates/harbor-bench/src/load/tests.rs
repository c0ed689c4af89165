use super::*;

#[test]
fn counts_what_was_acknowledged_and_why_the_rest_was_not() {
    let mut tally = Tally::new(1);
    tally.count_answer(br#"{"event_id":"evt_1","fanout_count":1,"duplicate":false}"#, 0, 1);
    tally.count_answer(br#"{"event_id":"evt_2","fanout_count":0,"duplicate":false}"#, 0, 1);
    tally.count_answer(
        br#"{"results":[
            {"event_id":"evt_3","fanout_count":1,"duplicate":false},
            {"error":{"status":503,"code":"storage_away"}}
        ]}"#,
        0,
        1,
    );
    tally.count_answer(br#"{"event_id":"evt_1","fanout_count":1,"duplicate":true}"#, 0, 1);
    tally.count_answer(b"nonsense", 0, 1);
    tally.count_refusal(429, br#"{"status":429,"code":"quota"}"#);
    tally.count_refusal(502, b"<html>");

    assert_eq!(tally.acknowledged, [[b"evt_1", b"evt_2", b"evt_3"].map(|id| event_key::of(id))]);
    assert_eq!(tally.fan_out_wrong, 1);
    let errors: Vec<_> = tally.errors.iter().map(|(error, count)| (error.as_str(), *count)).collect();
    assert_eq!(
        errors,
        [
            ("200 duplicate", 1),
            ("429 quota", 1),
            ("502", 1),
            ("503 storage_away", 1),
            ("unreadable answer", 1)
        ]
    );
}

#[test]
fn a_source_names_a_single_delivery_instead_of_counting() {
    let mut tally = Tally::new(1);
    tally.count_answer(br#"{"event_id":"evt_1","delivery_id":"dlv_1","duplicate":false}"#, 0, 1);
    assert_eq!((tally.acknowledged[0].len(), tally.fan_out_wrong), (1, 0));
    tally.count_answer(br#"{"event_id":"evt_2","duplicate":false}"#, 0, 1);
    assert_eq!((tally.acknowledged[0].len(), tally.fan_out_wrong), (2, 1));
    tally.count_answer(br#"{"event_id":"evt_1","delivery_id":"dlv_1","duplicate":true}"#, 0, 1);
    tally.count_answer(br#"{"event_id":"evt_3","delivery_id":"dlv_3"}"#, 0, 1);
    assert_eq!((tally.acknowledged[0].len(), tally.errors.len()), (2, 2));
}

#[test]
fn what_two_connections_counted_adds_up_for_each_tenant() {
    let mut one = Tally::new(2);
    one.count_answer(br#"{"event_id":"evt_1","fanout_count":1,"duplicate":false}"#, 0, 1);
    one.count_error("503");
    let mut two = Tally::new(2);
    two.count_answer(br#"{"event_id":"evt_2","fanout_count":1,"duplicate":false}"#, 0, 1);
    two.count_answer(br#"{"event_id":"evt_3","fanout_count":1,"duplicate":false}"#, 1, 1);
    two.count_error("503");

    one.merge(two);

    let acknowledged: Vec<_> = one.acknowledged.iter().map(Vec::len).collect();
    assert_eq!((one.requests, acknowledged, one.errors["503"]), (3, vec![2, 1], 2));
}

#[test]
fn the_events_of_a_batch_that_were_refused_are_counted() {
    let mut tally = Tally::new(1);
    let answer = br#"{"results":[
        {"error":{"status":429,"code":"crowded"}},
        {"event_id":"evt_1","fanout_count":1,"duplicate":false},
        {"error":{"status":429,"code":"crowded"}},
        {"error":{"status":422,"code":"invalid"}}
    ]}"#;
    assert_eq!(tally.count_answer(answer, 0, 1), 2);
    assert_eq!(tally.acknowledged[0].len(), 1);
    assert_eq!(tally.errors["429 crowded"], 2);
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let check = |retry_after: Option<&str>, expected| {
        let mut answer = Response::new(Bytes::new());
        if let Some(text) = retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, text.parse().unwrap());
        }
        assert_eq!(super::retry_after(&answer), Duration::from_secs(expected), "{retry_after:?}");
    };
    check(Some("3"), 3);
    check(Some("0"), 0);
    check(Some("soon"), 1);
    check(None, 1);
}
