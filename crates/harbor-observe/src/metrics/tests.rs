use std::collections::{HashMap, HashSet};

use super::*;

const TOOK: Duration = Duration::from_millis(3);

fn tenant(text: &str) -> TenantId {
    text.parse().unwrap()
}

fn endpoint(number: u128) -> EndpointId {
    EndpointId::from_number(number)
}

fn metrics(settings: Settings) -> Metrics {
    Metrics::new(&settings, "1.2.3", Timestamp::from_unix_ms(1_700_000_000_500))
}

fn publish(metrics: &Metrics, tenant_id: &TenantId, result: PublishResult) {
    metrics.published(PublishSeen { tenant_id, result, took: TOOK });
}

fn attempt(metrics: &Metrics, endpoint_id: EndpointId, error_class: Option<ErrorClass>, is_retried: bool) {
    let tenant_id = &tenant("a");
    metrics.attempted(AttemptSeen { tenant_id, endpoint_id, error_class, is_retried, took: TOOK });
}

fn end(metrics: &Metrics, tenant_id: &TenantId, endpoint_id: EndpointId, cause: Option<Cause>) {
    metrics.ended(EndSeen { tenant_id, endpoint_id, cause, took: TOOK });
}

fn lines(metrics: &Metrics) -> HashSet<String> {
    let text = metrics.expose(&Gauges::default(), Format::OpenMetrics);
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_has(lines: &HashSet<String>, expected: &[&str]) {
    for line in expected {
        assert!(lines.contains(*line), "no line `{line}` in {lines:#?}");
    }
}

#[test]
fn counts_what_it_sees() {
    let metrics = metrics(Settings::default());
    let shop = tenant("tn_shop");
    for result in [PublishResult::Stored, PublishResult::Stored, PublishResult::Duplicate] {
        publish(&metrics, &shop, result);
    }
    publish(&metrics, &tenant("nobody"), PublishResult::Refused);
    publish(&metrics, &shop, PublishResult::Fault);
    publish(&metrics, &shop, PublishResult::OverQuota);
    attempt(&metrics, endpoint(1), Some(ErrorClass::Http5xx), true);
    attempt(&metrics, endpoint(1), Some(ErrorClass::Http4xx), false);
    attempt(&metrics, endpoint(1), None, false);
    end(&metrics, &shop, endpoint(1), None);
    end(&metrics, &shop, endpoint(1), Some(Cause::ClientError));
    metrics.committed(CommitSeen { operations: 3, took: TOOK, is_committed: true });
    metrics.committed(CommitSeen { operations: 1, took: TOOK, is_committed: false });

    for (state, open_breakers) in
        [(BreakerState::Open, 8), (BreakerState::HalfOpen, 8), (BreakerState::Closed, 7)]
    {
        let seen = BreakerSeen { tenant_id: &shop, endpoint_id: endpoint(1), state, open_breakers };
        metrics.breaker_changed(seen);
    }
    metrics.throttled(ThrottleSeen { holds: 3 });
    let reason = DisabledReason::Failing;
    metrics.endpoint_disabled(DisabledSeen { tenant_id: &shop, endpoint_id: endpoint(1), reason });

    let lines = lines(&metrics);

    assert_has(
        &lines,
        &[
            "harborhook_circuit_open 7",
            r#"harborhook_circuit_changes_total{state="half_open"} 1"#,
            "harborhook_throttled_total 3",
            r#"harborhook_events_published_total{tenant_id="tn_shop"} 2"#,
            r#"harborhook_publishes_total{result="stored"} 2"#,
            r#"harborhook_publishes_total{result="duplicate"} 1"#,
            r#"harborhook_publishes_total{result="refused"} 1"#,
            r#"harborhook_publishes_total{result="fault"} 1"#,
            r#"harborhook_publishes_total{result="over_quota"} 1"#,
            r#"harborhook_quota_refused_total{tenant_id="tn_shop"} 1"#,
            r#"harborhook_endpoints_disabled_total{reason="failing"} 1"#,
            r#"harborhook_endpoints_disabled_total{reason="gone"} 0"#,
            "harborhook_publish_duration_seconds_count 6",
            r#"harborhook_attempts_total{outcome="success"} 1"#,
            r#"harborhook_attempts_total{outcome="http_5xx"} 1"#,
            r#"harborhook_attempts_total{outcome="timeout"} 0"#,
            r#"harborhook_retries_total{reason="http_5xx"} 1"#,
            r#"harborhook_retries_total{reason="http_4xx"} 0"#,
            r#"harborhook_attempt_duration_seconds_bucket{le="0.005"} 3"#,
            r#"harborhook_deliveries_total{status="delivered",tenant_id="tn_shop"} 1"#,
            r#"harborhook_deliveries_total{status="dead",tenant_id="tn_shop"} 1"#,
            r#"harborhook_dlq_total{reason="client_error"} 1"#,
            r#"harborhook_dlq_total{reason="redirect"} 0"#,
            "harborhook_delivery_latency_seconds_count 1",
            r#"harborhook_store_commits_total{result="committed"} 1"#,
            r#"harborhook_store_commits_total{result="failed"} 1"#,
            "harborhook_store_commit_duration_seconds_count 2",
            "harborhook_store_commit_operations_sum 4.0",
            r#"harborhook_build_info{version="1.2.3"} 1"#,
            "process_start_time_seconds 1700000000.5",
            "harborhook_inflight 0",
        ],
    );
    assert!(!lines.iter().any(|line| line.contains("nobody")), "a refused publish names no tenant");
}

#[test]
fn tenants_beyond_the_cap_are_counted_together() {
    let metrics = metrics(Settings { tenants_max: 2, ..Settings::default() });
    for name in ["a", "b", "c", "d", "b"] {
        publish(&metrics, &tenant(name), PublishResult::Stored);
    }

    assert_has(
        &lines(&metrics),
        &[
            r#"harborhook_events_published_total{tenant_id="a"} 1"#,
            r#"harborhook_events_published_total{tenant_id="b"} 2"#,
            r#"harborhook_events_published_total{tenant_id="other"} 2"#,
        ],
    );
}

#[test]
fn endpoints_are_told_apart_where_that_is_switched_on() {
    let metrics = metrics(Settings { endpoint_labels: true, endpoints_max: 1, ..Settings::default() });
    let first = endpoint(1);
    for endpoint_id in [first, endpoint(2), endpoint(3)] {
        attempt(&metrics, endpoint_id, None, false);
        end(&metrics, &tenant("a"), endpoint_id, None);
    }

    let delivered = r#"harborhook_deliveries_total{status="delivered",tenant_id="a",endpoint_id="#;
    assert_has(
        &lines(&metrics),
        &[
            &format!(r#"harborhook_attempts_total{{outcome="success",endpoint_id="{first}"}} 1"#),
            r#"harborhook_attempts_total{outcome="success",endpoint_id="other"} 2"#,
            &format!(r#"{delivered}"{first}"}} 1"#),
            &format!(r#"{delivered}"other"}} 2"#),
        ],
    );
}

#[test]
fn what_could_not_be_read_has_no_sample() {
    let metrics = metrics(Settings::default());
    let read = Gauges {
        inflight: 4,
        backlog: Some(17),
        oldest_due: Some(Duration::from_millis(1500)),
        jobs_open: Some(3),
        log_lines_dropped: 5,
    };

    let text = metrics.expose(&read, Format::OpenMetrics);
    for line in [
        "harborhook_inflight 4\n",
        "harborhook_worker_backlog 17\n",
        "harborhook_jobs_open 3\n",
        "harborhook_oldest_due_seconds 1.5\n",
        "harborhook_log_lines_dropped_total 5\n",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }

    let unread = Gauges { backlog: None, oldest_due: None, jobs_open: None, ..read };
    let text = metrics.expose(&unread, Format::OpenMetrics);
    assert!(["worker_backlog", "oldest_due", "jobs_open"].iter().all(|name| !text.contains(name)), "{text}");
}

/// The family that a sample of the older format belongs to.
fn family<'a>(sample: &'a str, families: &HashMap<&str, &str>) -> &'a str {
    let name = sample.split(['{', ' ']).next().unwrap();
    for suffix in ["_bucket", "_sum", "_count"] {
        if let Some(base) = name.strip_suffix(suffix)
            && families.get(base) == Some(&"histogram")
        {
            return base;
        }
    }
    name
}

#[test]
fn each_sample_has_help_and_type_in_the_older_format() {
    let metrics = metrics(Settings::default());
    publish(&metrics, &tenant("a"), PublishResult::Stored);
    end(&metrics, &tenant("a"), endpoint(1), None);

    let text = metrics.expose(&Gauges::default(), Format::Prometheus);

    let (mut helped, mut typed) = (HashSet::new(), HashMap::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(helped.insert(name) && help.len() > 5, "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(typed.insert(name, kind).is_none(), "{line} comes twice");
        } else {
            let name = family(line, &typed);
            assert!(helped.contains(name) && typed.contains_key(name), "{line}");
            let value = line.rsplit_once(' ').unwrap().1;
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(typed.len() > 15, "{text}");
    assert!(metrics.expose(&Gauges::default(), Format::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn the_scraper_chooses_the_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
    assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
    assert_eq!(Format::accepted(None), Format::Prometheus);
}
