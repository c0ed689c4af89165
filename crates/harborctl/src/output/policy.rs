//! Policies for people: the value in force, and where it came from unless it is built in.

use harbor_wire::policy::{
    CircuitBreaker, ClientErrors, OnDead, Ordering, PolicyOrigin, PolicyOrigins, Quota, RateLimit, Retention,
    RetrySettings, RetryStrategy, Signing,
};

use crate::args::word;
use crate::output::table::Cell;

/// The time for one attempt.
pub(crate) fn timeout(timeout_ms: u64, origins: &PolicyOrigins) -> Cell {
    with_origin(format!("{timeout_ms} ms"), "timeout_ms", origins)
}

/// When to try again.
pub(crate) fn retry(retry: &RetrySettings, origins: &PolicyOrigins) -> Cell {
    let part = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let strategy = retry.strategy.unwrap_or(RetryStrategy::Schedule);
    let waits = retry.schedule.as_ref().map(|waits| waits.join(", ")).filter(|waits| !waits.is_empty());
    let client_errors = match retry.client_errors {
        None | Some(ClientErrors::Retries(0)) => None,
        Some(ClientErrors::Retries(retries)) => Some(format!("client errors {retries} times")),
        Some(ClientErrors::All(_)) => Some("client errors too".to_owned()),
    };
    let parts = [
        retry.max_attempts.map(|attempts| format!("{attempts} attempts")),
        Some(waits.unwrap_or_else(|| word::print(&strategy))),
        part("base", &retry.base),
        retry.factor.map(|factor| format!("factor {factor}")),
        part("increment", &retry.increment),
        part("delay", &retry.delay),
        retry.jitter.map(|jitter| format!("±{} %", (jitter * 100.0).round())),
        part("at most", &retry.max_delay),
        client_errors,
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    with_origin(text, "retry.", origins)
}

/// The most requests per second.
pub(crate) fn rate_limit(limit: Option<RateLimit>, origins: &PolicyOrigins) -> Cell {
    with_origin(rate(limit), "rate_limit", origins)
}

/// A rate in words.
pub(crate) fn rate(limit: Option<RateLimit>) -> String {
    match limit {
        None => "none".to_owned(),
        Some(RateLimit { per_second, burst: None }) => format!("{per_second}/s"),
        Some(RateLimit { per_second, burst: Some(burst) }) => format!("{per_second}/s, bursts of {burst}"),
    }
}

/// The most requests in flight.
pub(crate) fn max_in_flight(max: u32, origins: &PolicyOrigins) -> Cell {
    with_origin(max.to_string(), "max_in_flight", origins)
}

/// When the endpoint is left alone for a while.
pub(crate) fn circuit_breaker(breaker: &CircuitBreaker, origins: &PolicyOrigins) -> Cell {
    let CircuitBreaker { consecutive_failures, p95_ms, cooldown, cooldown_max, probes, .. } = breaker;
    let text = if breaker.enabled {
        let slow = p95_ms.map(|ms| format!(" or a p95 over {ms} ms")).unwrap_or_default();
        let s = if *probes == 1 { "" } else { "s" };
        format!(
            "opens after {consecutive_failures} failures{slow}; for {cooldown} to {cooldown_max}; {probes} probe{s}"
        )
    } else {
        "never opens".to_owned()
    };
    with_origin(text, "circuit_breaker.", origins)
}

/// What deliveries are ordered by.
pub(crate) fn ordering(ordering: Ordering, origins: &PolicyOrigins) -> Cell {
    let text = match ordering {
        Ordering::None => "none",
        Ordering::Key => "by ordering key",
        Ordering::Endpoint => "all in one lane",
    };
    with_origin(text.to_owned(), "ordering", origins)
}

/// What becomes of an ordered lane whose head is dead.
pub(crate) fn on_dead(on_dead: OnDead, origins: &PolicyOrigins) -> Cell {
    let text = match on_dead {
        OnDead::Skip => "is passed over",
        OnDead::Hold => "holds its lane",
    };
    with_origin(text.to_owned(), "on_dead", origins)
}

/// How much a tenant may publish.
pub(crate) fn quota(quota: Quota, origins: &PolicyOrigins) -> Cell {
    let burst = quota.burst.filter(|burst| quota.per_second != Some(*burst));
    let parts = [
        quota.per_second.map(|rate| format!("{rate}/s")),
        burst.map(|burst| format!("bursts of {burst}")),
        quota.per_day.map(|events| format!("{events} a day")),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    with_origin(if text.is_empty() { "none".to_owned() } else { text }, "quota.", origins)
}

/// How long what happened is kept.
pub(crate) fn retention(retention: &Retention, origins: &PolicyOrigins) -> Cell {
    let Retention { history, dead_letters } = retention;
    with_origin(format!("{history}, dead letters {dead_letters}"), "retention.", origins)
}

/// Which signatures requests carry.
pub(crate) fn signing(signing: &Signing, origins: &PolicyOrigins) -> Cell {
    let schemes: Vec<String> = signing.schemes.iter().map(word::print).collect();
    with_origin(schemes.join(", "), "signing", origins)
}

/// Adds where the fields came from whose path begins so.
fn with_origin(text: String, path: &str, origins: &PolicyOrigins) -> Cell {
    let mut set: Vec<String> = origins
        .iter()
        .filter(|(field, origin)| field.starts_with(path) && **origin != PolicyOrigin::Default)
        .map(|(_, origin)| word::print(origin))
        .collect();
    set.sort();
    set.dedup();
    if set.is_empty() { Cell::new(text) } else { Cell::new(format!("{text} (set by {})", set.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_built_in_says_who_set_it() {
        let origins = PolicyOrigins::from([
            ("retry.max_attempts".to_owned(), PolicyOrigin::Endpoint),
            ("retry.schedule".to_owned(), PolicyOrigin::Tenant),
            ("timeout_ms".to_owned(), PolicyOrigin::Default),
        ]);
        let settings = RetrySettings {
            max_attempts: Some(3),
            schedule: Some(vec!["1s".to_owned(), "5s".to_owned()]),
            jitter: Some(0.1),
            ..RetrySettings::default()
        };
        let expected = "3 attempts; 1s, 5s; ±10 % (set by endpoint, tenant)";
        assert_eq!(retry(&settings, &origins), Cell::new(expected));
        assert_eq!(timeout(30_000, &origins), Cell::new("30000 ms"));
    }

    #[test]
    fn a_quota_names_its_limits() {
        let check = |per_second, burst, per_day, expected: &str| {
            let limits = Quota { per_second, burst, per_day };
            assert_eq!(quota(limits, &PolicyOrigins::new()), Cell::new(expected));
        };
        check(None, None, None, "none");
        check(Some(100), Some(100), None, "100/s");
        check(Some(100), Some(500), Some(1_000), "100/s, bursts of 500, 1000 a day");
        let origins = PolicyOrigins::from([("quota.per_day".to_owned(), PolicyOrigin::Tenant)]);
        let limits = Quota { per_second: None, burst: None, per_day: Some(7) };
        assert_eq!(quota(limits, &origins), Cell::new("7 a day (set by tenant)"));
    }

    #[test]
    fn a_breaker_says_when_it_opens_and_for_how_long() {
        let origins = PolicyOrigins::from([("circuit_breaker.p95_ms".to_owned(), PolicyOrigin::Tenant)]);
        let breaker = CircuitBreaker {
            enabled: true,
            consecutive_failures: 10,
            p95_ms: None,
            cooldown: "30s".to_owned(),
            cooldown_max: "5m".to_owned(),
            probes: 1,
        };
        let check = |breaker: &CircuitBreaker, expected: &str| {
            assert_eq!(circuit_breaker(breaker, &PolicyOrigins::new()), Cell::new(expected));
            let set = format!("{expected} (set by tenant)");
            assert_eq!(circuit_breaker(breaker, &origins), Cell::new(set));
        };
        check(&breaker, "opens after 10 failures; for 30s to 5m; 1 probe");
        let slow = CircuitBreaker { p95_ms: Some(800), probes: 2, ..breaker.clone() };
        check(&slow, "opens after 10 failures or a p95 over 800 ms; for 30s to 5m; 2 probes");
        check(&CircuitBreaker { enabled: false, ..breaker }, "never opens");
    }
}
