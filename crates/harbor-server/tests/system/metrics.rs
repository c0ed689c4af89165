//! The ops listener.

use std::collections::HashMap;

use crate::daemon::{get, serve, start};

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(serve(folder.path()));

    let (status, text) = get(daemon.ops, "/metrics", &[]);

    assert_eq!(status, 200);
    let mut kinds = HashMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} comes twice");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert_eq!(sample.contains('{'), sample.ends_with('}'), "{line}");
        }
    }
    for (name, kind) in [
        ("harborhook_publishes_total", "counter"),
        ("harborhook_publish_duration_seconds", "histogram"),
        ("harborhook_attempts_total", "counter"),
        ("harborhook_retries_total", "counter"),
        ("harborhook_dlq_total", "counter"),
        ("harborhook_delivery_latency_seconds", "histogram"),
        ("harborhook_attempt_duration_seconds", "histogram"),
        ("harborhook_worker_backlog", "gauge"),
        ("harborhook_oldest_due_seconds", "gauge"),
        ("harborhook_inflight", "gauge"),
        ("harborhook_store_commit_duration_seconds", "histogram"),
        ("harborhook_store_commit_operations", "histogram"),
        ("harborhook_build_info", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_cpu_seconds_total", "counter"),
    ] {
        assert_eq!(kinds.get(name).map(String::as_str), Some(kind), "{name} in {text}");
    }

    let (_, text) = get(daemon.ops, "/metrics", &[("accept", "application/openmetrics-text")]);
    assert!(text.ends_with("# EOF\n"), "{text}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(daemon.ops, path, &[]).0, 200);
        assert_eq!(get(daemon.api, path, &[]).0, 200);
    }
    assert_eq!(get(daemon.api, "/metrics", &[]).0, 404, "metrics are for operators");
    daemon.stop();
}
