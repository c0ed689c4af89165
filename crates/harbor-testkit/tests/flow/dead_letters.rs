use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::delivery::{DeadLetterState, DeliveryStatus};
use harbor_model::id::DeliveryId;
use harbor_model::port::history::DeadLetterFilter;
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed};
use harbor_testkit::world::World;

async fn replay(world: &World, of: DeliveryId, new_webhook_id: bool) -> Replayed {
    let rng: &dyn Rng = &*world.rng;
    let now = world.now();
    let id = DeliveryId::new(now, rng);
    let tenant_id = world.tenant.clone();
    let replay = NewReplay { id, tenant_id, of, reason: None, new_webhook_id, idempotency: None, now };
    world.store.replay(replay).await.unwrap()
}

fn in_state(state: DeadLetterState) -> DeadLetterFilter {
    DeadLetterFilter { state: Some(state), ..DeadLetterFilter::default() }
}

#[tokio::test]
async fn a_replay_makes_one_new_delivery_and_marks_the_dead_letter() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).attempts(1).await;
    let event = world.publish("invoice.paid").await;
    world.run_until_idle().await;
    let dead = world.deliveries(&shop).await[0].id;
    assert_eq!(world.dead_letters(in_state(DeadLetterState::Open)).await.len(), 1);
    world.advance(Duration::from_secs(1)).await;

    let Replayed::Made(new) = replay(&world, dead, false).await else {
        panic!("the dead letter is replayed")
    };
    assert_eq!(replay(&world, dead, false).await, Replayed::Open { by: new.id }, "one at a time");
    world.run_until_idle().await;

    assert_eq!(world.history(&shop).await, ["500", "dead", "200", "delivered"]);
    assert_eq!(world.delivery(new.id).await.delivery.replay_of, Some(dead));
    let letter = world.delivery(dead).await.delivery.dead_letter.unwrap();
    assert_eq!((letter.state, letter.replayed_by), (DeadLetterState::Replayed, Some(new.id)));
    assert!(world.dead_letters(in_state(DeadLetterState::Open)).await.is_empty());
    let request = &world.received(&shop)[1];
    assert_eq!(request.header("webhook-id"), event.to_string(), "for receivers it is the same webhook");
    assert_eq!(request.header("x-harborhook-replay-of"), dead.to_string());
    assert_eq!(request.header("x-harborhook-attempt"), "1");
}

#[tokio::test]
async fn a_replay_with_a_new_webhook_id_is_processed_again() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    world.publish("invoice.paid").await;
    world.run_until_idle().await;
    let delivered = world.deliveries(&shop).await[0].id;

    let Replayed::Made(new) = replay(&world, delivered, true).await else {
        panic!("what was delivered is replayed")
    };
    world.run_until_idle().await;

    let ids: Vec<_> = world.received(&shop).iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(world.delivery(new.id).await.delivery.status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn a_discarded_letter_is_out_of_the_way_and_stays_dead() {
    let world = World::new().await;
    let shop = world.endpoint().answers([404]).await;
    world.publish("invoice.paid").await;
    world.run_until_idle().await;
    let dead = world.deliveries(&shop).await[0].id;

    let Discarded::Done(_) = world.store.discard(&world.tenant, dead, world.now()).await.unwrap() else {
        panic!("an open letter is discarded");
    };
    world.run_until_idle().await;

    assert!(world.dead_letters(in_state(DeadLetterState::Open)).await.is_empty());
    assert_eq!(world.dead_letters(in_state(DeadLetterState::Discarded)).await.len(), 1);
    assert_eq!(world.history(&shop).await, ["404", "dead"]);
}

#[tokio::test]
async fn what_is_under_way_is_not_replayed() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).await;
    world.publish("invoice.paid").await;
    world.settle().await;
    let open = world.deliveries(&shop).await[0].id;
    assert_eq!(replay(&world, open, false).await, Replayed::NotFinal);
    world.run_until_idle().await;
}
