use std::time::Duration;

use harbor_model::port::breakers::{BreakerState, OpenBreaker};
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, World};

const SECOND: Duration = Duration::from_secs(1);

/// An endpoint that fails, tried again each second, whose breaker opens after three failures.
async fn failing(world: &World) -> Shop {
    let fails = world.endpoint().answers([500]).attempts(100).waits([SECOND]);
    fails.policy(|policy| policy.breaker.consecutive_failures = Some(3)).await
}

/// Publishes until the breaker is open, at the present time: three requests.
async fn open(world: &World, shop: &Shop) {
    for _ in 0..3 {
        world.publish("a").await;
        world.settle().await;
    }
    assert_eq!(world.received(shop).len(), 3);
    assert_eq!(breaker(world, shop).await.map(|open| open.state()), Some(BreakerState::Open));
}

async fn breaker(world: &World, shop: &Shop) -> Option<OpenBreaker> {
    world.store.find_breaker(&world.tenant, shop.id).await.unwrap()
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_burns_no_attempts() {
    let world = World::new().await;
    let shop = failing(&world).await;
    let healthy = world.endpoint().await;
    open(&world, &shop).await;

    for _ in 0..5 {
        world.publish("b").await;
        world.advance(5 * SECOND).await;
    }

    assert_eq!(world.received(&shop).len(), 3);
    assert_eq!(world.received(&healthy).len(), 8, "others are not held up");
    let tried: u32 =
        world.deliveries(&shop).await.iter().map(|delivery| u32::from(delivery.attempt_count)).sum();
    assert_eq!(tried, 3);
    let held = world.worker.held();
    assert_eq!((held.items, held.open_breakers), (0, 1), "what waits, waits in the store");
}

#[tokio::test]
async fn probes_come_ever_later_until_one_succeeds() {
    let world = World::new().await;
    let shop = failing(&world).await;
    open(&world, &shop).await;
    world.publish("b").await;

    let mut requests = 3;
    for cooldown in [30, 60, 120] {
        world.advance(cooldown * SECOND - Duration::from_millis(1)).await;
        assert_eq!(world.received(&shop).len(), requests, "it cools down for {cooldown} s");
        world.advance(Duration::from_millis(1)).await;
        requests += 1;
        assert_eq!(world.received(&shop).len(), requests, "one probe after {cooldown} s");
    }
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.advance(240 * SECOND).await;

    assert_eq!(breaker(&world, &shop).await, None);
    assert_eq!(world.worker.held().open_breakers, 0);
    world.run_until_idle().await;
    let undelivered =
        world.deliveries(&shop).await.iter().filter(|delivery| delivery.delivered_at.is_none()).count();
    assert_eq!(undelivered, 0, "everything that waited goes at once");
}

#[tokio::test]
async fn as_many_probes_as_the_policy_wants_go_one_after_another() {
    let world = World::new().await;
    let shop = failing(&world).await;
    world.change(&shop, |endpoint| endpoint.policy.breaker.probes = Some(2)).await;
    open(&world, &shop).await;
    world.receivers.script(&shop.path, vec![Answer::Status(200), Answer::Status(500), Answer::Status(200)]);

    world.advance(30 * SECOND).await;
    assert_eq!(world.received(&shop).len(), 5, "the first probe succeeds, the second does not");
    assert_eq!(breaker(&world, &shop).await.map(|open| open.change.cooldown), Some(60 * SECOND));
    world.advance(60 * SECOND).await;
    assert_eq!(breaker(&world, &shop).await, None);
    world.run_until_idle().await;
}

#[tokio::test]
async fn another_url_is_tried_at_once() {
    let world = World::new().await;
    let shop = failing(&world).await;
    open(&world, &shop).await;

    let version = world.deliveries(&shop).await.len();
    assert_eq!(version, 3);
    world
        .change(&shop, |endpoint| {
            let dev = harbor_model::address::AddressPolicy {
                http: true,
                loopback: true,
                ..harbor_model::address::AddressPolicy::default()
            };
            let url = format!("http://127.0.0.1:9{}/moved", shop.path);
            endpoint.url = harbor_model::endpoint::EndpointUrl::parse(&url, &dev).unwrap();
        })
        .await;
    assert_eq!(breaker(&world, &shop).await, None);
    world.advance(2 * SECOND).await;

    let moved = Shop { path: format!("{}/moved", shop.path), ..shop.clone() };
    assert_eq!(world.received(&moved).len(), 3);
}

#[tokio::test]
async fn a_breaker_that_is_switched_off_lets_everything_through() {
    let world = World::new().await;
    let shop = failing(&world).await;
    open(&world, &shop).await;
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);

    world.change(&shop, |endpoint| endpoint.policy.breaker.is_enabled = Some(false)).await;
    world.advance(2 * SECOND).await;

    assert_eq!(world.received(&shop).len(), 6);
    assert_eq!(breaker(&world, &shop).await, None);
}

#[tokio::test]
async fn all_workers_leave_an_endpoint_alone_together() {
    let world = World::new().await;
    let other = world.another_worker().await;
    let shop = failing(&world).await;
    open(&world, &shop).await;

    world.clock.advance(2 * SECOND);
    assert_eq!(other.refill().await.unwrap(), 0);
    assert_eq!(other.held().open_breakers, 1);
    assert_eq!(world.received(&shop).len(), 3);

    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.clock.advance(28 * SECOND);
    other.refill().await.unwrap();
    other.idle().await;
    world.settle().await;
    world.run_until_idle().await;
    assert_eq!(breaker(&world, &shop).await, None);
    assert_eq!(world.worker.held().open_breakers, 0, "whoever of them has probed");
    other.stop(Duration::ZERO).await;
}
