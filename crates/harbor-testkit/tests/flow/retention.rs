use std::time::Duration;

use harbor_ingest::request::PublishRequest;
use harbor_model::delivery::{Delivery, DeliveryStatus};
use harbor_model::id::EventId;
use harbor_recover::jobs::{DeadLetterRange, ReplayJobRequest};
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, WORLD_BEGINS, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A world whose tenant keeps history and dead letters for so many days.
async fn keeping(history: u32, dead_letters: u32) -> World {
    let world = World::new().await;
    world
        .change_tenant(|tenant| {
            tenant.policy.retention.history = Some(history * DAY);
            tenant.policy.retention.dead_letters = Some(dead_letters * DAY);
        })
        .await;
    world
}

async fn is_kept(world: &World, event: EventId) -> bool {
    world.store.find_event(&world.tenant, event).await.unwrap().is_some()
}

async fn statuses(world: &World, shop: &Shop) -> Vec<DeliveryStatus> {
    world.deliveries(shop).await.iter().map(|delivery| delivery.status).collect()
}

/// Publishes an event, and lets happen what follows.
async fn published(world: &World) -> EventId {
    let event = world.publish("a").await;
    world.settle().await;
    event
}

#[tokio::test]
async fn history_goes_when_its_time_is_over_and_not_before() {
    let world = keeping(5, 10).await;
    let shop = world.endpoint().await;
    let event = published(&world).await;
    let delivery = world.delivery_of(event).await;
    world.days(2).await;
    let younger = published(&world).await;

    world.days(2).await;
    assert!(is_kept(&world, event).await);
    assert_eq!(world.history(&shop).await, ["200", "delivered", "200", "delivered"]);
    world.days(2).await;

    assert!(!is_kept(&world, event).await);
    assert!(world.store.find_delivery(&world.tenant, delivery.id).await.unwrap().is_none());
    assert!(is_kept(&world, younger).await);
    assert_eq!(world.history(&shop).await, ["200", "delivered"]);
}

#[tokio::test]
async fn history_is_kept_for_thirty_days_where_nobody_says_otherwise() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let event = published(&world).await;

    world.days(29).await;
    assert!(is_kept(&world, event).await);
    // Where everybody keeps as much, whole weeks may go together.
    world.days(10).await;

    assert!(!is_kept(&world, event).await);
    assert_eq!(world.history(&shop).await, [""; 0]);
}

#[tokio::test]
async fn a_dead_letter_stays_with_its_event_and_attempts_until_its_own_time_is_over() {
    let world = keeping(2, 6).await;
    let shop = world.endpoint().answers([400, 200]).await;
    let event = published(&world).await;

    world.days(5).await;
    assert!(is_kept(&world, event).await);
    assert_eq!(world.history(&shop).await, ["400", "dead"]);
    let dead = world.deliveries(&shop).await[0].id;
    world.replay(dead).await.unwrap();
    world.settle().await;
    assert_eq!(world.received(&shop).len(), 2, "it can still be replayed");

    world.days(4).await;
    assert!(!is_kept(&world, event).await);
    assert!(world.deliveries(&shop).await.is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_kept_from_its_death_on() {
    let world = keeping(2, 4).await;
    let shop = world.endpoint().answers([500]).attempts(2).waits([6 * DAY]).await;
    let event = published(&world).await;

    world.days(9).await;
    assert!(is_kept(&world, event).await, "it died three days ago");
    world.days(2).await;

    assert!(!is_kept(&world, event).await);
    assert!(world.deliveries(&shop).await.is_empty());
}

#[tokio::test]
async fn what_is_open_keeps_its_event_whatever_its_age() {
    let world = keeping(2, 2).await;
    let shop = world.endpoint().answers([500, 200]).waits([20 * DAY]).await;
    let paused = world.endpoint().await;
    world.change(&paused, |endpoint| endpoint.paused = true).await;
    let event = published(&world).await;
    let scheduled = PublishRequest {
        event_type: "later".to_owned(),
        payload: "scheduled".into(),
        deliver_at: Some(world.now() + 15 * DAY),
        ..PublishRequest::default()
    };
    let scheduled = world.try_publish(scheduled).await.unwrap().event_id;

    world.days(14).await;
    assert!(is_kept(&world, event).await && is_kept(&world, scheduled).await);
    world.days(7).await;
    assert_eq!(world.received(&shop).len(), 3, "the retry came, and what was scheduled");
    world.change(&paused, |endpoint| endpoint.paused = false).await;
    world.days(3).await;

    assert_eq!(world.received(&paused).len(), 2);
    assert!(!is_kept(&world, event).await && !is_kept(&world, scheduled).await);
}

#[tokio::test]
async fn a_dead_head_that_holds_its_lane_stays_until_it_is_released() {
    let world = keeping(1, 2).await;
    let shop = world.endpoint().ordered().holds_on_dead().answers([400, 200]).await;
    let head = world.publish_in_order("k", "1").await;
    world.publish_in_order("k", "2").await;
    world.settle().await;

    world.days(8).await;
    assert!(is_kept(&world, head).await);
    let key = harbor_model::lane::LaneKey::of_endpoint();
    world.interventions().retry_lane(&world.tenant, shop.id, &key).await.unwrap();
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1", "1", "2"]);
    world.days(3).await;

    assert!(!is_kept(&world, head).await);
}

#[tokio::test]
async fn what_a_running_replay_may_want_stays() {
    let world = keeping(1, 3).await;
    let shop = world.endpoint().answers([400]).await;
    for _ in 0..3 {
        published(&world).await;
    }
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.days(2).await;
    let range = DeadLetterRange { from: WORLD_BEGINS, to: world.now(), endpoint_id: None };
    let request = ReplayJobRequest { dlq_range: Some(range), ..ReplayJobRequest::default() };
    let job = world.jobs().start_replay(&world.tenant, request).await.unwrap();

    // Nobody carries it out for a while.
    world.days(5).await;
    assert_eq!(statuses(&world, &shop).await, [DeliveryStatus::Dead; 3]);
    let ended = world.end_job(&job).await;
    assert_eq!(ended.counts.succeeded, 3);
    world.days(2).await;

    let dead = |delivery: &Delivery| delivery.status == DeliveryStatus::Dead;
    assert!(!world.deliveries(&shop).await.iter().any(dead));
}

#[tokio::test]
async fn a_longer_time_holds_for_what_is_still_there() {
    let world = keeping(2, 2).await;
    world.endpoint().await;
    let event = published(&world).await;
    world.days(1).await;
    world.change_tenant(|tenant| tenant.policy.retention.history = Some(10 * DAY)).await;

    world.days(8).await;
    assert!(is_kept(&world, event).await);
    world.days(3).await;

    assert!(!is_kept(&world, event).await);
}

#[tokio::test]
async fn an_event_stays_for_the_one_delivery_that_is_dead() {
    let world = keeping(2, 8).await;
    let (well, ill) = (world.endpoint().await, world.endpoint().answers([400, 200]).await);
    let event = published(&world).await;

    world.days(5).await;
    assert!(is_kept(&world, event).await);
    assert_eq!(world.history(&well).await, [""; 0], "what was delivered is history");
    let dead = world.deliveries(&ill).await[0].id;
    world.replay(dead).await.unwrap();
    world.settle().await;

    assert_eq!(world.history(&ill).await, ["400", "dead", "200", "delivered"]);
    assert_eq!(world.received(&ill)[1].body, world.received(&well)[0].body);
}
