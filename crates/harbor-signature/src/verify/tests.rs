use super::*;

const NOW: i64 = 1_614_265_330;

#[test]
fn a_timestamp_is_canonical_decimal() {
    for malformed in
        ["", "+1614265330", "-1614265330", "01614265330", "1614265330.0", " 1614265330", "1e9", "٣"]
    {
        assert_eq!(check_fresh(malformed, NOW), Err(VerifyError::MalformedTimestamp), "{malformed:?}");
    }
    assert_eq!(check_fresh("9223372036854775808", NOW), Err(VerifyError::MalformedTimestamp));
}

#[test]
fn a_timestamp_may_be_five_minutes_off_in_either_direction() {
    let check = |age_s: i64, expected| {
        assert_eq!(check_fresh(&(NOW - age_s).to_string(), NOW), expected, "{age_s} s old");
    };
    check(0, Ok(()));
    check(300, Ok(()));
    check(-300, Ok(()));
    check(301, Err(VerifyError::StaleTimestamp { age_s: 301 }));
    check(-301, Err(VerifyError::StaleTimestamp { age_s: -301 }));
    check(NOW, Err(VerifyError::StaleTimestamp { age_s: NOW }));
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let latest = i64::MAX.to_string();
    assert_eq!(check_fresh(&latest, i64::MIN), Err(VerifyError::StaleTimestamp { age_s: i64::MIN }));
}
