use std::time::Duration;

use super::*;

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// How many go in `time` where steps of at most `most` are made every `every`.
fn went(per_second: u32, most: usize, every: Duration, time: Duration) -> u64 {
    let mut pace = Pace::new(per_second, T0);
    let (mut now, mut went) = (T0, 0);
    while now <= T0 + time {
        match pace.room(most, now) {
            Ok(room) => {
                pace.spend(room as u64);
                went += room as u64;
                now = now + every;
            }
            Err(ready_at) => now = ready_at,
        }
    }
    went
}

#[test]
fn the_rate_holds_from_the_beginning_and_over_time() {
    let check = |per_second: u32, every_ms, seconds: u64| {
        let went = went(per_second, 5_000, Duration::from_millis(every_ms), Duration::from_secs(seconds));
        let expected = u64::from(per_second) * seconds;
        let strayed = went.abs_diff(expected) as f64 / expected as f64;
        assert!(strayed <= 0.02, "{per_second}/s every {every_ms} ms: {went} of {expected}");
    };
    check(500, 50, 5);
    check(500, 50, 60);
    check(500, 370, 60);
    check(500, 1_000, 60);
    check(1, 50, 120);
    check(10_000, 50, 10);
}

#[test]
fn what_had_room_and_did_not_go_keeps_it() {
    let mut pace = Pace::new(10, T0);
    assert!(pace.room(5, T0).is_err(), "it begins with nothing");
    let now = T0 + Duration::from_secs(1);
    assert_eq!(pace.room(5, now), Ok(5));
    pace.spend(2);
    assert_eq!(pace.room(100, now), Ok(8));
    pace.spend(8);
    assert!(pace.room(5, now).is_err());
}

#[test]
fn a_long_wait_is_made_up_for_by_a_second_at_most() {
    let mut pace = Pace::new(10, T0);
    assert_eq!(pace.room(100, T0 + Duration::from_secs(60)), Ok(10));
}
