use std::time::Duration;

use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_model::endpoint::DisabledReason;
use harbor_model::event::Unmatched;
use harbor_model::policy::RateLimit;
use harbor_testkit::world::{WORLD_BEGINS, World};

#[tokio::test]
async fn a_paused_endpoint_gets_everything_after_the_pause() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;
    for _ in 0..3 {
        world.publish("a").await;
    }
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 0);
    assert_eq!(world.deliveries(&shop).await[0].status, DeliveryStatus::Queued);

    world.change(&shop, |endpoint| endpoint.paused = false).await;
    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_gone_gets_nothing_more() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 410]).await;
    world.publish("a").await;
    world.advance(Duration::from_millis(1)).await;
    world.publish("b").await;
    world.settle().await;
    world.upkeep().await;
    world.run_until_idle().await;

    let ended: Vec<_> =
        world.deliveries(&shop).await.iter().map(|delivery| delivery.dead_letter.unwrap().cause).collect();
    assert_eq!(ended, [Cause::EndpointDisabled, Cause::EndpointGone], "what still waited is dead too");
    assert_eq!(world.received(&shop).len(), 2);

    let late = world.publish("c").await;
    let event = world.store.find_event(&world.tenant, late).await.unwrap().unwrap();
    assert_eq!(event.fan_out.unmatched(), Some(Unmatched::EndpointsDisabled));
    assert_eq!(event.fan_out.skipped, [shop.id]);
    let endpoint = world.store.find_endpoint(&world.tenant, shop.id).await.unwrap().unwrap();
    assert_eq!(endpoint.disabled, Some(DisabledReason::Gone));
}

#[tokio::test]
async fn deliveries_of_a_deleted_endpoint_are_cancelled() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).await;
    world.publish("a").await;
    world.settle().await;

    world.store.delete_endpoint(&world.tenant, shop.id, None, world.now()).await.unwrap();
    world.advance(Duration::from_secs(60)).await;
    world.upkeep().await;
    world.run_until_idle().await;

    assert_eq!(world.history(&shop).await, ["500", "cancelled"]);
    assert_eq!(world.received(&shop).len(), 1, "no attempt follows the deletion");
}

#[tokio::test]
async fn a_rate_limit_spreads_requests_and_loses_none() {
    let world = World::new().await;
    let limit = RateLimit { per_second: 10, burst: 5 };
    let shop = world.endpoint().policy(|policy| policy.rate_limit = Some(limit)).await;
    for _ in 0..25 {
        world.publish("a").await;
    }
    let spent = async {
        // The worker itself wakes when the next token comes; the test only moves the clock.
        while world.received(&shop).len() < 25 {
            world.clock.advance(Duration::from_millis(10));
            world.worker.refill().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    spent.await;
    world.run_until_idle().await;

    let last = world.received(&shop)[24].at.since(WORLD_BEGINS);
    assert!((1_900..=2_300).contains(&last.as_millis()), "20 tokens at 10/s after a burst of 5: {last:?}");
}
