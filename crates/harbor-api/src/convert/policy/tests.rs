use harbor_model::policy::Layers;
use harbor_model::policy::retry::Backoff;
use serde_json::json;

use super::*;

/// Reads the policy of an endpoint, written as JSON.
fn read(policy: serde_json::Value) -> Result<PolicyLayer, Vec<String>> {
    let mut endpoint = policy;
    endpoint["url"] = json!("https://example.com");
    let endpoint: harbor_wire::endpoint::CreateEndpoint = serde_json::from_value(endpoint).unwrap();
    let mut checks = Checks::default();
    let fields = PolicyFields {
        timeout_ms: endpoint.timeout_ms,
        retry: endpoint.retry,
        rate_limit: endpoint.rate_limit,
        max_in_flight: endpoint.max_in_flight,
        circuit_breaker: endpoint.circuit_breaker,
        ordering: endpoint.ordering,
        on_dead: endpoint.on_dead,
        signing: endpoint.signing,
    };
    let layer = read_layer(fields, &mut checks);
    let fields =
        |errors: Vec<harbor_model::invalid::FieldError>| errors.into_iter().map(|e| e.field).collect();
    checks.finish().map(|()| layer.unwrap()).map_err(fields)
}

#[test]
fn every_layer_survives_its_text() {
    for policy in [
        json!({}),
        json!({"timeout_ms": 100, "max_in_flight": 10_000, "rate_limit": {"per_second": 1, "burst": 2}}),
        json!({"retry": {"schedule": ["250ms", "365d"], "max_attempts": 100, "jitter": 1.0}}),
        json!({"retry": {"schedule": [], "max_attempts": 1, "max_delay": "1h", "client_errors": 3}}),
        json!({"retry": {"strategy": "exponential", "base": "1s", "factor": 1.5, "client_errors": "all"}}),
        json!({"retry": {"strategy": "linear", "base": "1s", "increment": "2s"}}),
        json!({"retry": {"strategy": "fixed", "delay": "5m"}}),
        json!({"retry": {"strategy": "standard"}}),
        json!({"circuit_breaker": {"enabled": false}}),
        json!({"circuit_breaker": {"cooldown": "1s", "cooldown_max": "365d", "probes": 100}}),
        json!({"circuit_breaker": {"consecutive_failures": 10_000, "p95_ms": 300_000}}),
        json!({"ordering": "key"}),
        json!({"ordering": "endpoint", "on_dead": "hold"}),
        json!({"ordering": "none", "on_dead": "skip"}),
        json!({"signing": {"schemes": ["harborhook"]}}),
    ] {
        let layer = read(policy.clone()).unwrap();
        let mut checks = Checks::default();
        assert_eq!(read_layer(write_layer(&layer), &mut checks), Some(layer), "{policy}");
        assert_eq!(checks.finish(), Ok(()), "{policy}");
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let layer = read(json!({"rate_limit": {"per_second": 7}})).unwrap();
    assert_eq!(layer.rate_limit, Some(RateLimit { per_second: 7, burst: 7 }));
    let layer = read(json!({"retry": {"strategy": "exponential", "base": "1s"}})).unwrap();
    assert_eq!(layer.retry.backoff, Some(Backoff::Exponential { base: Duration::from_secs(1), factor: 2.0 }));
    let layer = read(json!({"retry": {"schedule": ["1s"]}})).unwrap();
    assert_eq!(layer.retry.backoff, Some(Backoff::Schedule(vec![Duration::from_secs(1)])));
}

#[test]
fn what_cannot_be_read_or_breaks_a_rule_is_named_once() {
    let check = |policy: serde_json::Value, expected: &[&str]| {
        let text = policy.to_string();
        assert_eq!(read(policy).unwrap_err(), expected, "{text}");
    };
    check(
        json!({"retry": {"schedule": ["1s", "soon", "366d"]}}),
        &["retry.schedule[1]", "retry.schedule[2]"],
    );
    check(
        json!({"retry": {"strategy": "linear", "base": "x", "increment": "y"}}),
        &["retry.base", "retry.increment"],
    );
    check(
        json!({"retry": {"client_errors": 101, "max_delay": "long"}}),
        &["retry.max_delay", "retry.client_errors"],
    );
    check(json!({"retry": {"schedule": vec!["1s"; 102]}}), &["retry.schedule"]);
    check(
        json!({"circuit_breaker": {"cooldown": "soon", "cooldown_max": "999ms", "probes": 0}}),
        &["circuit_breaker.cooldown", "circuit_breaker.cooldown_max", "circuit_breaker.probes"],
    );
    check(
        json!({"circuit_breaker": {"cooldown": "2s", "cooldown_max": "1s"}}),
        &["circuit_breaker.cooldown_max"],
    );
    check(
        json!({
            "timeout_ms": 99, "max_in_flight": 0, "rate_limit": {"per_second": 0, "burst": 1_000_001},
            "signing": {"schemes": []}, "retry": {"delay": "1s", "max_attempts": 0, "jitter": 1.1},
        }),
        &[
            "timeout_ms",
            "retry.delay",
            "retry.max_attempts",
            "retry.jitter",
            "rate_limit.per_second",
            "rate_limit.burst",
            "max_in_flight",
            "signing.schemes",
        ],
    );
}

#[test]
fn the_policy_in_force_says_where_it_came_from() {
    let tenant = read(json!({
        "timeout_ms": 5_000, "retry": {"strategy": "fixed", "delay": "5s"},
        "circuit_breaker": {"p95_ms": 800, "probes": 2}, "ordering": "key", "on_dead": "hold",
    }));
    let tenant = tenant.unwrap();
    let endpoint = read(
        json!({"retry": {"max_attempts": 7}, "circuit_breaker": {"enabled": false, "probes": 3}, "on_dead": "skip"}),
    );
    let endpoint = endpoint.unwrap();
    let instance = PolicyLayer::default();
    let policy = Policy::resolve(Layers { instance: &instance, tenant: &tenant, endpoint: &endpoint });

    let shown = write_effective(&policy);

    assert_eq!(
        serde_json::to_value(&shown.retry).unwrap(),
        json!({
            "max_attempts": 7, "strategy": "fixed", "delay": "5s", "jitter": 0.1, "max_delay": "1h",
            "client_errors": 0,
        })
    );
    assert_eq!(
        serde_json::to_value(&shown.circuit_breaker).unwrap(),
        json!({
            "enabled": false, "consecutive_failures": 10, "p95_ms": 800, "cooldown": "30s",
            "cooldown_max": "5m", "probes": 3,
        })
    );
    assert_eq!(
        serde_json::to_value(&shown.origins).unwrap(),
        json!({
            "timeout_ms": "tenant", "rate_limit": "default", "max_in_flight": "default",
            "ordering": "tenant", "on_dead": "endpoint",
            "signing": "default", "retry.max_attempts": "endpoint", "retry.strategy": "tenant",
            "retry.delay": "tenant", "retry.jitter": "default", "retry.max_delay": "default",
            "retry.client_errors": "default", "circuit_breaker.enabled": "endpoint",
            "circuit_breaker.consecutive_failures": "default", "circuit_breaker.p95_ms": "tenant",
            "circuit_breaker.cooldown": "default", "circuit_breaker.cooldown_max": "default",
            "circuit_breaker.probes": "endpoint",
        })
    );
}
