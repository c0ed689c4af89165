use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::publish::{PublishReceipt, PublishRefusal};
use harbor_ingest::request::PublishRequest;
use harbor_model::event::Unmatched;
use harbor_testkit::world::World;

fn request(key: Option<&str>, payload: &'static str) -> PublishRequest {
    PublishRequest {
        event_type: "invoice.paid".to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
        idempotency_key: key.map(str::to_owned),
        ..PublishRequest::default()
    }
}

#[tokio::test]
async fn an_event_goes_once_to_each_endpoint_that_wants_it() {
    let world = World::new().await;
    let all = world.endpoint().await;
    let invoices = world.endpoint().wants(["invoice.*", "invoice.paid", "*"]).await;
    let orders = world.endpoint().wants(["order.*"]).await;

    let receipt = world.try_publish(request(None, "{}")).await.unwrap();
    world.run_until_idle().await;

    assert_eq!(receipt.fan_out_count, 2);
    assert_eq!(world.received(&all).len(), 1);
    assert_eq!(world.received(&invoices).len(), 1);
    assert_eq!(world.received(&orders).len(), 0);
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let payloads = [
        r#"{"b": 1, "a": 2,   "b": 3}"#,
        "12345678901234567890",
        "1.10",
        "1e400",
        "null",
        r#""a bare string""#,
        r#""\u00e9\ud83d\ude00\u0000""#,
        "[ 1 ,\n\t2 ]",
        "\"漢字 é\"",
    ];
    for payload in payloads {
        world.try_publish(request(None, payload)).await.unwrap();
    }
    world.run_until_idle().await;

    let mut received: Vec<_> = world.received(&shop).into_iter().map(|request| request.body).collect();
    let mut expected: Vec<_> = payloads.map(|payload| Bytes::from_static(payload.as_bytes())).into();
    received.sort();
    expected.sort();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_repeat_under_the_same_key_creates_nothing() {
    let world = World::new().await;
    let shop = world.endpoint().await;

    let first = world.try_publish(request(Some("k1"), "{}")).await.unwrap();
    let again = world.try_publish(request(Some("k1"), "{}")).await.unwrap();
    let late_endpoint = world.endpoint().await;
    let later = world.try_publish(request(Some("k1"), "{}")).await.unwrap();
    world.run_until_idle().await;

    assert_eq!(again, PublishReceipt { is_duplicate: true, ..first.clone() });
    assert_eq!(later, again, "the fan-out of a duplicate is the first's");
    assert_eq!(world.received(&shop).len(), 1);
    assert_eq!(world.received(&late_endpoint).len(), 0);
}

#[tokio::test]
async fn a_key_belongs_to_its_type_and_bytes_for_a_week() {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let world = World::new().await;
    let first = world.try_publish(request(Some("k1"), r#"{"a":1}"#)).await.unwrap();

    let other_bytes = world.try_publish(request(Some("k1"), r#"{"a": 1}"#)).await;
    assert!(matches!(other_bytes, Err(PublishRefusal::KeyReused)), "{other_bytes:?}");
    let other_type = PublishRequest { event_type: "x".to_owned(), ..request(Some("k1"), r#"{"a":1}"#) };
    assert!(matches!(world.try_publish(other_type).await, Err(PublishRefusal::KeyReused)));

    world.advance(week - Duration::from_millis(1)).await;
    assert!(world.try_publish(request(Some("k1"), r#"{"a":1}"#)).await.unwrap().is_duplicate);
    world.advance(Duration::from_millis(1)).await;
    let taken_over = world.try_publish(request(Some("k1"), r#"{"a":2}"#)).await.unwrap();
    assert!(!taken_over.is_duplicate && taken_over.event_id != first.event_id);
}

#[tokio::test]
async fn one_refused_event_does_not_hold_up_its_batch() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let reserved = PublishRequest { event_type: "harborhook.own".to_owned(), ..request(None, "{}") };
    let batch = vec![request(Some("k"), "1"), reserved, request(Some("k"), "1"), request(Some("k"), "2")];

    let results = world.publisher.publish_batch(&world.tenant, batch).await;
    world.run_until_idle().await;

    let first = results[0].as_ref().unwrap();
    assert!(matches!(&results[1], Err(PublishRefusal::Invalid(errors)) if errors[0].field == "event_type"));
    assert!(results[2].as_ref().unwrap().is_duplicate);
    assert_eq!(results[2].as_ref().unwrap().event_id, first.event_id);
    assert!(matches!(results[3], Err(PublishRefusal::KeyReused)));
    assert_eq!(world.received(&shop).len(), 1);
}

#[tokio::test]
async fn an_event_that_nobody_wants_is_kept_and_says_why() {
    let world = World::new().await;
    let receipt = world.try_publish(request(None, "{}")).await.unwrap();

    let event = world.store.find_event(&world.tenant, receipt.event_id).await.unwrap().unwrap();

    assert_eq!(receipt.fan_out_count, 0);
    assert_eq!(event.fan_out.unmatched(), Some(Unmatched::NoSubscription));
    assert_eq!(event.body.payload, Bytes::from_static(b"{}"));
}

#[tokio::test]
async fn a_scheduled_event_waits_for_its_time() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let hour = Duration::from_secs(3600);
    let deliver_at = Some(world.now() + hour);

    world.try_publish(PublishRequest { deliver_at, ..request(None, "{}") }).await.unwrap();
    world.advance(hour - Duration::from_millis(1)).await;
    assert_eq!(world.received(&shop).len(), 0);
    world.advance(Duration::from_millis(1)).await;
    assert_eq!(world.received(&shop).len(), 1);
}

#[tokio::test]
async fn an_endpoint_made_between_two_events_gets_the_second() {
    let world = World::new().await;
    world.publish("invoice.paid").await;
    let shop = world.endpoint().await;
    world.publish("invoice.paid").await;
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 1);
}

#[tokio::test]
async fn many_more_events_than_a_lane_holds_all_arrive() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let batch = |n: usize| (0..n).map(|_| request(None, "{}")).collect::<Vec<_>>();
    for _ in 0..4 {
        let results = world.publisher.publish_batch(&world.tenant, batch(1000)).await;
        assert!(results.iter().all(Result::is_ok));
    }
    world.run_until_idle().await;

    let mut ids: Vec<_> = world.received(&shop).iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 4000, "each once");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4000);
}
