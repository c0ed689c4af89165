//! Operational events: what is told of our own doings, to whom, and how often.

use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::SubscriptionId;
use harbor_model::port::history::EventFilter;
use harbor_model::port::notices::Announcer;
use harbor_model::port::page::PageAsk;
use harbor_model::port::registry::Change;
use harbor_model::subscription::Subscription;
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, World};

const HOUR: Duration = Duration::from_secs(3600);

/// What an endpoint was told, as type and one field of the payload.
fn told(world: &World, shop: &Shop, field: &str) -> Vec<(String, String)> {
    let read = |body: String| {
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        (text("type"), text(field))
    };
    world.bodies(shop).into_iter().map(read).collect()
}

fn pair(event_type: &str, value: impl ToString) -> (String, String) {
    (event_type.to_owned(), value.to_string())
}

async fn upkeep_often(world: &World) {
    for _ in 0..4 {
        world.upkeep().await;
        world.advance(Duration::from_secs(2)).await;
    }
}

async fn events_count(world: &World) -> usize {
    let page = PageAsk { limit: 100, after: None };
    world.store.events(&world.tenant, EventFilter::default(), page).await.unwrap().items.len()
}

#[tokio::test]
async fn a_death_is_told_once_to_those_who_ask_for_it_by_name() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["order.*"]).answers([400]).await;
    let everything = world.endpoint().wants(["*"]).await;
    let watcher = world.endpoint().wants(["harborhook.delivery.dead"]).await;
    world.publish("order.paid").await;
    world.settle().await;
    let dead = world.deliveries(&shop).await[0].clone();

    upkeep_often(&world).await;

    assert_eq!(told(&world, &watcher, "delivery_id"), [pair("harborhook.delivery.dead", dead.id)]);
    assert_eq!(told(&world, &watcher, "cause")[0].1, "client_error");
    assert_eq!(told(&world, &watcher, "event_id")[0].1, dead.event_id.to_string());
    let request = &world.received(&watcher)[0];
    assert_eq!(request.header("x-harborhook-event-type"), "harborhook.delivery.dead");
    assert_eq!(world.received(&everything).len(), 1, "`*` is everything but ours");
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_is_told_with_its_reason() {
    let world = World::new().await;
    let gone = world.endpoint().answers([410]).await;
    let by_hand = world.endpoint().wants(["nothing"]).await;
    let watcher = world.endpoint().wants(["harborhook.endpoint.disabled"]).await;
    world.publish("a").await;
    world.settle().await;
    upkeep_often(&world).await;
    world.change(&by_hand, |endpoint| endpoint.disabled = Some(DisabledReason::Manual)).await;
    world.change(&by_hand, |endpoint| endpoint.name = Some("still disabled".to_owned())).await;
    upkeep_often(&world).await;

    let disabled = "harborhook.endpoint.disabled";
    assert_eq!(told(&world, &watcher, "endpoint_id"), [pair(disabled, gone.id), pair(disabled, by_hand.id)]);
    assert_eq!(told(&world, &watcher, "reason"), [pair(disabled, "gone"), pair(disabled, "manual")]);
}

#[tokio::test]
async fn an_endpoint_that_has_failed_for_days_is_told() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).attempts(1_000).waits([HOUR]);
    let shop = shop.policy(|policy| policy.breaker.is_enabled = Some(false)).await;
    let watcher = world.endpoint().wants(["harborhook.endpoint.disabled"]).await;
    world.publish("a").await;
    world.advance(125 * HOUR).await;
    upkeep_often(&world).await;

    let disabled = "harborhook.endpoint.disabled";
    assert_eq!(told(&world, &watcher, "endpoint_id"), [pair(disabled, shop.id)]);
    assert_eq!(told(&world, &watcher, "reason"), [pair(disabled, "failing")]);
}

#[tokio::test]
async fn a_circuit_that_opens_is_told_once_for_each_opening() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["a"]).answers([500]).attempts(100).waits([Duration::from_secs(1)]);
    let shop = shop.policy(|policy| policy.breaker.consecutive_failures = Some(3)).await;
    let watcher = world.endpoint().wants(["harborhook.endpoint.circuit_opened"]).await;
    for _ in 0..3 {
        world.publish("a").await;
        world.settle().await;
    }
    upkeep_often(&world).await;

    let opened = "harborhook.endpoint.circuit_opened";
    assert_eq!(told(&world, &watcher, "endpoint_id"), [pair(opened, shop.id)]);
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.run_until_idle().await;
}

#[tokio::test]
async fn those_that_end_together_are_told_one_by_one() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["a"]).await;
    let watcher = world.endpoint().wants(["harborhook.*"]).await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;
    for _ in 0..5 {
        world.publish("a").await;
    }
    world.advance(Duration::from_secs(1)).await;
    world.change(&shop, |endpoint| endpoint.disabled = Some(DisabledReason::Manual)).await;
    upkeep_often(&world).await;

    let mut of_deaths = told(&world, &watcher, "delivery_id");
    of_deaths.retain(|(event_type, _)| event_type == "harborhook.delivery.dead");
    of_deaths.sort();
    let dead = world.deliveries(&shop).await;
    let mut expected: Vec<_> =
        dead.iter().map(|delivery| pair("harborhook.delivery.dead", delivery.id)).collect();
    expected.sort();
    assert_eq!(of_deaths, expected);
    assert_eq!(world.received(&watcher).len(), 6, "and that the endpoint is disabled");
}

#[tokio::test]
async fn operational_events_beget_no_others() {
    let world = World::new().await;
    world.endpoint().wants(["a"]).answers([400]).await;
    let watcher = world.endpoint().wants(["harborhook.delivery.dead"]).answers([404]).await;
    world.publish("a").await;
    world.settle().await;

    upkeep_often(&world).await;

    assert_eq!(world.received(&watcher).len(), 1);
    assert_eq!(events_count(&world).await, 2);
    assert!(world.store.notices(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_notice_that_is_announced_twice_is_one_event() {
    let world = World::new().await;
    world.endpoint().wants(["a"]).answers([400]).await;
    let watcher = world.endpoint().wants(["harborhook.delivery.dead"]).await;
    world.publish("a").await;
    world.settle().await;

    let [notice] = &world.store.notices(10).await.unwrap()[..] else { panic!("there is one notice") };
    world.publisher.announce(notice).await.unwrap();
    // The process ended before the notice was forgotten.
    world.advance(HOUR).await;
    upkeep_often(&world).await;

    assert_eq!(world.received(&watcher).len(), 1);
    assert_eq!(events_count(&world).await, 2);
}

#[tokio::test]
async fn where_nobody_subscribes_nothing_is_noted() {
    let world = World::new().await;
    let shop = world.endpoint().answers([400]).await;
    world.publish("a").await;
    world.settle().await;
    assert!(world.store.notices(10).await.unwrap().is_empty());

    let rng: &dyn Rng = &*world.rng;
    let late = Subscription {
        id: SubscriptionId::new(world.now(), rng),
        tenant_id: world.tenant.clone(),
        pattern: "harborhook.*".parse().unwrap(),
        endpoint_id: shop.id,
        version: 1,
        created_at: world.now(),
        updated_at: world.now(),
    };
    let id = late.id;
    let made = world.store.create_subscription(late, 10).await.unwrap();
    assert!(matches!(made, Change::Done(_)), "{made:?}");
    upkeep_often(&world).await;
    assert_eq!(world.received(&shop).len(), 1, "what was before is not told");

    world.publish("b").await;
    world.settle().await;
    assert_eq!(world.store.notices(10).await.unwrap().len(), 1);
    upkeep_often(&world).await;
    assert_eq!(world.received(&shop).len(), 3);

    world.store.delete_subscription(&world.tenant, id, None).await.unwrap();
    world.publish("c").await;
    world.settle().await;
    assert!(world.store.notices(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_death_by_an_expunged_payload_is_told() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["a"]).answers([500]).await;
    let watcher = world.endpoint().wants(["harborhook.delivery.dead"]).await;
    let event = world.publish("a").await;
    world.settle().await;
    world.interventions().expunge(&world.tenant, event).await.unwrap();
    upkeep_often(&world).await;

    let dead = world.deliveries(&shop).await[0].id;
    assert_eq!(told(&world, &watcher, "delivery_id"), [pair("harborhook.delivery.dead", dead)]);
    assert_eq!(told(&world, &watcher, "cause")[0].1, "event_expired");
}

#[tokio::test]
async fn what_is_cancelled_or_replayed_tells_of_no_death() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["a"]).answers([400, 500]).await;
    let watcher = world.endpoint().wants(["harborhook.delivery.dead"]).await;
    world.publish("a").await;
    world.settle().await;
    upkeep_often(&world).await;
    let dead = world.deliveries(&shop).await[0].id;
    let replay = world.replay(dead).await.unwrap();
    world.settle().await;
    world.interventions().cancel(&world.tenant, replay.id).await.unwrap();
    upkeep_often(&world).await;

    assert_eq!(world.received(&watcher).len(), 1);
}

#[tokio::test]
async fn nothing_is_noted_once_the_only_one_who_asked_is_deleted() {
    let world = World::new().await;
    world.endpoint().wants(["a"]).answers([400]).await;
    let watcher = world.endpoint().wants(["harborhook.*"]).await;
    world.store.delete_endpoint(&world.tenant, watcher.id, None, world.now()).await.unwrap();

    world.publish("a").await;
    world.settle().await;

    assert!(world.store.notices(10).await.unwrap().is_empty());
}
