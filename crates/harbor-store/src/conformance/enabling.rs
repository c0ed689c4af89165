//! Endpoints that are disabled and enabled again: what was open dies all the same.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::{DisabledReason, Endpoint};

use crate::conformance::world::{ALL, DAY, LANE_MOVED, RECORDED, SECOND, Store, World};

/// Disables the endpoint and enables it a second later.
async fn disabled_and_enabled<S: Store>(world: &World<S>, endpoint: &Endpoint) {
    let change = async |disabled| {
        world.clock.advance(SECOND);
        let now = world.now();
        let change = |endpoint: &mut Endpoint| {
            endpoint.disabled = disabled;
            endpoint.updated_at = now;
        };
        world.change(endpoint, change).await;
    };
    change(Some(DisabledReason::Manual)).await;
    change(None).await;
}

pub async fn what_was_open_dies_though_its_endpoint_is_enabled_again<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let of_other = world.owed(&other).await;
    let failed = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await;
    let scheduled = world.event(&tenant, &[&endpoint]).due_at(world.now() + DAY);
    let old = [world.owed(&endpoint).await, failed, scheduled.delivery()];
    world.stored(scheduled).await;

    disabled_and_enabled(world, &endpoint).await;
    let new = world.owed(&endpoint).await;
    assert_eq!(world.due(&endpoint).await, [new], "what was open is not lent");
    world.clock.advance(SECOND);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 3);
    for id in old {
        let dead = world.read(&tenant, id).await.delivery.dead_letter.expect("it is dead");
        assert_eq!((dead.cause, dead.dead_at), (Cause::EndpointDisabled, world.now()));
    }
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
    assert_eq!(world.due(&endpoint).await, [new]);
    assert_eq!(world.due(&other).await, [of_other]);

    // And so it is the next time.
    disabled_and_enabled(world, &endpoint).await;
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    assert_eq!(world.shown(&tenant, new).await, "dead []");
}

pub async fn what_was_in_flight_is_left_to_its_holder_and_not_tried_again<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (one, other) = (world.owed(&endpoint).await, world.owed(&endpoint).await);
    let leases = world.lease(world.worker().await, &endpoint, 2).await;
    disabled_and_enabled(world, &endpoint).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
    for lease in leases {
        let next =
            if lease.delivery.delivery_id == one { Next::Delivered } else { Next::RetryAt(world.now()) };
        assert_eq!(world.finish(lease, 200, next).await, RECORDED);
    }
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    assert_eq!(world.shown(&tenant, one).await, "delivered [200]");
    assert_eq!(world.shown(&tenant, other).await, "dead [200]");
}

pub async fn what_died_so_can_be_replayed_once_its_endpoint_is_enabled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    disabled_and_enabled(world, &endpoint).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    let replay = world.replay(&tenant, id).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 0);
    assert_eq!(world.due(&endpoint).await, [replay.id]);
}

pub async fn a_lane_goes_on_with_what_came_after<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let old = [world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await];
    disabled_and_enabled(world, &endpoint).await;
    let new = [world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await];
    assert_eq!(world.due(&endpoint).await, []);
    let mut ended = 0;
    for _ in 0..5 {
        ended += world.store.end_orphans(world.now(), 1).await.unwrap();
    }
    assert_eq!(ended, 2);
    for id in old {
        assert_eq!(world.shown(&tenant, id).await, "dead []");
    }
    assert_eq!(world.due(&endpoint).await, [new[0]]);
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [new[1]]);
    let lanes = world.store.lanes(&tenant, endpoint.id, ALL).await.unwrap().items;
    assert_eq!(lanes.len(), 1);
}
