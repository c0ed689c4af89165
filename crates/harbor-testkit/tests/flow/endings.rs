//! How endpoints come to an end, and back: disabled, gone, failing for days.

use std::time::Duration;

use harbor_model::address::AddressPolicy;
use harbor_model::delivery::{Cause, Delivery, DeliveryStatus};
use harbor_model::endpoint::{DisabledReason, EndpointUrl};
use harbor_recover::dead_letters::ReplayRefusal;
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, World};

use super::fleet::{SlowReceivers, eventually, worker};

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

async fn disable(world: &World, shop: &Shop) {
    world.change(shop, |endpoint| endpoint.disabled = Some(DisabledReason::Manual)).await;
}

async fn enable(world: &World, shop: &Shop) {
    world.change(shop, |endpoint| endpoint.disabled = None).await;
}

/// Sends an endpoint's requests to another path.
async fn move_away(world: &World, shop: &Shop) -> Shop {
    let dev = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
    let moved = Shop { path: format!("{}/moved", shop.path), ..shop.clone() };
    let url = EndpointUrl::parse(&format!("http://127.0.0.1:9{}", moved.path), &dev).unwrap();
    world.change(shop, |endpoint| endpoint.url = url).await;
    moved
}

async fn causes(world: &World, shop: &Shop) -> Vec<Option<Cause>> {
    let letter =
        |delivery: &harbor_model::delivery::Delivery| delivery.dead_letter.map(|letter| letter.cause);
    world.deliveries(shop).await.iter().map(letter).collect()
}

#[tokio::test]
async fn enabling_again_at_once_saves_nothing_that_was_open() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).await;
    world.publish("failed").await;
    world.settle().await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;
    world.publish("queued").await;
    world.advance(SECOND / 2).await;

    disable(&world, &shop).await;
    enable(&world, &shop).await;
    world.change(&shop, |endpoint| endpoint.paused = false).await;
    world.advance(HOUR).await;
    assert_eq!(world.received(&shop).len(), 1, "none is sent, also before upkeep has ended them");
    world.upkeep().await;
    assert_eq!(causes(&world, &shop).await, [Some(Cause::EndpointDisabled); 2]);

    world.publish("new").await;
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 2);
    assert_eq!(world.deliveries(&shop).await[2].status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn what_is_published_between_two_disablings_lives_until_the_second() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).waits([HOUR]).await;
    disable(&world, &shop).await;
    world.advance(SECOND).await;
    enable(&world, &shop).await;
    world.publish("between").await;
    world.advance(SECOND).await;
    world.upkeep().await;
    assert_eq!(world.deliveries(&shop).await[0].status, DeliveryStatus::Failed);

    disable(&world, &shop).await;
    world.upkeep().await;
    enable(&world, &shop).await;
    world.advance(2 * HOUR).await;

    assert_eq!(world.history(&shop).await, ["500", "dead"]);
}

#[tokio::test]
async fn what_waits_with_a_worker_is_not_sent_to_an_endpoint_that_was_disabled() {
    let world = World::new().await;
    let shop = world.endpoint().policy(|policy| policy.max_in_flight = Some(1)).await;
    world.worker.stop(Duration::ZERO).await;
    let slow = SlowReceivers::new(&world);
    let (worker, _line) = worker(&world, slow.clone()).await;
    for _ in 0..3 {
        world.publish("a").await;
    }
    worker.refill().await.unwrap();
    eventually("the first request", || slow.in_flight() == 1).await;

    world.clock.advance(2 * SECOND);
    disable(&world, &shop).await;
    world.upkeep().await;
    slow.answers.add_permits(10);
    worker.refill().await.unwrap();
    worker.idle().await;

    assert_eq!(world.received(&shop).len(), 1);
    world.upkeep().await;
    let is_open = |delivery: &Delivery| !(delivery.delivered_at.is_some() || delivery.dead_letter.is_some());
    assert!(!world.deliveries(&shop).await.iter().any(is_open), "what was given back is dead as well");
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_replay_needs_an_endpoint_that_takes_it() {
    let world = World::new().await;
    let shop = world.endpoint().answers([400, 200]).await;
    world.publish("a").await;
    world.settle().await;
    let dead = world.deliveries(&shop).await[0].id;

    disable(&world, &shop).await;
    let refused = world.replay(dead).await;
    assert!(matches!(refused, Err(ReplayRefusal::NoEndpoint)), "{refused:?}");
    world.advance(SECOND).await;
    enable(&world, &shop).await;
    world.replay(dead).await.unwrap();
    world.upkeep().await;
    world.settle().await;

    assert_eq!(world.history(&shop).await, ["400", "dead", "200", "delivered"]);
}

#[tokio::test]
async fn a_url_that_is_gone_speaks_for_itself_alone() {
    let world = World::new().await;
    let shop = world.endpoint().answers([410]).await;
    world.worker.stop(Duration::ZERO).await;
    let slow = SlowReceivers::new(&world);
    let (worker, _line) = worker(&world, slow.clone()).await;
    world.publish("a").await;
    worker.refill().await.unwrap();
    eventually("the request", || slow.in_flight() == 1).await;

    let moved = move_away(&world, &shop).await;
    slow.answers.add_permits(10);
    worker.idle().await;
    assert_eq!(causes(&world, &shop).await, [Some(Cause::EndpointGone)]);
    assert_eq!(world.find(&shop).await.disabled, None);
    world.publish("b").await;
    worker.refill().await.unwrap();
    worker.idle().await;

    assert_eq!(world.received(&moved).len(), 1);
    worker.stop(Duration::ZERO).await;
}

/// An endpoint that fails, and is tried each hour.
async fn failing(world: &World) -> Shop {
    let shop = world.endpoint().answers([500]).attempts(1_000).waits([HOUR]);
    shop.policy(|policy| policy.breaker.is_enabled = Some(false)).await
}

#[tokio::test]
async fn an_endpoint_that_has_failed_for_five_days_is_disabled() {
    let world = World::new().await;
    let shop = failing(&world).await;
    world.publish("a").await;

    world.advance(119 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, None);
    world.advance(2 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, Some(DisabledReason::Failing));
    world.upkeep().await;

    assert_eq!(causes(&world, &shop).await, [Some(Cause::EndpointDisabled)]);
    let requests = world.received(&shop).len();
    world.advance(48 * HOUR).await;
    assert_eq!(world.received(&shop).len(), requests);
}

#[tokio::test]
async fn an_endpoint_that_is_seldom_wanted_is_disabled_as_well() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).await;
    for _ in 0..20 {
        world.publish("a").await;
        world.advance(6 * HOUR).await;
    }
    assert_eq!(world.find(&shop).await.disabled, None);
    world.publish("a").await;
    world.advance(HOUR).await;

    assert_eq!(world.find(&shop).await.disabled, Some(DisabledReason::Failing));
}

#[tokio::test]
async fn one_success_is_enough_to_begin_the_five_days_anew() {
    let world = World::new().await;
    let shop = failing(&world).await;
    world.publish("a").await;
    world.advance(100 * HOUR).await;
    world.receivers.script(&shop.path, vec![Answer::Status(200), Answer::Status(500)]);
    world.advance(HOUR).await;
    world.publish("b").await;

    world.advance(115 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, None);
    world.advance(10 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, Some(DisabledReason::Failing));
}

#[tokio::test]
async fn another_url_begins_the_five_days_anew() {
    let world = World::new().await;
    let shop = failing(&world).await;
    world.publish("a").await;
    world.advance(100 * HOUR).await;
    let moved = move_away(&world, &shop).await;
    world.receivers.script(&moved.path, vec![Answer::Status(500)]);

    world.advance(115 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, None);
    world.advance(10 * HOUR).await;

    assert_eq!(world.find(&shop).await.disabled, Some(DisabledReason::Failing));
}

#[tokio::test]
async fn enabling_begins_the_five_days_anew() {
    let world = World::new().await;
    let shop = failing(&world).await;
    world.publish("a").await;
    world.advance(121 * HOUR).await;
    world.upkeep().await;
    enable(&world, &shop).await;
    world.publish("b").await;

    world.advance(100 * HOUR).await;
    assert_eq!(world.find(&shop).await.disabled, None);
    world.advance(25 * HOUR).await;

    assert_eq!(world.find(&shop).await.disabled, Some(DisabledReason::Failing));
}

#[tokio::test]
async fn a_wait_of_a_day_outlives_the_worker() {
    let day = 24 * HOUR;
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 500, 200]).waits([day]).await;
    world.publish("a").await;
    world.settle().await;
    world.worker.stop(Duration::ZERO).await;

    for attempts in [2, 3] {
        let other = world.another_worker().await;
        world.clock.advance(day - Duration::from_millis(1));
        other.refill().await.unwrap();
        other.idle().await;
        assert_eq!(world.received(&shop).len(), attempts - 1);
        world.clock.advance(Duration::from_millis(1));
        other.refill().await.unwrap();
        other.idle().await;
        assert_eq!(world.received(&shop).len(), attempts);
        other.stop(Duration::ZERO).await;
    }

    assert_eq!(world.history(&shop).await, ["500", "500", "200", "delivered"]);
}
