use std::time::Duration;

use harbor_receiver::Script;
use harbor_testkit::program::Server;
use serde_json::{Value, json};

use crate::system::set_up::{SECRET, endpoint, receiver};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_first_publish_arrives_signed_as_an_independent_library_checks() {
    let mut server = Server::start().await;
    let (api, receiver) = (server.api(), receiver(Script::always(200)).await);
    let created =
        api.post("/v1/endpoints", json!({"url": receiver.url(), "secret": SECRET}).to_string()).await;
    let endpoint_id = created.expect(201)["id"].clone();
    let subscription = json!({"event_type": "appointment.*", "endpoint_id": endpoint_id});
    api.post("/v1/subscriptions", subscription.to_string()).await.expect(201);

    let published = api.publish("appointment.created", br#"{"appointment": 42}"#).await.expect(200);
    let requests = receiver.wait_for(1, PATIENCE).await.unwrap();

    assert_eq!(published["fanout_count"], 1);
    assert_eq!(published["duplicate"], false);
    assert_eq!(requests[0].webhook_id().unwrap(), published["event_id"]);
    assert_eq!(&requests[0].body[..], br#"{"appointment": 42}"#);
    let library = standardwebhooks::Webhook::new(SECRET).unwrap();
    library.verify(&requests[0].body, &requests[0].headers).unwrap();
    assert!(server.stop().await.success());
}

/// Waits until every delivery of an event is final.
async fn final_deliveries(api: &harbor_testkit::api::Api, event: &Value) -> Vec<Value> {
    let path = format!("/v1/events/{}/deliveries", event.as_str().unwrap());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let deliveries = api.get(&path).await.expect(200)["data"].as_array().unwrap().clone();
        let is_final = |delivery: &Value| {
            ["delivered", "dead", "cancelled"].contains(&delivery["status"].as_str().unwrap())
        };
        if deliveries.iter().all(is_final) {
            return deliveries;
        }
        assert!(tokio::time::Instant::now() < deadline, "still open: {deliveries:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_retried_buried_and_replayed() {
    let server = Server::start().await;
    let (api, receiver) = (server.api(), receiver(Script::per_webhook([500, 500, 200])).await);
    let quick = json!({"retry": {"schedule": ["50ms", "100ms"], "max_attempts": 3, "jitter": 0.0}});
    endpoint(&api, &receiver, quick).await;

    let event = api.publish("invoice.paid", b"{}").await.expect(200)["event_id"].clone();
    let delivered = final_deliveries(&api, &event).await;
    assert_eq!(delivered[0]["status"], "delivered");
    let statuses: Vec<_> =
        delivered[0]["attempts"].as_array().unwrap().iter().map(|a| a["http_status"].clone()).collect();
    assert_eq!(statuses, [500, 500, 200]);

    receiver.set_script(Script::always(503));
    let event = api.publish("invoice.paid", b"{}").await.expect(200)["event_id"].clone();
    let dead = final_deliveries(&api, &event).await;
    assert_eq!((&dead[0]["status"], &dead[0]["cause"]), (&json!("dead"), &json!("attempts_exhausted")));
    let letters = api.get("/v1/dlq").await.expect(200);
    assert_eq!(letters["data"][0]["id"], dead[0]["id"]);
    assert_eq!(letters["data"][0]["state"], "open");

    receiver.set_script(Script::always(200));
    let path = format!("/v1/deliveries/{}:replay", dead[0]["id"].as_str().unwrap());
    let replay = api.post(&path, "{}").await.expect(201);
    assert_eq!(replay["replay_of"], dead[0]["id"]);
    let all = final_deliveries(&api, &event).await;
    assert_eq!(all.len(), 2, "exactly one new delivery");
    assert!(all.iter().any(|delivery| delivery["id"] == replay["id"] && delivery["status"] == "delivered"));
    assert_eq!(api.get("/v1/dlq").await.expect(200)["data"], json!([]));
    let replayed = api.get("/v1/dlq?state=replayed").await.expect(200);
    assert_eq!(replayed["data"][0]["replayed_by"], replay["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_is_in_flight_and_a_start_goes_on() {
    let mut server = Server::start().await;
    let api = server.api();
    let slow = harbor_receiver::Answer::from(200).delay(Duration::from_millis(300));
    let receiver = receiver(Script::always(slow)).await;
    endpoint(&api, &receiver, json!({"max_in_flight": 2})).await;
    for _ in 0..6 {
        api.publish("a", b"{}").await.expect(200);
    }
    receiver.wait_for(2, PATIENCE).await.unwrap();

    assert!(server.stop().await.success());
    server.restart().await;
    let requests = receiver.wait_for(6, PATIENCE).await.unwrap();

    let mut ids: Vec<_> = requests.iter().map(|request| request.webhook_id().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(
        (ids.len(), receiver.total()),
        (6, 6),
        "nothing is lost, and what was in flight is not repeated"
    );
}
