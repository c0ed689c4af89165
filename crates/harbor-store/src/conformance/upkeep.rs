//! Clearing up.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetter, DeadLetterState};
use harbor_model::endpoint::DisabledReason;

use crate::conformance::world::{DAY, RECORDED, SECOND, Store, World, done};

pub async fn deliveries_of_a_deleted_endpoint_are_cancelled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (deleted, kept) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let queued = world.owed(&deleted).await;
    let delivered = world.delivered(&deleted).await;
    let of_kept = world.owed(&kept).await;
    let later = world.event(&tenant, &[&deleted]).due_at(world.now() + DAY);
    let later_id = later.delivery();
    world.stored(later).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);

    done(world.store.delete_endpoint(&tenant, deleted.id, None, world.now()).await.unwrap());
    world.clock.advance(SECOND);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 2);
    for id in [queued, later_id] {
        let found = world.read(&tenant, id).await.delivery;
        assert_eq!(found.status.as_str(), "cancelled");
        assert_eq!((found.next_attempt_at, found.updated_at, found.dead_letter), (None, world.now(), None));
    }
    assert_eq!(world.shown(&tenant, delivered).await, "delivered [200]");
    assert_eq!(world.shown(&tenant, of_kept).await, "queued []");
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
}

pub async fn deliveries_of_a_disabled_endpoint_die<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    world.clock.advance(SECOND);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    let found = world.read(&tenant, id).await.delivery;
    assert_eq!(found.status.as_str(), "dead");
    let expected = DeadLetter {
        cause: Cause::EndpointDisabled,
        dead_at: world.now(),
        state: DeadLetterState::Open,
        replayed_by: None,
    };
    assert_eq!(found.dead_letter, Some(expected));
}

pub async fn orphans_end_in_small_batches<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    for _ in 0..3 {
        let endpoint = world.endpoint(&tenant).await;
        for _ in 0..4 {
            world.owed(&endpoint).await;
        }
        done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    }
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(world.store.end_orphans(world.now(), 5).await.unwrap());
    }
    assert_eq!(counts, [5, 5, 2, 0]);
}

pub async fn what_is_in_flight_is_left_to_its_holder<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (first, second) = (world.owed(&endpoint).await, world.owed(&endpoint).await);
    let mut leases = world.lease(world.worker().await, &endpoint, 2).await;
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
    // Nor does it stand before what can be ended.
    let third = world.owed(&endpoint).await;
    assert_eq!(world.store.end_orphans(world.now(), 1).await.unwrap(), 1);
    assert_eq!(world.shown(&tenant, third).await, "cancelled []");

    leases.sort_unstable_by_key(|lease| lease.delivery.delivery_id != first);
    let finish = world.finish(leases.remove(0), 200, Next::Delivered).await;
    assert_eq!(finish, RECORDED);
    world.finish(leases.remove(0), 500, Next::RetryAt(world.now() + DAY)).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    assert_eq!(world.shown(&tenant, first).await, "delivered [200]");
    assert_eq!(world.shown(&tenant, second).await, "cancelled [500]");
}

pub async fn deliveries_of_a_paused_endpoint_wait<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    world.change(&endpoint, |now| now.paused = true).await;
    world.clock.advance(DAY);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
    assert_eq!(world.shown(&tenant, id).await, "queued []");
}

pub async fn keys_are_forgotten_when_their_window_is_over<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    for key in ["a", "b", "c"] {
        world.stored(world.event(&tenant, &[]).key(key, 1)).await;
    }
    world.clock.advance(SECOND);
    world.stored(world.event(&tenant, &[]).key("later", 1)).await;
    let forget = async || world.store.forget_keys(world.now(), 2).await.unwrap();

    assert_eq!(forget().await, 0);
    world.clock.advance(DAY - SECOND);
    assert_eq!(forget().await, 2);
    assert_eq!(forget().await, 1);
    assert_eq!(forget().await, 0);
    let later = world.publish(world.event(&tenant, &[]).key("later", 1)).await;
    assert!(format!("{later:?}").starts_with("Duplicate"), "{later:?}");
    world.stored(world.event(&tenant, &[]).key("a", 2)).await;
}
