use super::*;

fn timetable(events_per_second: u64, events_per_request: u64) -> Timetable {
    Timetable { start_us: 5_000_000, requests: 10_000, events_per_request, events_per_second }
}

#[test]
fn requests_are_due_at_even_distances() {
    let check = |rate, per_request, number, expected_us: u64| {
        assert_eq!(
            timetable(rate, per_request).due_us(number),
            5_000_000 + expected_us,
            "{rate}/s, number {number}"
        );
    };
    check(1_000, 1, 0, 0);
    check(1_000, 1, 1, 1_000);
    check(1_000, 1, 9_999, 9_999_000);
    check(3, 1, 1, 333_333);
    check(3, 1, 3, 1_000_000);
    check(1_000, 100, 1, 100_000);
}

#[test]
fn a_request_is_counted_from_the_microsecond_it_is_due() {
    for (rate, per_request) in
        [(1, 1), (3, 1), (7, 1), (999, 1), (1_000, 1), (30_000, 1), (1_000, 100), (7, 3)]
    {
        let timetable = timetable(rate, per_request);
        for number in 0..200 {
            let due_us = timetable.due_us(number);
            assert!(timetable.due_by(due_us) > number, "{rate}/s: number {number} is due at {due_us}");
            assert!(
                timetable.due_by(due_us - 1) <= number,
                "{rate}/s: number {number} is not due before {due_us}"
            );
        }
    }
}

#[test]
fn nothing_is_due_before_the_start_and_no_more_than_all_after_the_end() {
    let timetable = timetable(1_000, 1);
    assert_eq!(timetable.due_by(0), 0);
    assert_eq!(timetable.due_by(4_999_999), 0);
    assert_eq!(timetable.due_by(60_000_000), 10_000);
}

#[tokio::test]
async fn a_closed_loop_ends_after_its_requests() {
    let schedule = Schedule::closed(u64::MAX, 2);
    assert!(schedule.next().await.is_some());
    assert!(schedule.next().await.is_some());
    assert_eq!(schedule.next().await, None);
}

#[tokio::test]
async fn a_closed_loop_ends_at_its_time() {
    assert_eq!(Schedule::closed(clock::now_us(), u64::MAX).next().await, None);
}

#[tokio::test]
async fn an_open_loop_hands_out_late_requests_with_the_time_they_were_due() {
    let start_us = clock::now_us() - 1_000_000;
    let timetable = Timetable { start_us, requests: 3, events_per_request: 1, events_per_second: 100 };
    let schedule = Arc::new(Schedule::open(timetable, u64::MAX));

    pace(&schedule, 1);

    for number in 0..3 {
        assert_eq!(schedule.next().await, Some(start_us + number * 10_000));
    }
    assert_eq!(schedule.next().await, None);
    assert_eq!(schedule.unsent(), 0);
}

#[tokio::test]
async fn an_open_loop_that_gave_up_says_how_much_it_never_sent() {
    let start_us = clock::now_us() - 1_000_000;
    let timetable = Timetable { start_us, requests: 3, events_per_request: 1, events_per_second: 100 };
    let schedule = Arc::new(Schedule::open(timetable, start_us));

    pace(&schedule, 1);

    assert_eq!(schedule.next().await, None);
    assert_eq!(schedule.unsent(), 3);
}
