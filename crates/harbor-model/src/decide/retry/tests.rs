use super::*;
use crate::policy::retry::Backoff;

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
const FAILED: Verdict = Verdict::Failed { wait_asked: None };

fn policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 5,
        backoff: Backoff::default_schedule(),
        jitter: 0.1,
        max_delay: Duration::from_secs(3600),
        client_errors: ClientErrors::DEAD_AT_ONCE,
    }
}

fn after(ms: u64) -> Next {
    Next::RetryAt(T0 + Duration::from_millis(ms))
}

#[test]
fn decides_after_each_outcome() {
    let check = |verdict, tried, expected| {
        assert_eq!(decide(verdict, tried, &policy(), T0, 0.5), expected, "{verdict:?} after {tried}");
    };
    check(Verdict::Accepted, 1, Next::Delivered);
    check(Verdict::Gone, 1, Next::Dead(Cause::EndpointGone));
    check(Verdict::Redirected, 1, Next::Dead(Cause::Redirect));
    check(Verdict::Blocked, 1, Next::Dead(Cause::BlockedAddress));
    check(Verdict::ClientError, 1, Next::Dead(Cause::ClientError));
    check(FAILED, 1, after(1_000));
    check(FAILED, 2, after(5_000));
    check(FAILED, 3, after(10_000));
    check(FAILED, 4, after(30_000));
    check(FAILED, 5, Next::Dead(Cause::AttemptsExhausted));
    check(FAILED, 6, Next::Dead(Cause::AttemptsExhausted));
}

#[test]
fn an_endpoint_may_ask_for_a_longer_wait_up_to_the_policy() {
    let check = |asked_s, expected| {
        let verdict = Verdict::Failed { wait_asked: Some(Duration::from_secs(asked_s)) };
        assert_eq!(decide(verdict, 2, &policy(), T0, 0.5), expected, "asked for {asked_s}s");
    };
    check(1, after(5_000));
    check(120, after(120_000));
    check(999_999_999, after(3_600_000));
}

#[test]
fn jitter_strays_both_ways() {
    let check = |chance, expected| assert_eq!(decide(FAILED, 3, &policy(), T0, chance), expected, "{chance}");
    check(0.0, after(9_000));
    check(0.25, after(9_500));
    check(0.75, after(10_500));
}

#[test]
fn client_errors_are_granted_what_the_policy_says() {
    let check = |client_errors, tried, expected| {
        let policy = RetryPolicy { client_errors, ..policy() };
        assert_eq!(
            decide(Verdict::ClientError, tried, &policy, T0, 0.5),
            expected,
            "{client_errors:?} {tried}"
        );
    };
    check(ClientErrors::Retries(2), 2, after(5_000));
    check(ClientErrors::Retries(2), 3, Next::Dead(Cause::ClientError));
    check(ClientErrors::All, 4, after(30_000));
    check(ClientErrors::All, 5, Next::Dead(Cause::ClientError));
}

#[test]
fn each_strategy_waits_as_it_says() {
    let s = Duration::from_secs;
    let check = |backoff: Backoff, expected: [u64; 4]| {
        let waits = [1, 2, 3, 4].map(|tried| backoff.wait_after(tried).as_secs());
        assert_eq!(waits, expected, "{backoff:?}");
    };
    check(Backoff::Schedule(vec![s(3), s(7)]), [3, 7, 7, 7]);
    check(Backoff::Schedule(vec![]), [0, 0, 0, 0]);
    check(Backoff::Exponential { base: s(2), factor: 3.0 }, [2, 6, 18, 54]);
    check(Backoff::Linear { base: s(2), increment: s(5) }, [2, 7, 12, 17]);
    check(Backoff::Fixed(s(9)), [9, 9, 9, 9]);
    check(Backoff::Standard, [5, 300, 1800, 7200]);

    assert_eq!(Backoff::Standard.wait_after(500), s(24 * 3600));
    let steep = Backoff::Exponential { base: s(1), factor: 10.0 };
    let policy = RetryPolicy { max_attempts: u16::MAX, backoff: steep, ..policy() };
    assert_eq!(decide(FAILED, 60_000, &policy, T0, 0.5), after(3_600_000));
}

#[test]
fn a_schedule_that_was_written_out_is_not_cut_by_the_default() {
    assert_eq!(
        Backoff::Schedule(vec![Duration::from_secs(7200)]).max_delay_default(),
        Duration::from_secs(7200)
    );
    assert_eq!(Backoff::default_schedule().max_delay_default(), MAX_HOUR);
    assert_eq!(Backoff::Standard.max_delay_default(), Duration::from_secs(24 * 3600));
}

const MAX_HOUR: Duration = Duration::from_secs(3600);
