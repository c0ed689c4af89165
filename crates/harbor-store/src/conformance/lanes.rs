//! Ordered lanes: one after the other, whatever becomes of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::endpoint::{DisabledReason, Endpoint};
use harbor_model::id::{DeliveryId, EventId};
use harbor_model::lane::{LaneHead, LaneKey, OrderedLane, Release, Released};
use harbor_model::policy::PolicyLayer;
use harbor_model::policy::order::{OnDead, Ordering as OrderedBy};
use harbor_model::port::deliveries::{AttemptResult, Backlog, Finish, LeaseAsk};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::intake::Published;
use harbor_model::port::interventions::Intervened;
use harbor_model::subscription::Subscription;

use crate::conformance::world::{ALL, DAY, LANE_MOVED, RECORDED, SECOND, Store, World, done, key_of, walk};

/// The lanes of an endpoint, in the order in which they are listed.
async fn lanes<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Vec<OrderedLane> {
    world.store.lanes(&endpoint.tenant_id, endpoint.id, ALL).await.unwrap().items
}

async fn release<S: Store>(world: &World<S>, endpoint: &Endpoint, lane: &str, how: Release) -> Released {
    let key = LaneKey::new(lane);
    world.store.release_lane(&endpoint.tenant_id, endpoint.id, &key, how, world.now()).await.unwrap()
}

/// Tries the one delivery that is due to the endpoint, which dies of it.
async fn kill<S: Store>(world: &World<S>, endpoint: &Endpoint, on_dead: OnDead) -> Finish {
    let lease = world.lease_one(endpoint).await;
    let result = world.result(lease, 500, Next::Dead(Cause::AttemptsExhausted));
    world.record(AttemptResult { on_dead, ..result }).await
}

/// Delivers the one delivery that is due to the endpoint.
async fn deliver<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Finish {
    let lease = world.lease_one(endpoint).await;
    world.finish(lease, 200, Next::Delivered).await
}

pub async fn only_the_heads_of_lanes_are_due<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let head = world.owed_in(&endpoint, "order 7").await;
    let behind = [world.owed_in(&endpoint, "order 7").await, world.owed_in(&endpoint, "order 7").await];
    let other_head = world.owed_in(&endpoint, "order 8").await;
    let free = world.owed(&endpoint).await;

    let leases = world.lease(world.worker().await, &endpoint, 100).await;
    let mut found: Vec<_> =
        leases.iter().map(|lease| (lease.delivery.delivery_id, lease.delivery.is_ordered)).collect();
    found.sort_unstable();
    let mut expected = [(head, true), (other_head, true), (free, false)];
    expected.sort_unstable();
    assert_eq!(found, expected);
    drop(leases);

    for id in behind {
        let waiting = world.read(&tenant, id).await.delivery;
        assert_eq!((waiting.status, waiting.next_attempt_at), (DeliveryStatus::Queued, None));
    }
    assert_eq!(world.read(&tenant, head).await.delivery.next_attempt_at, Some(world.now()));
    let backlog = world.store.backlog(world.now()).await.unwrap();
    assert_eq!(backlog, Backlog { due: 3, oldest_due_at: Some(world.now()), next_due_at: None });
}

pub async fn each_goes_when_the_one_before_it_has_ended<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.owed_in(&endpoint, "a").await);
    }
    for (position, id) in ids.iter().enumerate() {
        world.clock.advance(SECOND);
        let lease = world.lease_one(&endpoint).await;
        assert_eq!(lease.delivery.delivery_id, *id);
        let others = world.lease(world.worker().await, &endpoint, 10).await;
        assert_eq!(others.len(), 0, "one is in flight at a time");
        let expected = if position == 3 { RECORDED } else { LANE_MOVED };
        assert_eq!(world.finish(lease, 200, Next::Delivered).await, expected);
        if let Some(next) = ids.get(position + 1) {
            assert_eq!(world.read(&tenant, *next).await.delivery.next_attempt_at, Some(world.now()));
        }
    }
    assert_eq!(world.due(&endpoint).await, []);
}

pub async fn a_batch_joins_a_lane_in_its_order<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
    let mut batch = Vec::new();
    let mut expected = HashMap::from([(one.id, Vec::new()), (other.id, Vec::new())]);
    for round in 0..40 {
        // Each to its endpoints in another order, with some that come to nothing between them.
        let endpoints = if round % 2 == 0 { [&one, &other] } else { [&other, &one] };
        let draft = world.event(&tenant, &endpoints).in_lane("a");
        for delivery in &draft.0.deliveries {
            expected.get_mut(&delivery.endpoint_id).unwrap().push(delivery.id);
        }
        batch.push(draft.0);
        if round % 7 == 0 {
            batch.push(world.event(&tenant, &endpoints).in_lane("a").key("k", 1).0);
        }
    }
    for answer in world.store.publish(batch).await {
        assert!(matches!(answer, Ok(Published::Stored { .. } | Published::Duplicate { .. })), "{answer:?}");
    }
    for endpoint in [&one, &other] {
        let mut found = Vec::new();
        for _ in 0..40 {
            let lease = world.lease_one(endpoint).await;
            found.push(lease.delivery.delivery_id);
            world.finish(lease, 200, Next::Delivered).await;
        }
        assert_eq!(found, expected[&endpoint.id]);
        assert_eq!(lanes(world, endpoint).await, []);
    }
}

pub async fn a_failing_head_keeps_its_lane_alone_waiting<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let head = world.owed_in(&endpoint, "a").await;
    world.owed_in(&endpoint, "a").await;
    for _ in 0..3 {
        let lease = world.lease_one(&endpoint).await;
        assert_eq!(lease.delivery.delivery_id, head);
        assert_eq!(world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await, RECORDED);
        assert_eq!(world.due(&endpoint).await, []);
        let other = world.owed_in(&endpoint, "b").await;
        assert_eq!(world.due(&endpoint).await, [other]);
        deliver(world, &endpoint).await;
        let backlog = world.store.backlog(world.now()).await.unwrap();
        assert_eq!((backlog.due, backlog.next_due_at), (0, Some(world.now() + DAY)));
        world.clock.advance(DAY);
    }
    assert_eq!(deliver(world, &endpoint).await, LANE_MOVED);
}

pub async fn a_head_that_is_given_back_stays_the_head<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let head = world.owed_in(&endpoint, "a").await;
    let next = world.owed_in(&endpoint, "a").await;
    for _ in 0..3 {
        assert_eq!(world.due(&endpoint).await, [head]);
    }
    // Nor does a result that comes too late move anything.
    let slow = world.lease_one(&endpoint).await;
    world.store.give_back(slow.key().clone());
    let quick = world.lease_one(&endpoint).await;
    assert_eq!(world.finish(slow, 200, Next::Delivered).await, Finish::Superseded);
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(world.finish(quick, 200, Next::Delivered).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [next]);
}

pub async fn a_dead_head_is_passed_over_where_it_is_to_be_skipped<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed_in(&endpoint, "a").await;
    let second = world.owed_in(&endpoint, "a").await;
    assert_eq!(kill(world, &endpoint, OnDead::Skip).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [second]);
    assert_eq!(kill(world, &endpoint, OnDead::Skip).await, RECORDED);
    assert_eq!(lanes(world, &endpoint).await, []);
}

pub async fn a_dead_head_holds_its_lane_until_it_is_released<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let head = world.owed_in(&endpoint, "a").await;
    world.clock.advance(SECOND);
    assert_eq!(kill(world, &endpoint, OnDead::Hold).await, RECORDED);
    let held_at = Some(world.now());
    let dead =
        LaneHead { delivery_id: head, status: DeliveryStatus::Dead, attempt_count: 1, next_attempt_at: None };
    let held = OrderedLane { key: LaneKey::new("a"), head: Some(dead), waiting_count: 0, held_at };
    assert_eq!(lanes(world, &endpoint).await, std::slice::from_ref(&held), "though nobody waits");

    world.clock.advance(SECOND);
    let (second, third) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(lanes(world, &endpoint).await, [OrderedLane { waiting_count: 2, ..held }]);

    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Done(Some(head)));
    assert_eq!(world.shown(&tenant, head).await, "dead [500]");
    assert_eq!(world.due(&endpoint).await, [second]);
    assert_eq!(lanes(world, &endpoint).await[0].held_at, None);
    deliver(world, &endpoint).await;
    assert_eq!(world.due(&endpoint).await, [third]);

    // One that nobody waits behind is gone when it is released.
    assert_eq!(kill(world, &endpoint, OnDead::Hold).await, RECORDED);
    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Done(Some(third)));
    assert_eq!(lanes(world, &endpoint).await, []);
    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Missing);
}

pub async fn a_replay_takes_the_place_of_a_dead_head_that_is_retried<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (head, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    kill(world, &endpoint, OnDead::Hold).await;
    world.clock.advance(SECOND);
    let id = DeliveryId::new(world.now(), &*world.rng);
    assert_eq!(release(world, &endpoint, "a", Release::Retry(id)).await, Released::Done(Some(id)));

    let replay = world.read(&tenant, id).await.delivery;
    assert_eq!((replay.replay_of, replay.status), (Some(head), DeliveryStatus::Queued));
    assert_eq!(replay.next_attempt_at, Some(world.now()));
    let dead = world.read(&tenant, head).await.delivery.dead_letter.unwrap();
    assert_eq!((dead.state, dead.replayed_by), (DeadLetterState::Replayed, Some(id)));
    let lane = lanes(world, &endpoint).await.remove(0);
    assert_eq!(
        (lane.head.map(|head| head.delivery_id), lane.waiting_count, lane.held_at),
        (Some(id), 1, None)
    );

    let lease = world.lease_one(&endpoint).await;
    assert_eq!((lease.delivery.delivery_id, lease.delivery.is_ordered), (id, true));
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [next]);
}

pub async fn an_open_head_is_cancelled_or_tried_now_when_its_lane_is_released<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (head, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await;
    let retry = || Release::Retry(DeliveryId::new(world.now(), &*world.rng));
    assert_eq!(release(world, &endpoint, "a", retry()).await, Released::Done(Some(head)));
    assert_eq!(world.due(&endpoint).await, [head]);
    assert_eq!(world.shown(&tenant, head).await, "failed [500]");

    // One that is in flight is left as it is, or cancelled all the same.
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(release(world, &endpoint, "a", retry()).await, Released::Done(Some(head)));
    assert_eq!(world.shown(&tenant, head).await, "inflight [500]");
    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Done(Some(head)));
    assert_eq!(world.shown(&tenant, head).await, "cancelled [500]");
    assert_eq!(world.due(&endpoint).await, [next]);
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, Finish::Superseded);
    assert_eq!(world.due(&endpoint).await, [next]);
    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Done(Some(next)));
    assert_eq!(lanes(world, &endpoint).await, []);
}

pub async fn what_cannot_be_released_is_refused<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let retry = || Release::Retry(DeliveryId::new(world.now(), &*world.rng));
    for how in [Release::Skip, retry()] {
        assert_eq!(release(world, &endpoint, "a", how).await, Released::Missing);
    }
    let draft = world.event(&tenant, &[&endpoint]).in_lane("a");
    let (event, head) = (draft.id(), draft.delivery());
    world.stored(draft).await;
    for lane in ["b", ""] {
        assert_eq!(release(world, &endpoint, lane, Release::Skip).await, Released::Missing);
    }

    kill(world, &endpoint, OnDead::Hold).await;
    let next = world.owed_in(&endpoint, "a").await;
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    assert_eq!(release(world, &endpoint, "a", retry()).await, Released::Expired);
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(release(world, &endpoint, "a", Release::Skip).await, Released::Done(Some(head)));
    assert_eq!(world.due(&endpoint).await, [next]);

    kill(world, &endpoint, OnDead::Hold).await;
    world.owed_in(&endpoint, "a").await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    assert_eq!(release(world, &endpoint, "a", retry()).await, Released::NoEndpoint);
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    assert_eq!(release(world, &endpoint, "a", retry()).await, Released::NoEndpoint);
}

pub async fn what_is_cancelled_leaves_its_lane<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.owed_in(&endpoint, "a").await);
    }
    let cancel = async |id| {
        let done = world.store.cancel(&tenant, id, world.now()).await.unwrap();
        assert!(matches!(done, Intervened::Done(_)), "{done:?}");
    };
    // Behind the head, so that the head stays; then the head, while it is in flight.
    cancel(ids[1]).await;
    cancel(ids[4]).await;
    assert_eq!(world.due(&endpoint).await, [ids[0]]);
    assert_eq!(lanes(world, &endpoint).await[0].waiting_count, 2);
    let lease = world.lease_one(&endpoint).await;
    cancel(ids[0]).await;
    assert_eq!(world.due(&endpoint).await, [ids[2]]);
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, Finish::Superseded);
    assert_eq!(world.due(&endpoint).await, [ids[2]]);

    // A new one joins behind those that are left.
    let last = world.owed_in(&endpoint, "a").await;
    cancel(ids[3]).await;
    assert_eq!(deliver(world, &endpoint).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [last]);
    cancel(last).await;
    assert_eq!(lanes(world, &endpoint).await, []);
}

pub async fn those_cancelled_behind_a_dead_head_leave_it_holding<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed_in(&endpoint, "a").await;
    let behind = world.owed_in(&endpoint, "a").await;
    kill(world, &endpoint, OnDead::Hold).await;
    world.store.cancel(&tenant, behind, world.now()).await.unwrap();
    let lane = lanes(world, &endpoint).await.remove(0);
    assert_eq!((lane.waiting_count, lane.held_at), (0, Some(world.now())));
    world.owed_in(&endpoint, "a").await;
    assert_eq!(world.due(&endpoint).await, []);
}

pub async fn a_head_whose_event_is_expunged_lets_the_next_go<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let draft = world.event(&tenant, &[&endpoint]).in_lane("a");
    let (event, head) = (draft.id(), draft.delivery());
    world.stored(draft).await;
    let next = world.owed_in(&endpoint, "a").await;
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    assert_eq!(world.shown(&tenant, head).await, "dead []");
    assert_eq!(world.due(&endpoint).await, [next]);
}

pub async fn an_empty_lane_vanishes_and_begins_anew<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    assert_eq!(lanes(world, &endpoint).await, []);
    for _ in 0..3 {
        let id = world.owed_in(&endpoint, "a").await;
        assert_eq!(world.due(&endpoint).await, [id]);
        assert_eq!(lanes(world, &endpoint).await.len(), 1);
        assert_eq!(deliver(world, &endpoint).await, RECORDED);
        assert_eq!(lanes(world, &endpoint).await, []);
    }
}

pub async fn lanes_are_listed_with_their_heads_youngest_first<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.owed_in(&other, "a").await;
    let failed = world.owed_in(&endpoint, "order 7").await;
    let lease = world.lease_one(&endpoint).await;
    let later = world.now() + DAY;
    world.finish(lease, 500, Next::RetryAt(later)).await;
    world.clock.advance(SECOND);
    let inflight = world.owed_in(&endpoint, "").await;
    let _held = world.lease_one(&endpoint).await;
    world.clock.advance(SECOND);
    let queued = world.owed_in(&endpoint, "größe/π?").await;
    world.owed_in(&endpoint, "order 7").await;
    world.owed_in(&endpoint, "order 7").await;
    let lane = |key: &str, id, status, attempt_count, next_attempt_at, waiting_count| OrderedLane {
        key: LaneKey::new(key),
        head: Some(LaneHead { delivery_id: id, status, attempt_count, next_attempt_at }),
        waiting_count,
        held_at: None,
    };
    let expected = [
        lane("größe/π?", queued, DeliveryStatus::Queued, 0, Some(world.now()), 0),
        lane("", inflight, DeliveryStatus::Inflight, 0, None, 0),
        lane("order 7", failed, DeliveryStatus::Failed, 1, Some(later), 2),
    ];
    let list = async |ask| world.store.lanes(&tenant, endpoint.id, ask).await.unwrap();
    for limit in [1, 2, 10] {
        assert_eq!(walk(limit, list).await.0, expected, "{limit} at a time");
    }
}

pub async fn the_lane_of_an_endpoint_orders_everything_of_it_alone<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (ordered, free) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let mut expected = Vec::new();
    for _ in 0..3 {
        let mut draft = world.event(&tenant, &[&ordered, &free]);
        draft.0.deliveries[0].lane = Some(LaneKey::of_endpoint());
        expected.push(draft.delivery());
        world.stored(draft).await;
    }
    assert_eq!(world.due(&free).await.len(), 3);
    for id in expected {
        assert_eq!(world.due(&ordered).await, [id]);
        deliver(world, &ordered).await;
    }
}

/// An endpoint that orders its deliveries so.
async fn ordered_endpoint<S: Store>(world: &World<S>, ordering: OrderedBy) -> Endpoint {
    let tenant = world.tenant("acme").await;
    let policy = PolicyLayer { ordering: Some(ordering), ..PolicyLayer::default() };
    let endpoint = Endpoint { policy, ..world.new_endpoint(&tenant) };
    let everything: Subscription = world.new_subscription(&endpoint, "*");
    done(world.store.create_endpoint(endpoint, vec![everything], 100).await.unwrap())
}

pub async fn a_replay_joins_the_tail_of_its_lane<S: Store>(world: &World<S>) {
    let endpoint = ordered_endpoint(world, OrderedBy::Key).await;
    let tenant = &endpoint.tenant_id;
    let original = world.owed_in(&endpoint, "a").await;
    deliver(world, &endpoint).await;
    world.clock.advance(SECOND);
    let waiting = world.owed_in(&endpoint, "a").await;
    let replay = world.replay(tenant, original).await;
    assert_eq!((replay.status, replay.next_attempt_at), (DeliveryStatus::Queued, None));
    let last = world.owed_in(&endpoint, "a").await;
    for id in [waiting, replay.id, last] {
        assert_eq!(world.due(&endpoint).await, [id]);
        deliver(world, &endpoint).await;
    }

    // Into an empty lane it comes as its head.
    let again = world.replay(tenant, original).await;
    assert_eq!(again.next_attempt_at, Some(world.now()));
    let behind = world.owed_in(&endpoint, "a").await;
    assert_eq!(world.due(&endpoint).await, [again.id]);
    assert_eq!(deliver(world, &endpoint).await, LANE_MOVED);
    assert_eq!(world.due(&endpoint).await, [behind]);
}

pub async fn a_replay_is_ordered_as_its_endpoint_now_orders<S: Store>(world: &World<S>) {
    let endpoint = ordered_endpoint(world, OrderedBy::Key).await;
    let tenant = &endpoint.tenant_id;
    let (with_key, without) = (world.owed_in(&endpoint, "a").await, world.delivered(&endpoint).await);
    deliver(world, &endpoint).await;
    let orders = async |ordering| {
        world.change(&endpoint, |now| now.policy.ordering = ordering).await;
        let lane = world.owed_in(&endpoint, "a").await;
        let of_endpoint = world.owed_in(&endpoint, "").await;
        let replays = [world.replay(tenant, with_key).await.id, world.replay(tenant, without).await.id];
        let due = world.due(&endpoint).await;
        let is_due = replays.map(|id| due.contains(&id));
        for id in [lane, of_endpoint].into_iter().chain(replays) {
            world.store.cancel(tenant, id, world.now()).await.unwrap();
        }
        is_due
    };
    assert_eq!(orders(Some(OrderedBy::Key)).await, [false, true]);
    assert_eq!(orders(Some(OrderedBy::Endpoint)).await, [false, false]);
    assert_eq!(orders(Some(OrderedBy::None)).await, [true, true]);
    assert_eq!(orders(None).await, [true, true]);
    assert_eq!(lanes(world, &endpoint).await, []);
}

/// Ends all orphans in batches that are smaller than the lanes.
async fn end_orphans<S: Store>(world: &World<S>) -> usize {
    let mut count = 0;
    loop {
        let ended = world.store.end_orphans(world.now(), 3).await.unwrap();
        assert!(ended <= 3);
        if ended == 0 {
            return count;
        }
        count += ended;
    }
}

pub async fn a_disabled_endpoint_empties_its_lanes<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut ids = Vec::new();
    world.owed_in(&endpoint, "held").await;
    kill(world, &endpoint, OnDead::Hold).await;
    for lane in ["a", "b", "held"] {
        for _ in 0..4 {
            ids.push(world.owed_in(&endpoint, lane).await);
        }
    }
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    assert_eq!(end_orphans(world).await, 12);
    for id in ids {
        let found = world.read(&tenant, id).await.delivery;
        assert_eq!(found.dead_letter.map(|dead| dead.cause), Some(Cause::EndpointDisabled));
    }
    assert_eq!(lanes(world, &endpoint).await, []);
}

pub async fn a_deleted_endpoint_empties_its_lanes<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(world.owed_in(&endpoint, "a").await);
    }
    // The head is in flight; what comes of it is recorded, and moves nothing that could be tried.
    let lease = world.lease_one(&endpoint).await;
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    assert_eq!(end_orphans(world).await, 6);
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, RECORDED);
    assert_eq!(end_orphans(world).await, 0);
    assert_eq!(world.shown(&tenant, ids[0]).await, "delivered [200]");
    for id in &ids[1..] {
        assert_eq!(world.shown(&tenant, *id).await, "cancelled []");
    }
}

pub async fn a_lane_survives_a_restart<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (head, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    world.owed_in(&endpoint, "held").await;
    let leases = world.lease(world.worker().await, &endpoint, 2).await;
    for lease in leases {
        if lease.delivery.delivery_id != head {
            let result = world.result(lease, 500, Next::Dead(Cause::ClientError));
            world.record(AttemptResult { on_dead: OnDead::Hold, ..result }).await;
        }
    }
    let before = lanes(world, &endpoint).await;

    let again = world.restarted().await;
    let world = again.as_ref().unwrap_or(world);
    assert_eq!(lanes(world, &endpoint).await, before);
    assert_eq!(world.due(&endpoint).await, [head]);
    let last = world.owed_in(&endpoint, "a").await;
    for id in [head, next, last] {
        assert_eq!(world.due(&endpoint).await, [id]);
        deliver(world, &endpoint).await;
    }
    let held = lanes(world, &endpoint).await;
    assert_eq!(held.len(), 1);
    assert!(held[0].held_at.is_some());
}

/// Many publish into a lane while many deliver from it: whoever ends a head sees who joined, so that nobody
/// is left waiting, and each publisher's deliveries go in the order in which it published.
pub async fn those_who_publish_and_finish_at_once_lose_no_one_of_a_lane<S: Store>(world: &World<S>) {
    const PUBLISHERS: usize = 6;
    const EACH: usize = 25;
    const COUNT: usize = PUBLISHERS * EACH;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut working = tokio::task::JoinSet::new();
    let mut publisher_of: HashMap<EventId, (usize, usize)> = HashMap::new();
    for publisher in 0..PUBLISHERS {
        let mut drafts = Vec::new();
        for place in 0..EACH {
            let draft = world.event(&tenant, &[&endpoint]).in_lane("a");
            publisher_of.insert(draft.id(), (publisher, place));
            drafts.push(draft.0);
        }
        let store = Arc::clone(&world.store);
        working.spawn(async move {
            for draft in drafts {
                let answer = store.publish(vec![draft]).await.remove(0);
                assert!(matches!(answer, Ok(Published::Stored { .. })), "{answer:?}");
                tokio::task::yield_now().await;
            }
            Vec::new()
        });
    }
    let delivered_count = Arc::new(AtomicUsize::new(0));
    let inflight = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let (store, now, worker) = (Arc::clone(&world.store), world.now(), world.worker().await);
        let (key, rng, attempt) = (key_of(&endpoint), Arc::clone(&world.rng), world.attempt(200));
        let (delivered_count, inflight) = (Arc::clone(&delivered_count), Arc::clone(&inflight));
        working.spawn(async move {
            let mut delivered = Vec::new();
            // What nobody is woken for would be looked for without end.
            for _ in 0..200_000 {
                if delivered_count.load(Ordering::SeqCst) == COUNT {
                    return delivered;
                }
                let ask = LeaseAsk { key: key.clone(), count: 5 };
                let leases = store.lease(worker, now, vec![ask]).await.unwrap();
                assert!(leases.len() <= 1, "one of a lane is due");
                for lease in leases {
                    assert_eq!(inflight.fetch_add(1, Ordering::SeqCst), 0, "one of a lane is in flight");
                    let order = delivered_count.fetch_add(1, Ordering::SeqCst);
                    delivered.push((order, lease.delivery.event_id));
                    let mut attempt = attempt.clone();
                    attempt.id = harbor_model::id::AttemptId::new(now, &*rng);
                    let result = AttemptResult {
                        lease,
                        attempt: Some(attempt),
                        is_interrupted: false,
                        next: Next::Delivered,
                        decided_at: now,
                        on_dead: OnDead::Skip,
                        health: None,
                    };
                    // From here on the next one may be lent.
                    inflight.fetch_sub(1, Ordering::SeqCst);
                    let finish = store.finish(vec![result]).await.remove(0).unwrap();
                    assert!(matches!(finish, RECORDED | LANE_MOVED), "{finish:?}");
                }
                tokio::task::yield_now().await;
            }
            panic!("{} of {COUNT} were delivered", delivered_count.load(Ordering::SeqCst));
        });
    }
    let mut delivered = working.join_all().await.concat();
    delivered.sort_unstable();
    assert_eq!(delivered.len(), COUNT);
    let mut next_place = [0; PUBLISHERS];
    for (_, event) in delivered {
        let (publisher, place) = publisher_of[&event];
        assert_eq!(place, next_place[publisher], "in the order of publisher {publisher}");
        next_place[publisher] += 1;
    }
    assert_eq!(lanes(world, &endpoint).await, []);
}

/// Heads end in many lanes at once, some in one batch, while others join: no two wait for each other, and
/// nobody is left behind.
pub async fn many_lanes_move_at_once<S: Store>(world: &World<S>) {
    const LANES: usize = 12;
    const ROUNDS: usize = 8;
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let mut working = tokio::task::JoinSet::new();
    for publisher in 0..3 {
        let mut batches = Vec::new();
        for round in 0..ROUNDS {
            let batch = (0..LANES).map(|lane| {
                let lane = (lane * (publisher + 1) + round) % LANES;
                let endpoints = if publisher == 1 { [&other, &one] } else { [&one, &other] };
                world.event(&tenant, &endpoints).in_lane(&format!("lane {lane}")).0
            });
            batches.push(batch.collect::<Vec<_>>());
        }
        let store = Arc::clone(&world.store);
        working.spawn(async move {
            for batch in batches {
                for answer in store.publish(batch).await {
                    assert!(matches!(answer, Ok(Published::Stored { .. })), "{answer:?}");
                }
            }
        });
    }
    let count = 3 * ROUNDS * LANES * 2;
    let finished = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (store, now, worker) = (Arc::clone(&world.store), world.now(), world.worker().await);
        let (keys, rng, attempt) =
            ([key_of(&one), key_of(&other)], Arc::clone(&world.rng), world.attempt(200));
        let finished = Arc::clone(&finished);
        working.spawn(async move {
            for _ in 0..200_000 {
                if finished.load(Ordering::SeqCst) == count {
                    return;
                }
                let asks = keys.iter().map(|key| LeaseAsk { key: key.clone(), count: 7 }).collect();
                let leases = store.lease(worker, now, asks).await.unwrap();
                let results: Vec<_> = leases
                    .into_iter()
                    .map(|lease| {
                        let mut attempt = attempt.clone();
                        attempt.id = harbor_model::id::AttemptId::new(now, &*rng);
                        AttemptResult {
                            lease,
                            attempt: Some(attempt),
                            is_interrupted: false,
                            next: Next::Delivered,
                            decided_at: now,
                            on_dead: OnDead::Skip,
                            health: None,
                        }
                    })
                    .collect();
                for finish in store.finish(results).await {
                    let finish = finish.unwrap();
                    assert!(matches!(finish, RECORDED | LANE_MOVED), "{finish:?}");
                    finished.fetch_add(1, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
            }
            panic!("{} of {count} were delivered", finished.load(Ordering::SeqCst));
        });
    }
    working.join_all().await;
    assert_eq!(finished.load(Ordering::SeqCst), count);
    for endpoint in [&one, &other] {
        assert_eq!(lanes(world, endpoint).await, []);
        assert_eq!(world.due(endpoint).await, []);
    }
}

/// What may happen to a lane in which one delivery is in flight and another one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Delivered,
    Dead,
    HeadCancelled,
    NextCancelled,
    HeadExpunged,
    Skipped,
    Joined,
    Replayed,
}

const HAPPENINGS: [Happening; 8] = [
    Happening::Delivered,
    Happening::Dead,
    Happening::HeadCancelled,
    Happening::NextCancelled,
    Happening::HeadExpunged,
    Happening::Skipped,
    Happening::Joined,
    Happening::Replayed,
];

/// Lets every two things happen at once: nothing waits for ever, and whoever is left in the lane goes.
pub async fn whatever_happens_to_a_lane_at_once_leaves_nobody_behind<S: Store>(world: &World<S>) {
    let endpoint = ordered_endpoint(world, OrderedBy::Key).await;
    let tenant = &endpoint.tenant_id;
    let original = world.owed_in(&endpoint, "a").await;
    deliver(world, &endpoint).await;
    for (place, one) in HAPPENINGS.into_iter().enumerate() {
        for other in HAPPENINGS.into_iter().skip(place + 1) {
            let both = format!("{one:?} and {other:?}");
            let head = world.event(tenant, &[&endpoint]).in_lane("a");
            let (head_event, head_id) = (head.id(), head.delivery());
            world.stored(head).await;
            let next = world.owed_in(&endpoint, "a").await;
            let lease = std::sync::Mutex::new(Some(world.lease_one(&endpoint).await));
            let happen = async |what: Happening| {
                let now = world.now();
                let held = || lease.lock().unwrap().take();
                match what {
                    Happening::Delivered => {
                        let Some(lease) = held() else { return };
                        world.finish(lease, 200, Next::Delivered).await;
                    }
                    Happening::Dead => {
                        let Some(lease) = held() else { return };
                        world.finish(lease, 500, Next::Dead(Cause::ClientError)).await;
                    }
                    Happening::HeadCancelled => {
                        world.store.cancel(tenant, head_id, now).await.unwrap();
                    }
                    Happening::NextCancelled => {
                        world.store.cancel(tenant, next, now).await.unwrap();
                    }
                    Happening::HeadExpunged => {
                        assert!(world.store.expunge(tenant, head_event, now).await.unwrap());
                    }
                    Happening::Skipped => {
                        release(world, &endpoint, "a", Release::Skip).await;
                    }
                    Happening::Joined => {
                        world.owed_in(&endpoint, "a").await;
                    }
                    Happening::Replayed => {
                        world.replay(tenant, original).await;
                    }
                }
            };
            tokio::join!(happen(one), happen(other));
            drop(lease);
            for _ in 0..10 {
                let leases = world.lease(world.worker().await, &endpoint, 10).await;
                assert!(leases.len() <= 1, "{both}: one of a lane is due");
                for lease in leases {
                    world.finish(lease, 200, Next::Delivered).await;
                }
            }
            assert_eq!(lanes(world, &endpoint).await, [], "{both}");
            for status in [DeliveryStatus::Queued, DeliveryStatus::Inflight, DeliveryStatus::Failed] {
                let filter = DeliveryFilter { status: Some(status), ..DeliveryFilter::default() };
                let left = world.store.deliveries(tenant, filter, ALL).await.unwrap().items;
                assert_eq!(left, [], "{both}");
            }
        }
    }
}
