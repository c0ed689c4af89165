use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::request::PublishRequest;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::DisabledReason;
use harbor_model::lane::LaneKey;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_recover::interventions::ReleaseRefusal;
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, World};

use super::fleet::{SlowReceivers, beat, eventually, worker};
use super::incarnations::{run, world_with_a_bug};

const SECOND: Duration = Duration::from_secs(1);

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn in_order(payload: String) -> PublishRequest {
    PublishRequest {
        event_type: "order.changed".to_owned(),
        payload: payload.into(),
        ordering_key: Some("k".to_owned()),
        ..PublishRequest::default()
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_head_that_fails_holds_up_its_own_lane_alone() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).waits([10 * SECOND]).await;
    world.publish_in_order("a", "a1").await;
    world.settle().await;
    for (key, payload) in [("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")] {
        world.publish_in_order(key, payload).await;
    }
    world.publish("unordered").await;

    world.advance(10 * SECOND - Duration::from_millis(1)).await;
    let mut meanwhile = world.bodies(&shop);
    meanwhile.sort();
    assert_eq!(meanwhile, ["a1", "b1", "b2", r#"{"amount": 1.10}"#], "others do not notice");
    world.advance(Duration::from_millis(1)).await;

    assert_eq!(world.bodies(&shop)[4..], ["a1", "a2", "a3"]);
    assert_eq!(world.lanes(&shop).await, [], "nobody is in a lane any more");
}

#[tokio::test]
async fn an_endpoint_that_orders_everything_gets_one_at_a_time() {
    let world = World::new().await;
    let shop = world.endpoint().ordered().await;
    world.worker.stop(Duration::ZERO).await;
    let slow = SlowReceivers::new(&world);
    let (worker, _line) = worker(&world, slow.clone()).await;
    for number in 0..5 {
        world.publish_in_order(&format!("key {number}"), number.to_string()).await;
    }

    for sent in 0..5 {
        worker.refill().await.unwrap();
        eventually("the next request", || slow.in_flight() == 1).await;
        assert_eq!(world.received(&shop).len(), sent);
        slow.answers.add_permits(1);
        eventually("its answer", || world.received(&shop).len() == sent + 1).await;
    }
    worker.idle().await;

    assert_eq!(world.bodies(&shop), numbers(5));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_dead_head_is_passed_over() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).attempts(1).await;
    let head = world.publish_in_order("k", "1").await;
    for payload in ["2", "3"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "2", "3"]);
    assert_eq!(world.delivery_of(head).await.status, DeliveryStatus::Dead);
}

/// A lane whose head is dead and holds it since a second, with two behind.
async fn held() -> (World, Shop) {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().holds_on_dead().answers([500, 200]).attempts(1).await;
    world.publish_in_order("k", "1").await;
    world.advance(SECOND).await;
    for payload in ["2", "3"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;
    (world, shop)
}

#[tokio::test]
async fn a_dead_head_holds_its_lane_for_as_long_as_nobody_releases_it() {
    let (world, shop) = held().await;
    world.publish_in_order("other", "other").await;
    let held_at = world.now() - SECOND;

    world.advance(MONTH).await;
    world.upkeep().await;

    assert_eq!(world.bodies(&shop), ["1", "other"]);
    let [lane] = &world.lanes(&shop).await[..] else { panic!("one lane is held") };
    assert_eq!((lane.key.as_str(), lane.waiting_count, lane.held_at), ("k", 2, Some(held_at)));
    assert_eq!(lane.head.as_ref().unwrap().status, DeliveryStatus::Dead);
    let backlog = world.store.backlog(world.now()).await.unwrap();
    assert_eq!((backlog.due, backlog.next_due_at), (0, None), "who waits behind is not due");
}

#[tokio::test]
async fn a_held_lane_goes_on_past_its_head() {
    let (world, shop) = held().await;
    let head = world.deliveries(&shop).await[0].id;

    let skipped = world.interventions().skip_lane(&world.tenant, shop.id, &LaneKey::new("k")).await.unwrap();
    world.settle().await;

    assert_eq!(skipped, Some(head));
    assert_eq!(world.bodies(&shop), ["1", "2", "3"]);
    assert_eq!(world.delivery(head).await.delivery.status, DeliveryStatus::Dead, "dead stays dead");
    let again = world.interventions().skip_lane(&world.tenant, shop.id, &LaneKey::new("k")).await;
    assert!(matches!(again, Err(ReleaseRefusal::NotFound)), "{again:?}");
}

#[tokio::test]
async fn a_held_lane_goes_on_with_a_replay_of_its_head() {
    let (world, shop) = held().await;
    let head = world.deliveries(&shop).await[0].id;

    let replay = world.interventions().retry_lane(&world.tenant, shop.id, &LaneKey::new("k")).await.unwrap();
    world.settle().await;

    assert_eq!(world.bodies(&shop), ["1", "1", "2", "3"]);
    let replay = world.delivery(replay.unwrap()).await.delivery;
    assert_eq!((replay.replay_of, replay.status), (Some(head), DeliveryStatus::Delivered));
    let letter = world.delivery(head).await.delivery.dead_letter.unwrap();
    assert_eq!(letter.replayed_by, Some(replay.id));
}

#[tokio::test]
async fn an_open_head_is_skipped_or_tried_now() {
    let world = World::new().await;
    let shop = world.endpoint().ordered().answers([500]).attempts(9).waits([MONTH]).await;
    let key = LaneKey::of_endpoint();
    world.publish_in_order("k", "1").await;
    world.advance(SECOND).await;
    world.publish_in_order("k", "2").await;
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1"]);

    world.interventions().retry_lane(&world.tenant, shop.id, &key).await.unwrap();
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "1"]);
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.interventions().skip_lane(&world.tenant, shop.id, &key).await.unwrap();
    world.settle().await;

    assert_eq!(world.bodies(&shop), ["1", "1", "2"]);
    assert_eq!(world.history(&shop).await, ["500", "500", "cancelled", "200", "delivered"]);
}

#[tokio::test]
async fn what_is_scheduled_or_a_test_stands_in_no_lane() {
    let (world, shop) = held().await;
    let deliver_at = Some(world.now() + SECOND);
    world.try_publish(PublishRequest { deliver_at, ..in_order("scheduled".to_owned()) }).await.unwrap();
    world.publisher.publish_test(&world.tenant, shop.id, Bytes::from_static(b"test"), None).await.unwrap();

    world.advance(SECOND).await;

    assert_eq!(world.bodies(&shop), ["1", "test", "scheduled"]);
}

#[tokio::test]
async fn a_replay_joins_the_tail_of_its_lane() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([400, 500, 200]).waits([10 * SECOND]).await;
    world.publish_in_order("k", "1").await;
    world.settle().await;
    let dead = world.deliveries(&shop).await[0].id;
    for payload in ["2", "3"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;

    world.replay(dead).await.unwrap();
    world.publish_in_order("k", "4").await;
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "2"]);
    world.advance(10 * SECOND).await;

    assert_eq!(world.bodies(&shop), ["1", "2", "2", "3", "1", "4"]);
}

#[tokio::test]
async fn two_workers_keep_the_order_of_every_key() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().await;
    let other = world.another_worker().await;
    for number in 0..10 {
        for key in ["a", "b", "c"] {
            world.publish_in_order(key, format!("{key}{number}")).await;
        }
    }

    while world.received(&shop).len() < 30 {
        let (one, two) = tokio::join!(world.worker.refill(), other.refill());
        let _ = (one.unwrap(), two.unwrap());
        tokio::join!(world.worker.idle(), other.idle());
    }

    for key in ["a", "b", "c"] {
        let of_key: Vec<_> = world.bodies(&shop).into_iter().filter(|body| body.starts_with(key)).collect();
        let expected: Vec<_> = (0..10).map(|number| format!("{key}{number}")).collect();
        assert_eq!(of_key, expected);
    }
    other.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_lane_goes_on_with_another_worker() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).waits([24 * 60 * 60 * SECOND]).await;
    for payload in ["1", "2"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;
    world.worker.stop(Duration::ZERO).await;
    let other = world.another_worker().await;

    world.clock.advance(24 * 60 * 60 * SECOND);
    while world.received(&shop).len() < 3 {
        other.refill().await.unwrap();
        other.idle().await;
    }

    assert_eq!(world.bodies(&shop), ["1", "1", "2"]);
    other.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_batch_keeps_its_order() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().await;
    let requests: Vec<_> = numbers(100).into_iter().map(in_order).collect();

    let receipts = world.publisher.publish_batch(&world.tenant, requests).await;
    world.run_until_idle().await;

    assert!(receipts.iter().all(Result::is_ok));
    assert_eq!(world.bodies(&shop), numbers(100));
}

#[tokio::test]
async fn another_ordering_concerns_later_events() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).waits([10 * SECOND]).await;
    for payload in ["1", "2"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;

    world.change(&shop, |endpoint| endpoint.policy.ordering = Some(Ordering::None)).await;
    world.publish_in_order("k", "3").await;
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "3"]);
    world.advance(10 * SECOND).await;

    assert_eq!(world.bodies(&shop), ["1", "3", "1", "2"]);
}

#[tokio::test]
async fn a_lane_of_a_disabled_endpoint_ends_with_it() {
    let (world, shop) = held().await;
    world.change(&shop, |endpoint| endpoint.disabled = Some(DisabledReason::Manual)).await;
    world.upkeep().await;
    assert_eq!(world.lanes(&shop).await, []);

    world.clock.advance(SECOND);
    world.change(&shop, |endpoint| endpoint.disabled = None).await;
    world.publish_in_order("k", "4").await;
    world.run_until_idle().await;

    assert_eq!(world.bodies(&shop), ["1", "4"], "a new lane begins");
}

#[tokio::test]
async fn a_cancelled_head_that_is_in_flight_moves_its_lane_once() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 500, 200]).waits([3600 * SECOND]).await;
    world.worker.stop(Duration::ZERO).await;
    let slow = SlowReceivers::new(&world);
    let (worker, _line) = worker(&world, slow.clone()).await;
    let head = world.publish_in_order("k", "1").await;
    for payload in ["2", "3"] {
        world.publish_in_order("k", payload).await;
    }
    worker.refill().await.unwrap();
    eventually("the head", || slow.in_flight() == 1).await;

    let head = world.delivery_of(head).await.id;
    world.interventions().cancel(&world.tenant, head).await.unwrap();
    worker.refill().await.unwrap();
    eventually("the next one", || slow.in_flight() == 2).await;
    slow.answers.add_permits(10);
    worker.idle().await;
    worker.refill().await.unwrap();
    worker.idle().await;

    assert_eq!(world.bodies(&shop), ["1", "2"], "the late answer for the old head lets nobody go");
    assert_eq!(world.lanes(&shop).await[0].waiting_count, 1);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_late_result_of_a_worker_taken_for_dead_leaves_the_lane_alone() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).waits([3600 * SECOND]).await;
    let slow = SlowReceivers::new(&world);
    let (silent, line) = worker(&world, slow.clone()).await;
    for payload in ["1", "2"] {
        world.publish_in_order("k", payload).await;
    }
    silent.refill().await.unwrap();
    eventually("the head", || slow.in_flight() == 1).await;
    let (witness, witness_line) = worker(&world, world.receivers.clone()).await;

    line.cut(true);
    for _ in 0..4 {
        beat(&world, &[&witness_line, &line]).await;
    }
    while world.received(&shop).is_empty() {
        witness.refill().await.unwrap();
        tokio::task::yield_now().await;
    }
    witness.idle().await;
    assert_eq!(world.bodies(&shop), ["1"], "it fails elsewhere");
    slow.answers.add_permits(10);
    silent.idle().await;
    witness.refill().await.unwrap();
    witness.idle().await;
    assert_eq!(world.bodies(&shop), ["1", "1"], "the late success counts for nothing, and lets nobody go");

    world.clock.advance(3600 * SECOND);
    while world.received(&shop).len() < 4 {
        witness.refill().await.unwrap();
        witness.idle().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(world.bodies(&shop), ["1", "1", "1", "2"]);
    line.cut(false);
    silent.stop(Duration::ZERO).await;
    witness.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_head_that_breaks_its_workers_is_passed_over() {
    let (world, worker) = world_with_a_bug(5).await;
    let shop = world.endpoint().ordered_by_key().await;
    let head = world.publish_in_order("k", "1").await;
    for payload in ["2", "3"] {
        world.publish_in_order("k", payload).await;
    }

    run(&world, &worker).await;

    assert_eq!(world.delivery_of(head).await.status, DeliveryStatus::Dead);
    assert_eq!(world.bodies(&shop), ["2", "3"]);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_breaker_lets_one_lane_probe_and_every_lane_keeps_its_order() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500]).attempts(100).waits([SECOND]);
    let shop = shop.policy(|policy| policy.breaker.consecutive_failures = Some(3)).await;
    for key in ["a", "b", "c"] {
        world.publish_in_order(key, format!("{key}1")).await;
    }
    world.settle().await;
    for key in ["a", "b", "c"] {
        world.publish_in_order(key, format!("{key}2")).await;
    }
    world.advance(29 * SECOND).await;
    assert_eq!(world.received(&shop).len(), 3, "it is left alone");

    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.advance(10 * SECOND).await;
    world.run_until_idle().await;

    let bodies = world.bodies(&shop);
    assert_eq!(bodies.len(), 9);
    for key in ["a", "b", "c"] {
        let of_key: Vec<_> = bodies.iter().filter(|body| body.starts_with(key)).collect();
        assert_eq!(of_key, [&format!("{key}1"), &format!("{key}1"), &format!("{key}2")]);
    }
}

#[tokio::test]
async fn a_lane_that_is_held_stays_held_whatever_is_done_beside_it() {
    let (world, shop) = held().await;
    let head = world.deliveries(&shop).await[0].clone();

    world.change(&shop, |endpoint| endpoint.policy.on_dead = Some(OnDead::Skip)).await;
    world.replay(head.id).await.unwrap();
    world.advance(MONTH).await;
    assert_eq!(world.bodies(&shop), ["1"], "the replay stands at the tail");
    assert_eq!(world.lanes(&shop).await[0].waiting_count, 3);

    world.interventions().skip_lane(&world.tenant, shop.id, &LaneKey::new("k")).await.unwrap();
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "2", "3", "1"]);
}

#[tokio::test]
async fn a_dead_head_without_its_payload_can_only_be_skipped() {
    let (world, shop) = held().await;
    let head = world.deliveries(&shop).await[0].clone();
    world.interventions().expunge(&world.tenant, head.event_id).await.unwrap();

    let key = LaneKey::new("k");
    let refused = world.interventions().retry_lane(&world.tenant, shop.id, &key).await;
    assert!(matches!(refused, Err(ReleaseRefusal::Expired)), "{refused:?}");
    world.interventions().skip_lane(&world.tenant, shop.id, &key).await.unwrap();
    world.settle().await;

    assert_eq!(world.bodies(&shop), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_payload_that_is_expunged_leaves_its_lane_to_the_next_one() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().holds_on_dead().answers([500, 200]).await;
    let head = world.publish_in_order("k", "1").await;
    let behind = world.publish_in_order("k", "2").await;
    world.publish_in_order("k", "3").await;
    world.settle().await;

    for event in [behind, head] {
        world.interventions().expunge(&world.tenant, event).await.unwrap();
    }
    world.settle().await;

    assert_eq!(world.bodies(&shop), ["1", "3"], "nobody holds a lane by an interruption of ours");
}

#[tokio::test]
async fn lanes_of_a_deleted_endpoint_go_with_it() {
    let (world, shop) = held().await;
    world.store.delete_endpoint(&world.tenant, shop.id, None, world.now()).await.unwrap();
    let refused = world.interventions().skip_lane(&world.tenant, shop.id, &LaneKey::new("k")).await;
    assert!(matches!(refused, Err(ReleaseRefusal::NoEndpoint | ReleaseRefusal::NotFound)), "{refused:?}");
    world.upkeep().await;
    world.run_until_idle().await;

    assert_eq!(world.bodies(&shop), ["1"]);
    let ended: Vec<_> = world.deliveries(&shop).await.iter().map(|delivery| delivery.status).collect();
    assert_eq!(ended, [DeliveryStatus::Dead, DeliveryStatus::Cancelled, DeliveryStatus::Cancelled]);
    assert_eq!(world.lanes(&shop).await, []);
}

#[tokio::test]
async fn an_event_stands_in_a_lane_at_those_endpoints_that_order() {
    let world = World::new().await;
    let by_key = world.endpoint().ordered_by_key().answers([500]).await;
    let all = world.endpoint().ordered().await;
    let none = world.endpoint().await;
    for payload in ["1", "2", "3"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;

    assert_eq!(world.bodies(&by_key), ["1"]);
    assert_eq!(world.bodies(&all), ["1", "2", "3"]);
    assert_eq!(world.received(&none).len(), 3);
}

#[tokio::test]
async fn a_duplicate_in_a_batch_joins_no_lane() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().await;
    let keyed = |key: &str, payload: &str| PublishRequest {
        idempotency_key: Some(key.to_owned()),
        ..in_order(payload.to_owned())
    };
    let batch = vec![keyed("a", "1"), keyed("a", "1"), keyed("b", "2"), keyed("a", "1"), keyed("c", "3")];

    world.publisher.publish_batch(&world.tenant, batch).await;
    world.run_until_idle().await;

    assert_eq!(world.bodies(&shop), ["1", "2", "3"]);
    assert_eq!(world.lanes(&shop).await, []);
}
