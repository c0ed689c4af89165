use super::*;

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
const T1: Timestamp = Timestamp::from_unix_ms(1_700_000_060_000);

fn fields(checked: Result<impl Sized, Vec<FieldError>>) -> Vec<String> {
    checked.err().unwrap_or_default().into_iter().map(|error| error.field).collect()
}

fn ids(numbers: impl IntoIterator<Item = u128>) -> Vec<DeliveryId> {
    numbers.into_iter().map(DeliveryId::from_number).collect()
}

fn of_ids(numbers: impl IntoIterator<Item = u128>) -> ReplayJobRequest {
    ReplayJobRequest { delivery_ids: Some(ids(numbers)), ..ReplayJobRequest::default() }
}

fn of_range(from: Timestamp, to: Timestamp) -> ReplayJobRequest {
    let range = DeadLetterRange { from, to, endpoint_id: None };
    ReplayJobRequest { dlq_range: Some(range), ..ReplayJobRequest::default() }
}

fn of_filter(filter: DeliveryFilter) -> ReplayJobRequest {
    ReplayJobRequest { filter: Some(filter), ..ReplayJobRequest::default() }
}

fn status(status: DeliveryStatus) -> DeliveryFilter {
    DeliveryFilter { status: Some(status), ..DeliveryFilter::default() }
}

fn between(since: Timestamp, until: Timestamp) -> DeliveryFilter {
    DeliveryFilter { since: Some(since), until: Some(until), ..DeliveryFilter::default() }
}

#[test]
fn every_field_of_a_replay_that_is_wrong_is_named() {
    let settings = Settings { ids_max: 3, ..Settings::default() };
    let check = |request: ReplayJobRequest, expected: &[&str]| {
        assert_eq!(fields(check(request.clone(), &settings)), expected, "{request:?}");
    };
    check(ReplayJobRequest::default(), &["delivery_ids"]);
    check(ReplayJobRequest { dlq_range: of_range(T0, T1).dlq_range, ..of_ids([1]) }, &["dlq_range"]);
    check(ReplayJobRequest { filter: Some(DeliveryFilter::default()), ..of_range(T0, T1) }, &["filter"]);

    check(of_ids([]), &["delivery_ids"]);
    check(of_ids(1..=3), &[]);
    check(of_ids(1..=4), &["delivery_ids"]);

    check(of_range(T0, T1), &[]);
    check(of_range(T0, T0), &["dlq_range.to"]);

    check(of_filter(DeliveryFilter::default()), &["filter"]);
    check(of_filter(between(T0, T1)), &[]);
    check(of_filter(between(T1, T0)), &["filter.until"]);
    check(of_filter(status(DeliveryStatus::Dead)), &[]);
    check(of_filter(status(DeliveryStatus::Failed)), &["filter.status"]);

    for (rate, expected) in
        [(0, &["rate_per_second"][..]), (1, &[]), (100_000, &[]), (100_001, &["rate_per_second"])]
    {
        check(ReplayJobRequest { rate_per_second: Some(rate), ..of_ids([1]) }, expected);
    }
    check(
        ReplayJobRequest {
            reason: Some("\0".to_owned()),
            idempotency_key: Some(String::new()),
            rate_per_second: Some(0),
            ..of_ids([])
        },
        &["reason", "idempotency_key", "rate_per_second", "delivery_ids"],
    );
}

#[test]
fn a_delivery_that_is_named_twice_is_replayed_once() {
    let checked = check(of_ids([2, 1, 2]), &Settings::default()).unwrap();
    assert_eq!(checked.task.selection, Selection::Ids(ids([2, 1])));
}

#[test]
fn a_cancel_job_is_about_what_is_open() {
    let check = |filter: DeliveryFilter, expected: &[&str]| {
        assert_eq!(fields(check_cancel(&filter)), expected, "{filter:?}");
    };
    check(DeliveryFilter::default(), &[]);
    check(status(DeliveryStatus::Inflight), &[]);
    check(status(DeliveryStatus::Dead), &["filter.status"]);
    check(between(T1, T0), &["filter.until"]);
}

#[test]
fn requests_that_differ_have_different_fingerprints() {
    let range = DeadLetterRange { from: T0, to: T1, endpoint_id: Some(EndpointId::from_number(7)) };
    let requests = [
        of_ids([1]),
        of_ids([1, 2]),
        of_ids([2, 1]),
        ReplayJobRequest { is_dry_run: true, ..of_ids([1]) },
        ReplayJobRequest { new_webhook_id: true, ..of_ids([1]) },
        ReplayJobRequest { rate_per_second: Some(5), ..of_ids([1]) },
        ReplayJobRequest { reason: Some(String::new()), ..of_ids([1]) },
        ReplayJobRequest { reason: Some("a".to_owned()), ..of_ids([1]) },
        of_range(T0, T1),
        ReplayJobRequest { dlq_range: Some(range), ..ReplayJobRequest::default() },
        of_filter(between(T0, T1)),
        of_filter(DeliveryFilter { since: Some(T0), ..DeliveryFilter::default() }),
        of_filter(DeliveryFilter { until: Some(T0), ..DeliveryFilter::default() }),
        of_filter(status(DeliveryStatus::Dead)),
        of_filter(DeliveryFilter { endpoint_id: range.endpoint_id, ..DeliveryFilter::default() }),
    ];
    let print =
        |request: &ReplayJobRequest| fingerprint(&check(request.clone(), &Settings::default()).unwrap().task);
    let prints: HashSet<_> = requests.iter().map(print).collect();
    assert_eq!(prints.len(), requests.len());
    assert_eq!(print(&requests[0]), print(&of_ids([1, 1])), "the same is asked");
}
