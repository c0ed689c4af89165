use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TOO_LONG: Duration = DURATION_MAX.saturating_add(SECOND);

fn fields(policy: &WrittenPolicy) -> Vec<String> {
    let errors = policy.layer("").err().unwrap_or_default();
    errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn nothing_written_is_all_inherited() {
    assert_eq!(WrittenPolicy::default().layer(""), Ok(PolicyLayer::default()));
}

#[test]
fn what_is_out_of_bounds_is_named() {
    let check = |policy: WrittenPolicy, expected: &[&str]| {
        assert_eq!(fields(&policy), expected, "{policy:?}");
    };
    let none = WrittenPolicy::default;
    let limit = |per_second, burst| WrittenPolicy {
        rate_limit: WrittenRateLimit { per_second: Some(per_second), burst: Some(burst) },
        ..none()
    };
    check(WrittenPolicy { timeout_ms: Some(99), ..none() }, &["timeout_ms"]);
    check(WrittenPolicy { timeout_ms: Some(100), ..none() }, &[]);
    check(
        WrittenPolicy { timeout_ms: Some(300_001), max_in_flight: Some(0), ..none() },
        &["timeout_ms", "max_in_flight"],
    );
    check(WrittenPolicy { max_in_flight: Some(10_000), ..none() }, &[]);
    check(limit(1_000_000, 1_000_000), &[]);
    check(limit(0, 1_000_001), &["rate_limit.per_second", "rate_limit.burst"]);
    let signing = WrittenSigning { schemes: Some(Vec::new()) };
    check(WrittenPolicy { signing, ..none() }, &["signing.schemes"]);

    let check_retry = |retry: WrittenRetry, expected: &[&str]| {
        check(WrittenPolicy { retry, ..none() }, expected);
    };
    let none = WrittenRetry::default;
    check_retry(WrittenRetry { max_attempts: Some(0), ..none() }, &["retry.max_attempts"]);
    check_retry(
        WrittenRetry { max_attempts: Some(101), jitter: Some(1.1), ..none() },
        &["retry.max_attempts", "retry.jitter"],
    );
    check_retry(WrittenRetry { jitter: Some(f64::NAN), ..none() }, &["retry.jitter"]);
    check_retry(
        WrittenRetry { max_delay: Some(TOO_LONG), client_errors: Some(ClientErrors::Retries(101)), ..none() },
        &["retry.max_delay", "retry.client_errors"],
    );
    check_retry(WrittenRetry { schedule: Some(vec![SECOND; 100]), ..none() }, &[]);
    check_retry(WrittenRetry { schedule: Some(vec![SECOND; 101]), ..none() }, &["retry.schedule"]);
    check_retry(WrittenRetry { schedule: Some(vec![SECOND, TOO_LONG]), ..none() }, &["retry.schedule[1]"]);
    let exponential =
        WrittenRetry { strategy: Some(RetryStrategy::Exponential), factor: Some(0.5), ..none() };
    check_retry(WrittenRetry { base: Some(SECOND), ..exponential.clone() }, &["retry.factor"]);
    check_retry(WrittenRetry { base: Some(TOO_LONG), ..exponential }, &["retry.base", "retry.factor"]);
}

#[test]
fn a_strategy_takes_what_belongs_to_it_and_nothing_else() {
    let check = |retry: WrittenRetry, expected: Result<Option<Backoff>, &[&str]>| {
        let policy = WrittenPolicy { retry, ..WrittenPolicy::default() };
        let found = policy.layer("").map(|layer| layer.retry.backoff).map_err(|_| fields(&policy));
        let expected =
            expected.map_err(|fields| fields.iter().map(|field| format!("retry.{field}")).collect());
        assert_eq!(found, expected, "{policy:?}");
    };
    let none = WrittenRetry::default;
    let of = |strategy| WrittenRetry { strategy: Some(strategy), ..none() };

    check(none(), Ok(None));
    check(WrittenRetry { schedule: Some(vec![SECOND]), ..none() }, Ok(Some(Backoff::Schedule(vec![SECOND]))));
    check(
        WrittenRetry { base: Some(SECOND), ..of(RetryStrategy::Exponential) },
        Ok(Some(Backoff::Exponential { base: SECOND, factor: 2.0 })),
    );
    check(of(RetryStrategy::Standard), Ok(Some(Backoff::Standard)));

    check(WrittenRetry { base: Some(SECOND), delay: Some(SECOND), ..none() }, Err(&["base", "delay"]));
    check(of(RetryStrategy::Schedule), Err(&["schedule"]));
    check(of(RetryStrategy::Linear), Err(&["base", "increment"]));
    check(WrittenRetry { factor: Some(2.0), ..of(RetryStrategy::Standard) }, Err(&["factor"]));
    check(
        WrittenRetry { schedule: Some(vec![SECOND]), ..of(RetryStrategy::Fixed) },
        Err(&["schedule", "delay"]),
    );
}

#[test]
fn a_schedule_is_empty_only_where_there_is_one_attempt() {
    let found = |max_attempts| {
        let retry = WrittenRetry { schedule: Some(Vec::new()), max_attempts, ..WrittenRetry::default() };
        fields(&WrittenPolicy { retry, ..WrittenPolicy::default() })
    };
    assert_eq!(found(Some(1)), [""; 0]);
    assert_eq!(found(Some(2)), ["retry.schedule"]);
    assert_eq!(found(None), ["retry.schedule"]);
}

#[test]
fn a_burst_alone_is_no_rate_limit() {
    let limit = |per_second, burst| {
        let rate_limit = WrittenRateLimit { per_second, burst };
        WrittenPolicy { rate_limit, ..WrittenPolicy::default() }.layer("").map(|layer| layer.rate_limit)
    };
    assert_eq!(limit(Some(5), None), Ok(Some(RateLimit { per_second: 5, burst: 5 })));
    assert_eq!(limit(Some(5), Some(9)), Ok(Some(RateLimit { per_second: 5, burst: 9 })));
    assert_eq!(
        limit(None, Some(9)),
        Err(vec![FieldError::new("rate_limit.burst", "needs rate_limit.per_second")])
    );
}

#[test]
fn a_breaker_keeps_its_bounds() {
    let check = |circuit_breaker: WrittenBreaker, expected: &[&str]| {
        let found = fields(&WrittenPolicy { circuit_breaker, ..WrittenPolicy::default() });
        let expected: Vec<_> = expected.iter().map(|field| format!("circuit_breaker.{field}")).collect();
        assert_eq!(found, expected, "{circuit_breaker:?}");
    };
    let none = WrittenBreaker::default;
    let cooldowns =
        |first, longest| WrittenBreaker { cooldown: Some(first), cooldown_max: Some(longest), ..none() };
    let counts = |consecutive_failures, p95_ms, probes| WrittenBreaker {
        consecutive_failures: Some(consecutive_failures),
        p95_ms: Some(p95_ms),
        probes: Some(probes),
        ..none()
    };
    check(counts(1, 1, 1), &[]);
    check(counts(10_000, 300_000, 100), &[]);
    check(counts(0, 0, 0), &["consecutive_failures", "p95_ms", "probes"]);
    check(counts(10_001, 300_001, 101), &["consecutive_failures", "p95_ms", "probes"]);
    check(cooldowns(SECOND, SECOND), &[]);
    check(cooldowns(SECOND, DURATION_MAX), &[]);
    check(cooldowns(SECOND / 2, TOO_LONG), &["cooldown", "cooldown_max"]);
    check(cooldowns(2 * SECOND, SECOND), &["cooldown_max"]);
    // The other one is inherited, and may be anything.
    check(WrittenBreaker { cooldown: Some(DURATION_MAX), ..none() }, &[]);
    check(WrittenBreaker { cooldown_max: Some(SECOND), ..none() }, &[]);
}

#[test]
fn a_breaker_survives_being_written() {
    let part = BreakerLayer { cooldown: Some(SECOND), ..BreakerLayer::default() };
    let whole = BreakerLayer {
        is_enabled: Some(false),
        consecutive_failures: Some(3),
        p95: Some(SECOND),
        cooldown: Some(SECOND),
        cooldown_max: Some(2 * SECOND),
        probes: Some(2),
    };
    for layer in [BreakerLayer::default(), part, whole] {
        let policy = WrittenPolicy { circuit_breaker: layer.into(), ..WrittenPolicy::default() };
        assert_eq!(policy.layer("").map(|found| found.breaker), Ok(layer));
    }
    let policy = WrittenPolicy { circuit_breaker: BreakerPolicy::DEFAULT.into(), ..WrittenPolicy::default() };
    let default = BreakerPolicy::DEFAULT;
    let expected = BreakerLayer {
        is_enabled: Some(default.is_enabled),
        consecutive_failures: Some(default.consecutive_failures),
        p95: default.p95,
        cooldown: Some(default.cooldown),
        cooldown_max: Some(default.cooldown_max),
        probes: Some(default.probes),
    };
    assert_eq!(policy.layer("").map(|found| found.breaker), Ok(expected));
}

#[test]
fn every_field_is_named_below_the_prefix() {
    let policy = WrittenPolicy {
        timeout_ms: Some(1),
        retry: WrittenRetry { base: Some(SECOND), ..WrittenRetry::default() },
        circuit_breaker: WrittenBreaker {
            cooldown: Some(2 * SECOND),
            cooldown_max: Some(SECOND),
            ..WrittenBreaker::default()
        },
        ..WrittenPolicy::default()
    };
    assert_eq!(
        policy.layer("policy."),
        Err(vec![
            FieldError::new("policy.timeout_ms", "must be 100 to 300000"),
            FieldError::new("policy.retry.base", "needs policy.retry.strategy"),
            FieldError::new(
                "policy.circuit_breaker.cooldown_max",
                "must be at least policy.circuit_breaker.cooldown"
            ),
        ])
    );
}

#[test]
fn retries_survive_being_written() {
    for backoff in [
        Backoff::Schedule(vec![SECOND, 2 * SECOND]),
        Backoff::Exponential { base: SECOND, factor: 3.0 },
        Backoff::Linear { base: SECOND, increment: 2 * SECOND },
        Backoff::Fixed(SECOND),
        Backoff::Standard,
    ] {
        let layer = RetryLayer {
            max_attempts: Some(7),
            backoff: Some(backoff),
            jitter: Some(0.5),
            max_delay: Some(DURATION_MAX),
            client_errors: Some(ClientErrors::All),
        };
        let policy = WrittenPolicy { retry: WrittenRetry::from(&layer), ..WrittenPolicy::default() };
        assert_eq!(policy.layer("").map(|found| found.retry), Ok(layer));
    }
}
