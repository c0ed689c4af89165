use std::collections::HashSet;
use std::path::Path;

use harbor_model::policy::written;

use super::*;

/// The copy that reviewers see change. `UPDATE_GOLDEN=1` rewrites it.
#[test]
fn the_document_is_the_golden_copy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/openapi.json");
    let found = json();
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(golden.lines()).position(|(a, b)| a != b);
    assert!(found == golden, "contracts/openapi.json differs at line {line:?}; UPDATE_GOLDEN=1 rewrites it");
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn every_resource_of_a_tenant_stands_at_both_its_places() {
    let document = document();
    let paths: HashSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let named: Vec<_> =
        paths.iter().filter_map(|path| path.strip_prefix("/v1/tenants/{tenant_id}/")).collect();
    assert!(named.len() >= 20, "{named:?}");
    for rest in named {
        assert!(paths.contains(&format!("/v1/{rest}")), "{rest}");
    }
}

#[test]
fn operations_are_complete_and_have_names_of_their_own() {
    let document = document();
    let mut ids = HashSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{at}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{at}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(named, path.matches('{').count(), "{at}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
        let tells_quota = responses.values().any(|answer| answer["headers"].get("RateLimit").is_some());
        assert_eq!(tells_quota, path.contains("/events:"), "{at}");
        let is_open = operation["security"] == json!([{}]);
        assert_eq!(is_open, !path.starts_with("/v1/"), "{at}");
        // Who sends to a source proves it by a signature instead.
        assert_eq!(responses.contains_key("401"), !is_open || path.starts_with("/ingest/"), "{at}");
    }
}

#[test]
fn what_passes_says_when_to_come_back() {
    for (method, path, operation) in operations(&document()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let has_wait = response["headers"].get("Retry-After").is_some();
            assert_eq!(has_wait, ["429", "503"].contains(&status.as_str()), "{method} {path} {status}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn policies_have_the_bounds_of_the_model() {
    let document = document();
    let check = |field: &str, least: f64, most: f64| {
        let (schema, name) = field.split_once('.').unwrap();
        let found = &document["components"]["schemas"][schema]["properties"][name];
        let bounds = (found["minimum"].as_f64(), found["maximum"].as_f64());
        assert_eq!(bounds, (Some(least), Some(most)), "{field}");
    };
    let (timeout_min, timeout_max) = written::TIMEOUT_MS.into_inner();
    let (in_flight_min, in_flight_max) = written::IN_FLIGHT.into_inner();
    for schema in ["TenantPolicySettings", "CreateEndpoint"] {
        check(&format!("{schema}.timeout_ms"), timeout_min as f64, timeout_max as f64);
        check(&format!("{schema}.max_in_flight"), in_flight_min.into(), in_flight_max.into());
    }
    for field in ["RateLimit.per_second", "RateLimit.burst"] {
        check(field, (*written::RATE.start()).into(), (*written::RATE.end()).into());
    }
    for field in ["QuotaSettings.per_second", "QuotaSettings.burst", "ResumeEndpoint.drain_per_second"] {
        check(field, (*written::RATE.start()).into(), (*written::RATE.end()).into());
    }
    let (day_min, day_max) = written::PER_DAY.into_inner();
    check("QuotaSettings.per_day", day_min as f64, day_max as f64);
    let (attempts_min, attempts_max) = written::ATTEMPTS.into_inner();
    check("RetrySettings.max_attempts", attempts_min.into(), attempts_max.into());
    let (failures_min, failures_max) = written::CONSECUTIVE_FAILURES.into_inner();
    check("CircuitBreakerSettings.consecutive_failures", failures_min.into(), failures_max.into());
    let (p95_min, p95_max) = written::P95_MS.into_inner();
    check("CircuitBreakerSettings.p95_ms", p95_min as f64, p95_max as f64);
    let (probes_min, probes_max) = written::PROBES.into_inner();
    check("CircuitBreakerSettings.probes", probes_min.into(), probes_max.into());
    check("RetrySettings.factor", *written::FACTOR.start(), *written::FACTOR.end());
    check("RetrySettings.jitter", *written::JITTER.start(), *written::JITTER.end());
    let waits_max = &document["components"]["schemas"]["RetrySettings"]["properties"]["schedule"]["maxItems"];
    assert_eq!(*waits_max, written::SCHEDULE_WAITS_MAX);
}
