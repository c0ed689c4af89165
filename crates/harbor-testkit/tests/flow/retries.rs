use std::time::Duration;

use harbor_model::attempt::ErrorClass;
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{WORLD_BEGINS, World};

/// Seconds from the beginning of the world to each request.
fn seconds(world: &World, shop: &harbor_testkit::world::Shop) -> Vec<u64> {
    world.received(shop).iter().map(|request| request.at.since(WORLD_BEGINS).as_secs()).collect()
}

#[tokio::test]
async fn a_delivery_that_succeeds_at_last_is_delivered() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 500, 200]).await;

    world.publish("invoice.paid").await;
    world.run_until_idle().await;

    assert_eq!(world.history(&shop).await, ["500", "500", "200", "delivered"]);
    assert_eq!(seconds(&world, &shop), [0, 1, 6], "the schedule waits 1s, then 5s");
    let numbers: Vec<_> = world
        .received(&shop)
        .iter()
        .map(|request| request.header("x-harborhook-attempt").to_owned())
        .collect();
    assert_eq!(numbers, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_refusing_endpoint_is_retried_then_buried() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).await;

    world.publish("invoice.paid").await;
    world.run_until_idle().await;

    assert_eq!(world.history(&shop).await, ["500", "500", "500", "500", "500", "dead"]);
    assert_eq!(seconds(&world, &shop), [0, 1, 6, 16, 46]);
    let delivery = &world.deliveries(&shop).await[0];
    assert_eq!(delivery.dead_letter.unwrap().cause, Cause::AttemptsExhausted);
    assert_eq!(delivery.attempt_count, 5);
    assert_eq!(delivery.next_attempt_at, None);
}

#[tokio::test]
async fn jitter_keeps_within_a_tenth_of_the_wait() {
    for seed in 0..20 {
        let world = World::from_seed(seed).await;
        let shop = world.endpoint().answers([500, 200]).policy(|policy| policy.retry.jitter = None).await;
        world.publish("invoice.paid").await;
        world.run_until_idle().await;
        let waited = world.received(&shop)[1].at.since(WORLD_BEGINS);
        assert!((900..=1100).contains(&waited.as_millis()), "seed {seed}: {waited:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it() {
    let world = World::new().await;
    let asked = [
        Answer::RetryAfter(503, Duration::from_secs(120)),
        Answer::RetryAfter(429, Duration::from_secs(999_999_999)),
        Answer::Status(200),
    ];
    let shop = world.endpoint().answers(asked).await;

    world.publish("invoice.paid").await;
    world.run_until_idle().await;

    assert_eq!(seconds(&world, &shop), [0, 120, 120 + 3600], "as asked, but never beyond the longest wait");
}

#[tokio::test]
async fn silence_is_retried_and_named() {
    let world = World::new().await;
    let silences = [ErrorClass::Timeout, ErrorClass::ConnectionRefused, ErrorClass::Tls].map(Answer::Silence);
    let shop = world.endpoint().answers(silences).attempts(3).await;

    world.publish("invoice.paid").await;
    world.run_until_idle().await;

    assert_eq!(world.history(&shop).await, ["timeout", "connection_refused", "tls", "dead"]);
}

#[tokio::test]
async fn what_time_cannot_mend_is_dead_at_once() {
    let cases = [
        (400, Cause::ClientError),
        (404, Cause::ClientError),
        (301, Cause::Redirect),
        (410, Cause::EndpointGone),
    ];
    for (status, cause) in cases {
        let world = World::new().await;
        let shop = world.endpoint().answers([status]).await;
        world.publish("invoice.paid").await;
        world.run_until_idle().await;
        assert_eq!(world.history(&shop).await, [status.to_string().as_str(), "dead"]);
        assert_eq!(world.deliveries(&shop).await[0].dead_letter.unwrap().cause, cause, "{status}");
    }
}

#[tokio::test]
async fn waits_of_days_are_kept() {
    let day = Duration::from_secs(24 * 60 * 60);
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).waits([3 * day]).await;

    world.publish("invoice.paid").await;
    world.advance(3 * day - Duration::from_millis(1)).await;
    assert_eq!(world.deliveries(&shop).await[0].status, DeliveryStatus::Failed);
    world.advance(Duration::from_millis(1)).await;

    assert_eq!(world.history(&shop).await, ["500", "200", "delivered"]);
}

#[tokio::test]
async fn one_endpoint_that_fails_holds_up_no_other() {
    let world = World::new().await;
    let broken = world.endpoint().answers([500]).attempts(2);
    let broken = broken.policy(|policy| policy.breaker.is_enabled = Some(false)).await;
    let healthy = world.endpoint().await;

    for _ in 0..50 {
        world.publish("invoice.paid").await;
    }
    world.settle().await;

    assert_eq!(world.received(&healthy).len(), 50);
    assert_eq!(world.received(&broken).len(), 50);
    world.run_until_idle().await;
    assert_eq!(world.received(&broken).len(), 100);
}
