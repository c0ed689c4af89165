//! A tenant sees and changes nothing of another, even where it knows its ids.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::Endpoint;
use harbor_model::port::deliveries::{EndpointKey, LeaseAsk};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter, EventFilter};
use harbor_model::port::intake::Published;
use harbor_model::port::registry::{Change, SubscriptionFilter};
use harbor_model::port::upkeep::{Discarded, Replayed};
use harbor_model::subscription::Subscription;

use crate::conformance::world::{ALL, Store, World, done};

pub async fn nothing_of_another_tenant_can_be_read<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    let endpoint = world.endpoint(&owner).await;
    let draft = world.event(&owner, &[&endpoint]);
    let (event, delivery) = (draft.id(), draft.delivery());
    world.stored(draft).await;
    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 9).await.unwrap());

    assert_eq!(world.store.find_event(&other, event).await.unwrap(), None);
    assert_eq!(world.store.load_events(vec![(other.clone(), event)]).await.unwrap(), [None]);
    assert_eq!(world.store.find_delivery(&other, delivery).await.unwrap(), None);
    assert_eq!(world.store.find_endpoint(&other, endpoint.id).await.unwrap(), None);
    assert_eq!(world.store.find_subscription(&other, subscription.id).await.unwrap(), None);
    let of_event =
        world.store.deliveries_of_event(&other, event, DeliveryFilter::default(), ALL).await.unwrap();
    assert_eq!(of_event.items, []);
    let key = EndpointKey { tenant_id: other.clone(), endpoint_id: endpoint.id };
    let ask = LeaseAsk { key, count: 10 };
    assert!(world.store.lease(world.worker().await, world.now(), vec![ask]).await.unwrap().is_empty());
    assert!(world.store.tenant(&other).await.unwrap().unwrap().endpoints.is_empty());
}

pub async fn nothing_of_another_tenant_can_be_changed<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    let endpoint = world.endpoint(&owner).await;
    let dead = world.dead(&endpoint).await;
    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 9).await.unwrap());
    let store = &world.store;

    let stolen = Endpoint { tenant_id: other.clone(), paused: true, ..endpoint.clone() };
    assert_eq!(store.update_endpoint(stolen).await.unwrap(), Change::Missing);
    assert_eq!(store.delete_endpoint(&other, endpoint.id, None, world.now()).await.unwrap(), Change::Missing);
    let stolen = Subscription { tenant_id: other.clone(), ..subscription.clone() };
    assert_eq!(store.update_subscription(stolen).await.unwrap(), Change::Missing);
    assert_eq!(store.delete_subscription(&other, subscription.id, None).await.unwrap(), Change::Missing);
    let mut crossing = world.new_subscription(&endpoint, "crossing");
    crossing.tenant_id = other.clone();
    assert_eq!(store.create_subscription(crossing, 9).await.unwrap(), Change::Missing);
    assert_eq!(store.replay(world.new_replay(&other, dead)).await.unwrap(), Replayed::Missing);
    assert_eq!(store.discard(&other, dead, world.now()).await.unwrap(), Discarded::Missing);

    assert_eq!(store.find_endpoint(&owner, endpoint.id).await.unwrap(), Some(endpoint));
    assert_eq!(store.find_subscription(&owner, subscription.id).await.unwrap(), Some(subscription));
    assert_eq!(world.shown(&owner, dead).await, "dead [500]");
}

pub async fn lists_show_only_the_tenants_own<S: Store>(world: &World<S>) {
    for name in ["owner", "other"] {
        let tenant = world.tenant(name).await;
        let endpoint = world.endpoint(&tenant).await;
        world.delivered(&endpoint).await;
        world.dead(&endpoint).await;
        let draft = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
        // Held until the end of the test.
        std::mem::forget(world.stored(draft).await);
    }
    for name in ["owner", "other"] {
        let tenant = name.parse().unwrap();
        let store = &world.store;
        assert_eq!(store.events(&tenant, EventFilter::default(), ALL).await.unwrap().items.len(), 3);
        for (status, expected) in
            [(None, 3), (Some(DeliveryStatus::Inflight), 1), (Some(DeliveryStatus::Dead), 1)]
        {
            let filter = DeliveryFilter { status, ..DeliveryFilter::default() };
            let found = store.deliveries(&tenant, filter, ALL).await.unwrap().items;
            assert_eq!(found.len(), expected, "{status:?}");
            assert!(found.iter().all(|delivery| delivery.tenant_id == tenant));
        }
        let dead = store.dead_letters(&tenant, DeadLetterFilter::default(), ALL).await.unwrap().items;
        assert_eq!(dead.len(), 1);
        let endpoints = store.endpoints(&tenant, ALL).await.unwrap().items;
        assert_eq!(endpoints.len(), 1);
        assert!(endpoints.iter().all(|endpoint| endpoint.tenant_id == tenant));
        let subscriptions =
            store.subscriptions(&tenant, SubscriptionFilter::default(), ALL).await.unwrap().items;
        assert_eq!(subscriptions.len(), 1);
    }
}

pub async fn a_key_of_another_tenant_is_another_key<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    world.stored(world.event(&owner, &[]).key("k", 1)).await;
    let published = world.publish(world.event(&other, &[]).key("k", 2)).await;
    assert!(matches!(published, Published::Stored { .. }), "{published:?}");

    let endpoint = world.endpoint(&owner).await;
    let id = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(world.shown(&owner, id).await, "delivered [200]");
}
