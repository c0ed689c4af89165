use harbor_model::policy::RateLimit;
use harbor_model::policy::order::Ordering;
use harbor_model::policy::quota::QuotaLayer;

use super::*;
use crate::kit::{Ports, T0, endpoint, key, request, snapshot, tenant};

const MIXED: [(u128, Ordering, &str); 3] =
    [(1, Ordering::None, "*"), (2, Ordering::Key, "*"), (3, Ordering::Endpoint, "*")];

fn lanes(event: &NewEvent) -> Vec<Option<&str>> {
    event.deliveries.iter().map(|delivery| delivery.lane.as_ref().map(LaneKey::as_str)).collect()
}

fn ordered(key: &str) -> PublishRequest {
    PublishRequest { ordering_key: Some(key.to_owned()), ..request("order.made") }
}

#[tokio::test]
async fn a_delivery_joins_the_lane_that_its_endpoint_orders_by() {
    let later = Some(T0 + Duration::from_millis(1));
    let check = async |request: PublishRequest, expected: [Option<&str>; 3], wanted: [bool; 3]| {
        let ports = Ports::new(snapshot(&MIXED, QuotaLayer::default()));
        let context = format!("{request:?}");
        ports.publisher().publish(&tenant(), request).await.unwrap();
        assert_eq!(lanes(&ports.take_events()[0]), expected, "{context}");
        assert_eq!(*ports.wanted.lock().unwrap(), [wanted], "{context}");
    };
    check(ordered("a"), [None, Some("a"), Some("")], [true, false, false]).await;
    check(request("order.made"), [None, None, Some("")], [true, true, false]).await;
    check(
        PublishRequest { deliver_at: Some(T0), ..ordered("a") },
        [None, Some("a"), Some("")],
        [true, false, false],
    )
    .await;
    check(PublishRequest { deliver_at: later, ..ordered("a") }, [None; 3], [false; 3]).await;
}

#[tokio::test]
async fn a_test_event_is_outside_lanes() {
    let ports = Ports::new(snapshot(&MIXED, QuotaLayer::default()));
    ports.publisher().publish_test(&tenant(), endpoint(3), "{}".into(), None).await.unwrap();
    assert_eq!(lanes(&ports.take_events()[0]), [None]);
    assert_eq!(*ports.wanted.lock().unwrap(), [[true]]);
    assert!(ports.announced.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_joined_a_lane_is_announced_once_it_is_stored() {
    let ports = Ports::new(snapshot(&MIXED, QuotaLayer::default()));
    let publisher = ports.publisher();
    ports.answer(Ok(Published::Duplicate { event_id: EventId::from_number(1), fan_out_count: 3 }));
    publisher.publish(&tenant(), ordered("a")).await.unwrap();
    assert!(ports.announced.lock().unwrap().is_empty(), "nothing new is due");

    publisher.publish_batch(&tenant(), vec![ordered("a"), ordered("b"), request("order.made")]).await;
    assert_eq!(*ports.announced.lock().unwrap(), [[key(2), key(3)]], "each endpoint once");
}

#[tokio::test]
async fn a_batch_counts_each_of_its_events() {
    let rate = Some(RateLimit { per_second: 1, burst: 2 });
    let ports = Ports::new(snapshot(&MIXED, QuotaLayer { rate, per_day: None }));
    let results = ports.publisher().publish_batch(&tenant(), vec![request("a"); 3]).await;
    let is_refused: Vec<_> =
        results.iter().map(|result| matches!(result, Err(PublishRefusal::QuotaExceeded(_)))).collect();
    assert_eq!(is_refused, [false, false, true]);
    assert_eq!(ports.take_events().len(), 2, "what is over is not stored");
    let seen = ports.seen.lock().unwrap().clone();
    assert_eq!(seen, [PublishResult::Stored, PublishResult::Stored, PublishResult::OverQuota]);
}

#[tokio::test]
async fn only_what_is_stored_is_counted() {
    let per_day = Some(10);
    let ports = Ports::new(snapshot(&MIXED, QuotaLayer { rate: None, per_day }));
    let publisher = ports.publisher();
    let remaining = async || publisher.quota_standing(&tenant()).await.unwrap().unwrap().remaining;
    assert_eq!(remaining().await, 10);

    let event_id = EventId::from_number(1);
    for answer in [
        Ok(Published::Duplicate { event_id, fan_out_count: 3 }),
        Ok(Published::KeyReused),
        Ok(Published::Crowded),
        Err(Fault::bare("the disk is full")),
        Ok(Published::Stored { leases: Vec::new() }),
    ] {
        ports.answer(answer);
    }
    let mut requests = vec![request("a"); 5];
    requests.push(request("harborhook.test"));
    publisher.publish_batch(&tenant(), requests).await;
    assert_eq!(remaining().await, 9, "one of six");

    ports.answer(Ok(Published::Stale { directory_version: 2 }));
    publisher.publish(&tenant(), request("a")).await.unwrap();
    assert_eq!(remaining().await, 8, "what is stored in the second round is counted once");

    publisher.publish_test(&tenant(), endpoint(1), "{}".into(), None).await.unwrap();
    assert_eq!(remaining().await, 8, "a test counts nothing");
}

#[tokio::test]
async fn without_a_quota_there_is_no_standing() {
    let ports = Ports::new(snapshot(&MIXED, QuotaLayer::default()));
    let publisher = ports.publisher();
    publisher.publish(&tenant(), request("a")).await.unwrap();
    assert_eq!(publisher.quota_standing(&tenant()).await.unwrap(), None);
    assert_eq!(publisher.quota_standing(&"other".parse().unwrap()).await.unwrap(), None);
}
