use std::collections::BTreeMap;

use harbor_model::id::{DeliveryId, EndpointId};
use harbor_model::time::Timestamp;
use serde_json::{Value, json};

use super::*;

fn job(task: Task) -> Job {
    Job {
        id: JobId::from_number(7),
        tenant_id: "acme".parse().unwrap(),
        task,
        status: JobStatus::Running,
        counts: JobCounts { matched: 4, queued: 3, succeeded: 2, failed: 1 },
        removed: BTreeMap::from([("events".to_owned(), 5)]),
        error: None,
        place: Vec::new(),
        version: 3,
        created_at: Timestamp::from_unix_ms(1_700_000_000_000),
        updated_at: Timestamp::from_unix_ms(1_700_000_001_000),
    }
}

fn read(replay: Value) -> Result<ReplayJobRequest, Vec<String>> {
    let fields = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect();
    read_replay(serde_json::from_value(replay).unwrap(), Ok(None)).map_err(fields)
}

#[test]
fn what_cannot_be_read_of_a_replay_is_named() {
    let check = |replay: Value, expected: &[&str]| {
        let text = replay.to_string();
        assert_eq!(read(replay).err().unwrap_or_default(), expected, "{text}");
    };
    let delivery = DeliveryId::from_number(1).to_string();
    check(json!({"delivery_ids": [delivery]}), &[]);
    check(json!({"delivery_ids": [delivery, "evt_x", "dlv_x"]}), &["delivery_ids[1]", "delivery_ids[2]"]);
    check(
        json!({"dlq_range": {"from": "yesterday", "to": "2026-01-01T00:00:00Z", "endpoint_id": "ep"}}),
        &["dlq_range.from", "dlq_range.endpoint_id"],
    );
    check(
        json!({"filter": {"event_type": "a b", "since": "x", "until": "y", "event_id": "dlv_1"}}),
        &["filter.event_id", "filter.event_type", "filter.since", "filter.until"],
    );
    let differs = read_replay(
        wire::CreateReplay::default(),
        Err(FieldError::new("Idempotency-Key", "must be visible ASCII")),
    );
    assert_eq!(differs.unwrap_err()[0].field, "Idempotency-Key");
}

#[test]
fn a_list_of_wrong_ids_is_answered_with_the_first_of_them() {
    let wrong = read(json!({"delivery_ids": vec!["x"; 10_000]})).unwrap_err();
    assert_eq!(wrong.len(), WRONG_IDS_MAX);
}

#[test]
fn a_replay_shows_what_was_asked_for() {
    let at = |secs: i64| Timestamp::from_unix_ms(1_700_000_000_000 + secs * 1_000);
    let check = |selection: Selection, field: &str, expected: Value| {
        let task = ReplayTask {
            selection,
            rate_per_second: Some(5),
            is_dry_run: true,
            new_webhook_id: false,
            reason: Some("why".to_owned()),
        };
        let shown = serde_json::to_value(write_replay(&job(Task::Replay(task)))).unwrap();
        for known in ["delivery_ids", "dlq_range", "filter"] {
            let expected = if known == field { &expected } else { &Value::Null };
            assert_eq!(shown[known], *expected, "{shown}");
        }
        assert_eq!((&shown["status"], &shown["dry_run"]), (&json!("running"), &json!(true)));
        assert_eq!(shown["counts"], json!({"matched": 4, "queued": 3, "succeeded": 2, "failed": 1}));
        assert_eq!(shown["id"], ReplayId::from_number(7).to_string());
        assert_eq!(shown["rate_per_second"], 5);
    };
    let (delivery, endpoint_id) = (DeliveryId::from_number(1), EndpointId::from_number(2));
    check(Selection::Ids(vec![delivery]), "delivery_ids", json!([delivery.to_string()]));
    check(
        Selection::DeadLetters { from: at(0), to: at(60), endpoint_id: Some(endpoint_id) },
        "dlq_range",
        json!({
            "from": "2023-11-14T22:13:20.000Z", "to": "2023-11-14T22:14:20.000Z",
            "endpoint_id": endpoint_id.to_string(),
        }),
    );
    let filter = DeliveryFilter { endpoint_id: Some(endpoint_id), ..DeliveryFilter::default() };
    check(Selection::Filter(filter), "filter", json!({"endpoint_id": endpoint_id.to_string()}));
}

#[test]
fn a_replay_in_a_list_leaves_its_ids_out() {
    let task = ReplayTask {
        selection: Selection::Ids(vec![DeliveryId::from_number(1)]),
        rate_per_second: None,
        is_dry_run: false,
        new_webhook_id: false,
        reason: None,
    };
    assert_eq!(write_replay_summary(&job(Task::Replay(task))).delivery_ids, None);
}

#[test]
fn a_job_shows_what_its_kind_has() {
    let shown = |task| serde_json::to_value(write(&job(task))).unwrap();
    let cancel = shown(Task::Cancel(DeliveryFilter::default()));
    assert_eq!(
        (&cancel["kind"], &cancel["filter"], &cancel["removed"]),
        (&json!("cancel"), &json!({}), &Value::Null)
    );
    assert_eq!(cancel["counts"]["succeeded"], 2);
    let purge = shown(Task::Purge);
    assert_eq!((&purge["kind"], &purge["removed"]), (&json!("purge"), &json!({"events": 5})));
    assert_eq!((&purge["counts"], &purge["filter"]), (&Value::Null, &Value::Null));
    assert_eq!(purge["id"], JobId::from_number(7).to_string());
}

#[test]
fn a_filter_survives_its_text() {
    let filter = DeliveryFilter {
        endpoint_id: Some(EndpointId::from_number(2)),
        event_type: Some("a.b".parse().unwrap()),
        status: Some(harbor_model::delivery::DeliveryStatus::Dead),
        since: Some(Timestamp::from_unix_ms(1_700_000_000_123)),
        ..DeliveryFilter::default()
    };
    let mut checks = Checks::default();
    assert_eq!(read_filter(&write_filter(&filter), &mut checks), filter);
    assert_eq!(checks.finish(), Ok(()));
}

#[test]
fn statuses_are_the_same_inside_and_out() {
    for status in JobStatus::ALL {
        assert_eq!(serde_json::to_value(write_job_status(*status)).unwrap(), status.as_str());
        assert_eq!(write_job_status(*status).is_final(), status.is_final());
    }
}
