//! Endpoints that were resumed and take what waited at a rate, until nothing does.

use harbor_model::decide::retry::Next;
use harbor_model::endpoint::{Drain, Endpoint};

use crate::conformance::world::{DAY, SECOND, Store, World, done};

/// The endpoint, resumed now.
async fn resumed<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Endpoint {
    let drain = Drain { per_second: 3, since: world.now() };
    world.change(endpoint, |now| now.drain = Some(drain)).await
}

async fn drain_of<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Option<Drain> {
    world.store.find_endpoint(&endpoint.tenant_id, endpoint.id).await.unwrap().unwrap().drain
}

async fn end<S: Store>(world: &World<S>) -> usize {
    world.store.end_drains(world.now(), 100).await.unwrap()
}

pub async fn a_drain_ends_when_nothing_from_before_waits<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    world.owed(&endpoint).await;
    assert_eq!(end(world).await, 0);
    let now = resumed(world, &endpoint).await;
    let drain = Some(Drain { per_second: 3, since: world.now() });
    assert_eq!((now.drain, drain_of(world, &endpoint).await), (drain, drain));
    let snapshot = world.store.tenant(&tenant).await.unwrap().unwrap();
    assert_eq!(snapshot.endpoints[&endpoint.id].endpoint.drain, drain);
    world.clock.advance(SECOND);
    let later = world.owed(&endpoint).await;
    assert_eq!(end(world).await, 0);

    let mut leases = world.lease(world.worker().await, &endpoint, 2).await;
    assert!(leases.iter().all(|lease| lease.delivery.delivery_id != later), "the longest due go first");
    world.finish(leases.remove(0), 200, Next::Delivered).await;
    assert_eq!(end(world).await, 0, "one is in flight");
    // That it is tried later is no waiting from before.
    world.finish(leases.remove(0), 500, Next::RetryAt(world.now() + DAY)).await;
    assert_eq!(end(world).await, 1);
    assert_eq!(drain_of(world, &endpoint).await, None);
    let after = world.store.tenant(&tenant).await.unwrap().unwrap();
    assert!(after.version > snapshot.version);
    assert_eq!(after.endpoints[&endpoint.id].endpoint.drain, None);
    assert_eq!(end(world).await, 0);
    assert_eq!(world.due(&endpoint).await, [later]);
}

pub async fn what_is_due_when_it_is_resumed_is_drained_too<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let scheduled = world.event(&tenant, &[&endpoint]).due_at(world.now() + SECOND);
    let id = scheduled.delivery();
    world.stored(scheduled).await;
    world.clock.advance(SECOND);
    resumed(world, &endpoint).await;
    assert_eq!(end(world).await, 0);
    world.store.cancel(&tenant, id, world.now()).await.unwrap();
    assert_eq!(end(world).await, 1);
}

pub async fn what_waits_behind_a_head_drains_in_its_turn<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed_in(&endpoint, "a").await;
    let behind = world.owed_in(&endpoint, "a").await;
    resumed(world, &endpoint).await;
    world.clock.advance(SECOND);
    assert_eq!(end(world).await, 0);
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(world.due(&endpoint).await, [behind]);
    assert_eq!(end(world).await, 0, "it waited when the drain began, though it is due since now");
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(end(world).await, 1);
}

pub async fn drains_end_in_small_batches<S: Store>(world: &World<S>) {
    for name in ["acme", "zebra"] {
        let tenant = world.tenant(name).await;
        for _ in 0..3 {
            let endpoint = world.endpoint(&tenant).await;
            resumed(world, &endpoint).await;
        }
        // One that goes on does not stand before the others.
        let busy = world.endpoint(&tenant).await;
        world.owed(&busy).await;
        resumed(world, &busy).await;
        let deleted = world.endpoint(&tenant).await;
        resumed(world, &deleted).await;
        done(world.store.delete_endpoint(&tenant, deleted.id, None, world.now()).await.unwrap());
    }
    let mut count = 0;
    for _ in 0..20 {
        let ended = world.store.end_drains(world.now(), 2).await.unwrap();
        assert!(ended <= 2);
        count += ended;
    }
    assert_eq!(count, 6);
}

pub async fn a_drain_is_as_its_endpoint_was_last_changed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    resumed(world, &endpoint).await;
    world.clock.advance(SECOND);
    let faster = Drain { per_second: 100, since: world.now() };
    world.change(&endpoint, |now| now.drain = Some(faster)).await;
    assert_eq!(drain_of(world, &endpoint).await, Some(faster));
    world
        .change(&endpoint, |now| {
            now.paused = true;
            now.drain = None;
        })
        .await;
    assert_eq!(drain_of(world, &endpoint).await, None);
    assert_eq!(end(world).await, 0);
}
