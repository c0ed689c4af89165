//! Naming what is due, and lending it.

use std::collections::HashSet;
use std::sync::Arc;

use harbor_model::decide::retry::Next;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{DeliveryId, EventId};
use harbor_model::port::deliveries::{Backlog, EndpointKey, LeaseAsk, LeaseKey};

use crate::conformance::world::{DAY, SECOND, Store, World, done, key_of};

async fn named<S: Store>(world: &World<S>) -> Vec<EndpointKey> {
    let due = world.store.due_endpoints(world.now(), None, 100).await.unwrap();
    due.into_iter().map(|due| due.key).collect()
}

pub async fn only_endpoints_with_due_deliveries_are_named<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (owed, later, _idle) =
        (world.endpoint(&tenant).await, world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.owed(&owed).await;
    world.clock.advance(SECOND);
    world.owed(&owed).await;
    let at = world.now() + DAY;
    world.stored(world.event(&tenant, &[&later]).due_at(at)).await;
    world.delivered(&later).await;

    let due = world.store.due_endpoints(world.now(), None, 100).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].key, key_of(&owed));
    assert_eq!(due[0].oldest_due_at, world.now() - SECOND);
    let version = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    assert_eq!(due[0].directory_version, version);

    world.clock.advance(DAY);
    assert_eq!(named(world).await.len(), 2);
}

pub async fn endpoints_are_named_in_steps_and_each_once<S: Store>(world: &World<S>) {
    let mut expected = HashSet::new();
    for name in ["acme", "zebra", "bolt"] {
        let tenant = world.tenant(name).await;
        for _ in 0..7 {
            let endpoint = world.endpoint(&tenant).await;
            world.owed(&endpoint).await;
            world.owed(&endpoint).await;
            expected.insert(key_of(&endpoint));
        }
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let step = world.store.due_endpoints(world.now(), after.clone(), 4).await.unwrap();
        found.extend(step.iter().map(|due| due.key.clone()));
        after = found.last().cloned();
        if step.len() < 4 {
            break;
        }
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected);
}

pub async fn an_endpoint_that_is_held_is_neither_named_nor_lent<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;

    let check = async |expected: usize| {
        assert_eq!(named(world).await.len(), expected);
        assert_eq!(world.lease(world.worker().await, &endpoint, 10).await.len(), expected);
    };
    check(1).await;
    world.change(&endpoint, |endpoint| endpoint.paused = true).await;
    check(0).await;
    world.change(&endpoint, |endpoint| endpoint.paused = false).await;
    check(1).await;
    world.change(&endpoint, |endpoint| endpoint.disabled = Some(DisabledReason::Manual)).await;
    check(0).await;
    world.change(&endpoint, |endpoint| endpoint.disabled = None).await;
    check(1).await;
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    check(0).await;
}

pub async fn the_longest_due_are_lent_first_and_no_more_than_asked<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let mut owed = Vec::new();
    for seconds in [30, 10, 20, 40, 60] {
        let draft = world.event(&tenant, &[&one]).due_at(world.now() + SECOND * seconds);
        owed.push((seconds, draft.delivery()));
        world.stored(draft).await;
    }
    let of_other = world.owed(&other).await;
    owed.sort_unstable();
    let in_turn: Vec<_> = owed.into_iter().map(|(_, id)| id).collect();
    world.clock.advance(SECOND * 50);

    let ask = |endpoint, count| LeaseAsk { key: key_of(endpoint), count };
    let asks = vec![ask(&one, 3), ask(&other, 3), ask(&one, 0)];
    let leases = world.store.lease(world.worker().await, world.now(), asks).await.unwrap();
    let ids = |leases: &[harbor_model::port::deliveries::Lease]| -> Vec<DeliveryId> {
        leases.iter().map(|lease| lease.delivery.delivery_id).collect()
    };
    assert_eq!(ids(&leases), [in_turn[0], in_turn[1], in_turn[2], of_other]);
    let rest = world.lease(world.worker().await, &one, 10).await;
    assert_eq!(ids(&rest), [in_turn[3]]);
}

pub async fn what_is_lent_says_what_it_is<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let draft = world.event(&tenant, &[&endpoint]).payload(&[7; 300]);
    let (event_id, id, made_at) = (draft.id(), draft.delivery(), world.now());
    world.stored(draft).await;
    world.clock.advance(SECOND);
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;

    let worker = world.worker().await;
    let lease = world.lease(worker, &endpoint, 1).await.remove(0);
    let delivery = &lease.delivery;
    assert_eq!(delivery.key, key_of(&endpoint));
    assert_eq!((delivery.event_id, delivery.delivery_id), (event_id, id));
    assert_eq!((delivery.attempt_count, delivery.payload_bytes), (1, 300));
    assert_eq!((delivery.created_at, delivery.replay_of, delivery.new_webhook_id), (made_at, None, false));
    let version = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    assert_eq!(delivery.directory_version, version);
    assert_eq!((&lease.key().tenant_id, lease.key().delivery_id, lease.key().worker), (&tenant, id, worker));
}

pub async fn what_is_lent_is_not_lent_again_until_it_is_given_back<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let first = world.lease_one(&endpoint).await;
    let number = first.key().number;
    assert!(world.lease(world.worker().await, &endpoint, 10).await.is_empty());
    assert_eq!(world.shown(&tenant, id).await, "inflight []");

    drop(first);
    assert_eq!(world.shown(&tenant, id).await, "queued []");
    let second = world.lease_one(&endpoint).await;
    assert_ne!(second.key().number, number);
}

pub async fn those_who_lease_at_once_get_different_deliveries<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..200 {
        world.owed(&endpoint).await;
    }
    let mut leasing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, worker, now) = (Arc::clone(&world.store), world.worker().await, world.now());
        let key = key_of(&endpoint);
        leasing.spawn(async move {
            let mut leases = Vec::new();
            for _ in 0..10 {
                let ask = LeaseAsk { key: key.clone(), count: 3 };
                leases.extend(store.lease(worker, now, vec![ask]).await.unwrap());
            }
            leases
        });
    }
    let leases: Vec<_> = leasing.join_all().await.into_iter().flatten().collect();
    let ids: HashSet<_> = leases.iter().map(|lease| lease.delivery.delivery_id).collect();
    assert_eq!((leases.len(), ids.len()), (200, 200));
}

pub async fn leases_are_known_by_their_worker<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (one, other) = (world.worker().await, world.worker().await);
    for _ in 0..3 {
        world.owed(&endpoint).await;
    }
    let mut leases = world.lease(one, &endpoint, 2).await;
    let of_other = world.lease(other, &endpoint, 2).await;

    let sorted = |mut keys: Vec<LeaseKey>| {
        keys.sort_unstable_by_key(|key| key.delivery_id);
        keys
    };
    let held: Vec<_> = leases.iter().map(|lease| lease.key().clone()).collect();
    assert_eq!(sorted(world.store.leases_of(one).await.unwrap()), sorted(held));
    assert_eq!(world.store.leases_of(other).await.unwrap(), [of_other[0].key().clone()]);
    world.finish(leases.remove(0), 200, Next::Delivered).await;
    drop(leases);
    assert_eq!(world.store.leases_of(one).await.unwrap(), []);
}

pub async fn events_are_loaded_in_the_order_of_the_asks<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.event(&tenant, &[]), world.event(&tenant, &[]).payload(b"2"));
    let (one_id, other_id) = (one.id(), other.id());
    world.stored(one).await;
    world.stored(other).await;
    let unknown = EventId::from_number(1);
    let asks = [other_id, unknown, one_id, other_id].map(|id| (tenant.clone(), id)).to_vec();
    let loaded = world.store.load_events(asks).await.unwrap();
    let ids: Vec<_> = loaded.iter().map(|event| event.as_ref().map(|body| body.id)).collect();
    assert_eq!(ids, [Some(other_id), None, Some(one_id), Some(other_id)]);
}

pub async fn a_backlog_counts_what_waits<S: Store>(world: &World<S>) {
    let backlog = async || world.store.backlog(world.now()).await.unwrap();
    assert_eq!(backlog().await, Backlog::default());

    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let (one, other) = (world.endpoint(&acme).await, world.endpoint(&zebra).await);
    let began = world.now();
    world.owed(&one).await;
    world.owed(&one).await;
    world.delivered(&one).await;
    world.clock.advance(SECOND);
    world.owed(&other).await;
    for later in [2, 5] {
        let draft = world.event(&acme, &[&one]).due_at(began + SECOND * later);
        world.stored(draft).await;
    }
    let next_due_at = Some(began + SECOND * 2);
    assert_eq!(backlog().await, Backlog { due: 3, oldest_due_at: Some(began), next_due_at });

    let held = world.lease(world.worker().await, &one, 10).await;
    let of_other = Some(began + SECOND);
    assert_eq!(backlog().await, Backlog { due: 1, oldest_due_at: of_other, next_due_at });
    drop(held);
    world.clock.advance(SECOND * 10);
    assert_eq!(backlog().await, Backlog { due: 5, oldest_due_at: Some(began), next_due_at: None });
}
