//! JSON merge patch (RFC 7396), applied to what may be changed of a thing.

use serde_json::{Map, Value};

/// The fields whose entries callers name themselves: there `null` removes an entry. Elsewhere it is kept
/// for the reader of the result, who takes it as "inherited" and refuses unknown fields even if they are null.
const MAPS: [&str; 2] = ["headers", "metadata"];

/// What belongs to one strategy of retries; a patch that chooses anew replaces all of it.
const BACKOFF: [&str; 6] = ["strategy", "schedule", "base", "factor", "increment", "delay"];

/// The document after the patch.
pub(crate) fn merge(mut document: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (field, change) in patch {
        let mut merged = match (document.remove(&field), change) {
            (Some(Value::Object(mut old)), Value::Object(change)) => {
                match field.as_str() {
                    "retry" => replace_backoff(&mut old, &change),
                    "quota" => drop_burst(&mut old, &change),
                    _ => {}
                }
                Value::Object(merge(old, change))
            }
            (_, change) => change,
        };
        if let Value::Object(entries) = &mut merged
            && MAPS.contains(&field.as_str())
        {
            entries.retain(|_, value| !value.is_null());
        }
        document.insert(field, merged);
    }
    document
}

/// A patch that names `strategy` or `schedule` chooses the waits anew: what is left of the former strategy
/// would contradict it.
fn replace_backoff(old: &mut Map<String, Value>, change: &Map<String, Value>) {
    if change.contains_key("strategy") || change.contains_key("schedule") {
        old.retain(|field, _| !BACKOFF.contains(&field.as_str()));
    }
}

/// A patch that returns the rate of a quota to the inherited one takes its burst along: without a rate it
/// means nothing.
fn drop_burst(old: &mut Map<String, Value>, change: &Map<String, Value>) {
    if change.get("per_second").is_some_and(Value::is_null) {
        old.remove("burst");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names() {
        let check = |document: Value, patch: Value, expected: Value| {
            let (Value::Object(document), Value::Object(patch)) = (document, patch) else {
                panic!("documents and patches are objects");
            };
            assert_eq!(Value::Object(merge(document, patch)), expected);
        };
        check(json!({"a": 1, "b": 2}), json!({"b": 3, "c": 4}), json!({"a": 1, "b": 3, "c": 4}));
        check(json!({"timeout_ms": 1}), json!({"timeout_ms": null}), json!({"timeout_ms": null}));
        check(json!({}), json!({"unknown": null}), json!({"unknown": null}));
        check(
            json!({"metadata": {"a": "1", "b": "2"}}),
            json!({"metadata": {"a": null, "c": "3"}}),
            json!({"metadata": {"b": "2", "c": "3"}}),
        );
        check(json!({"metadata": {"a": "1"}}), json!({"metadata": null}), json!({"metadata": null}));
        check(json!({}), json!({"headers": {"a": null, "b": "1"}}), json!({"headers": {"b": "1"}}));
        check(
            json!({"policy": {"timeout_ms": 1, "retry": {"jitter": 0.5}}}),
            json!({"policy": {"retry": {"max_attempts": 3}}}),
            json!({"policy": {"timeout_ms": 1, "retry": {"jitter": 0.5, "max_attempts": 3}}}),
        );
    }

    #[test]
    fn a_field_below_a_policy_is_changed_by_itself() {
        let check = |change: Value, expected: Value| {
            let old = json!({"probes": 2, "cooldown": "10s"});
            let document = Map::from_iter([("circuit_breaker".to_owned(), old)]);
            let patch = Map::from_iter([("circuit_breaker".to_owned(), change)]);
            assert_eq!(merge(document, patch)["circuit_breaker"], expected);
        };
        check(json!({"p95_ms": 5}), json!({"probes": 2, "cooldown": "10s", "p95_ms": 5}));
        check(json!({"probes": null}), json!({"probes": null, "cooldown": "10s"}));
        check(Value::Null, Value::Null);
    }

    #[test]
    fn a_quota_loses_its_burst_with_its_rate() {
        let check = |change: Value, expected: Value| {
            let old = json!({"per_second": 10, "burst": 20, "per_day": 1000});
            let document = Map::from_iter([("quota".to_owned(), old)]);
            let patch = Map::from_iter([("quota".to_owned(), change)]);
            assert_eq!(merge(document, patch)["quota"], expected);
        };
        check(json!({"per_second": null}), json!({"per_second": null, "per_day": 1000}));
        check(json!({"burst": 30}), json!({"per_second": 10, "burst": 30, "per_day": 1000}));
        check(json!({"per_day": null}), json!({"per_second": 10, "burst": 20, "per_day": null}));
        check(
            json!({"per_second": null, "burst": 5}),
            json!({"per_second": null, "burst": 5, "per_day": 1000}),
        );
    }

    #[test]
    fn a_new_strategy_replaces_the_former_with_all_its_waits() {
        let check = |old: Value, change: Value, expected: Value| {
            let document = Map::from_iter([("retry".to_owned(), old)]);
            let patch = Map::from_iter([("retry".to_owned(), change)]);
            assert_eq!(merge(document, patch)["retry"], expected);
        };
        let old = || json!({"schedule": ["1s"], "max_attempts": 3});
        check(
            old(),
            json!({"strategy": "fixed", "delay": "5s"}),
            json!({"strategy": "fixed", "delay": "5s", "max_attempts": 3}),
        );
        check(old(), json!({"schedule": ["2s"]}), json!({"schedule": ["2s"], "max_attempts": 3}));
        check(old(), json!({"schedule": null}), json!({"schedule": null, "max_attempts": 3}));
        check(old(), json!({"jitter": 0}), json!({"schedule": ["1s"], "max_attempts": 3, "jitter": 0}));
        let exponential = json!({"strategy": "exponential", "base": "1s", "factor": 2.0});
        check(
            exponential,
            json!({"factor": 3.0}),
            json!({"strategy": "exponential", "base": "1s", "factor": 3.0}),
        );
    }
}
