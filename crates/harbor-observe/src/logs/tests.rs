use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::time::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, error, info, info_span};

use super::*;

/// Stands still.
struct StoppedClock;

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_700_000_000_123)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep_until(&self, _: Timestamp) {}
}

/// Logs what `act` does into a file and returns its lines.
fn logged(settings: Settings, act: impl FnOnce(&Logs)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let settings = Settings { file: Some(path.clone()), ..settings };
    let (subscriber, logs) = Logs::prepare(&settings, Arc::new(StoppedClock)).unwrap();
    tracing::subscriber::with_default(subscriber, || act(&logs));
    drop(logs);
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn logged_json(act: impl FnOnce(&Logs)) -> Vec<Value> {
    let lines = logged(Settings::default(), act);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_of_json_has_every_field_at_its_top() {
    let tenant_id: harbor_model::id::TenantId = "tn_shop".parse().unwrap();
    let lines = logged_json(|_| {
        info!(
            target: "harbor_deliver::worker",
            %tenant_id,
            attempt = 2,
            lost = -1_i64,
            ok = true,
            share = 0.5,
            nothing = f64::NAN,
            absent = None::<u64>,
            cause = ?Some("x"),
            text = "line\nbreak \"quoted\" \\ \u{7f}\u{1b}[31m ü",
            "attempt {} of dlv_1",
            2
        );
    });

    let expected = json!({
        "timestamp": "2023-11-14T22:13:20.123Z",
        "level": "INFO",
        "target": "harbor_deliver::worker",
        "message": "attempt 2 of dlv_1",
        "tenant_id": "tn_shop",
        "attempt": 2,
        "lost": -1,
        "ok": true,
        "share": 0.5,
        "nothing": null,
        "cause": "Some(\"x\")",
        "text": "line\nbreak \"quoted\" \\ \u{7f}\u{1b}[31m ü",
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn a_line_has_the_fields_of_its_spans_unless_it_has_its_own() {
    let lines = logged_json(|_| {
        let outer =
            info_span!("request", tenant_id = "outer", trace_id = "t1", status = tracing::field::Empty);
        outer.record("status", 200);
        outer.in_scope(|| {
            let inner = info_span!("publish", tenant_id = "inner", event_id = "evt_1", level = "x");
            inner.in_scope(|| info!(event_id = "evt_2", "published"));
        });
    });

    let line = &lines[0];
    assert_eq!(line["tenant_id"], "inner");
    assert_eq!(line["trace_id"], "t1");
    assert_eq!(line["event_id"], "evt_2");
    assert_eq!(line["status"], 200);
    assert_eq!(line["level"], "INFO");
}

#[test]
fn the_level_can_be_changed_while_it_runs() {
    let lines = logged_json(|logs| {
        debug!("too early");
        logs.set_level(&"warn,harbor_observe=debug".parse().unwrap());
        debug!("shown");
        info!(target: "elsewhere", "not shown");
        logs.set_level(&"off".parse().unwrap());
        error!("too late");
    });

    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["shown"]);
}

#[test]
fn text_is_for_people() {
    let settings = Settings { format: Format::Text, ..Settings::default() };
    let lines = logged(settings, |_| info!(delivery_id = "dlv_1", "delivered"));
    assert_eq!(
        lines,
        ["2023-11-14T22:13:20.123Z  INFO harbor_observe::logs::tests: delivered delivery_id=\"dlv_1\""]
    );
}

#[test]
fn a_level_is_a_level_or_levels_by_module() {
    for level in ["info", "DEBUG", "off", "warn,harbor_deliver=debug", "harbor_api=trace,error"] {
        assert_eq!(level.parse::<Level>().map(|level| level.to_string()), Ok(level.to_owned()));
    }
    for refused in ["", "loud", "info,harbor_deliver", "info,harbor_deliver=loud", "info,,warn"] {
        assert_eq!(refused.parse::<Level>(), Err(LevelError), "{refused}");
    }
}
