use std::time::Duration;

use harbor_model::endpoint::Drain;
use harbor_testkit::world::{Shop, World};

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

/// An endpoint that was paused while so many events came, and drains.
async fn draining(world: &World, waiting: usize, per_second: u32) -> Shop {
    let shop = world.endpoint().await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;
    for _ in 0..waiting {
        world.publish_in_order("k", "old").await;
    }
    world.advance(HOUR).await;
    assert_eq!(world.received(&shop).len(), 0);
    resume(world, &shop, per_second).await;
    shop
}

async fn resume(world: &World, shop: &Shop, per_second: u32) {
    let drain = Some(Drain { per_second, since: world.now() });
    world.change(shop, |endpoint| (endpoint.paused, endpoint.drain) = (false, drain)).await;
}

#[tokio::test]
async fn what_waited_through_a_pause_comes_at_the_rate_that_was_asked_for() {
    let world = World::new().await;
    let shop = draining(&world, 30, 10).await;

    for second in 1..=3 {
        world.pass(SECOND).await;
        let came = world.received(&shop).len();
        assert!((second * 10 - 2..=second * 10 + 1).contains(&came), "{came} after {second} s");
    }
    world.pass(SECOND).await;

    assert_eq!(world.received(&shop).len(), 30);
}

#[tokio::test]
async fn new_events_are_not_slowed_by_a_drain() {
    let world = World::new().await;
    let shop = draining(&world, 20, 1).await;
    world.pass(2 * SECOND).await;

    for _ in 0..10 {
        world.publish_in_order("k", "new").await;
    }
    world.settle().await;

    let new = world.bodies(&shop).into_iter().filter(|body| body == "new").count();
    assert_eq!(new, 10, "at once");
    assert!(world.bodies(&shop).len() < 15, "the rest drains on");
    world.change(&shop, |endpoint| endpoint.drain = None).await;
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 30, "without a rate everything comes");
}

#[tokio::test]
async fn a_drain_ends_by_itself() {
    let world = World::new().await;
    let shop = draining(&world, 5, 5).await;

    world.pass(SECOND / 2).await;
    world.upkeep().await;
    assert!(world.find(&shop).await.drain.is_some(), "some still wait");
    world.pass(SECOND).await;
    world.upkeep().await;

    assert_eq!(world.received(&shop).len(), 5);
    assert_eq!(world.find(&shop).await.drain, None);
}

#[tokio::test]
async fn a_drain_ends_though_a_retry_is_still_to_come() {
    let world = World::new().await;
    let shop = draining(&world, 1, 5).await;
    world.receivers.script(&shop.path, vec![harbor_testkit::receivers::Answer::Status(500)]);

    world.pass(SECOND).await;
    world.upkeep().await;

    assert_eq!(world.find(&shop).await.drain, None, "what waits now waits by its policy");
}

#[tokio::test]
async fn two_workers_keep_the_rate_of_a_drain_together() {
    let world = World::new().await;
    let other = world.another_worker().await;
    // Both learn of each other before anything drains.
    let shop = draining(&world, 40, 10).await;

    for _ in 0..200 {
        world.clock.advance(SECOND / 100);
        let (one, two) = tokio::join!(world.worker.refill(), other.refill());
        let _ = (one.unwrap(), two.unwrap());
        tokio::join!(world.worker.idle(), other.idle());
    }

    let came = world.received(&shop).len();
    assert!((17..=21).contains(&came), "{came} after 2 s");
    other.stop(Duration::ZERO).await;
    world.change(&shop, |endpoint| endpoint.drain = None).await;
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 40);
}

#[tokio::test]
async fn those_who_wait_in_lanes_drain_at_the_rate_as_well() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;
    for number in 0..30 {
        world.publish_in_order(&format!("key {}", number % 3), "old").await;
    }
    world.advance(HOUR).await;
    resume(&world, &shop, 10).await;

    for second in 1..=3 {
        world.pass(SECOND).await;
        world.upkeep().await;
        let came = world.received(&shop).len();
        assert!((second * 10 - 2..=second * 10 + 1).contains(&came), "{came} after {second} s");
    }
    world.pass(SECOND).await;
    world.upkeep().await;

    assert_eq!(world.received(&shop).len(), 30);
    assert_eq!(world.find(&shop).await.drain, None);
}
