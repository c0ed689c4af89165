//! Replays of old deliveries, and dead letters that are put aside.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{DeadLetterState, DeliveryStatus};
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed};

use crate::conformance::world::{DAY, SECOND, Store, World, done};

async fn state_of<S: Store>(
    world: &World<S>,
    tenant: &TenantId,
    id: DeliveryId,
) -> (DeadLetterState, Option<DeliveryId>) {
    let dead = world.read(tenant, id).await.delivery.dead_letter.expect("it is dead");
    (dead.state, dead.replayed_by)
}

pub async fn a_replay_is_one_new_delivery_linked_to_the_old<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let original = world.dead(&endpoint).await;
    world.clock.advance(SECOND);
    let asked = NewReplay { new_webhook_id: true, ..world.new_replay(&tenant, original) };
    let Replayed::Made(made) = world.store.replay(asked.clone()).await.unwrap() else { panic!("not made") };

    let old = world.read(&tenant, original).await;
    assert_eq!((made.id, made.replay_of), (asked.id, Some(original)));
    assert_eq!((made.event_id, made.endpoint_id), (old.delivery.event_id, endpoint.id));
    assert_eq!((made.status, made.attempt_count), (DeliveryStatus::Queued, 0));
    assert_eq!((made.next_attempt_at, made.created_at), (Some(world.now()), world.now()));
    assert_eq!(world.read(&tenant, made.id).await.delivery, made);
    // The old one stays as it was, but for its state.
    assert_eq!((old.delivery.status, old.attempts.len()), (DeliveryStatus::Dead, 1));
    assert_eq!(state_of(world, &tenant, original).await, (DeadLetterState::Replayed, Some(made.id)));

    let lease = world.lease_one(&endpoint).await;
    assert_eq!((lease.delivery.replay_of, lease.delivery.new_webhook_id), (Some(original), true));
    assert_eq!((lease.delivery.attempt_count, lease.delivery.payload_bytes), (0, 16));
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(world.shown(&tenant, made.id).await, "delivered [200]");
}

pub async fn a_delivered_delivery_may_be_replayed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let original = world.delivered(&endpoint).await;
    let made = world.replay(&tenant, original).await;
    assert_eq!(made.replay_of, Some(original));
    assert_eq!(world.read(&tenant, original).await.delivery.dead_letter, None);
    // And so may the replay.
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(world.replay(&tenant, made.id).await.replay_of, Some(made.id));
}

pub async fn what_cannot_be_replayed_is_refused<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let replay = async |of| world.store.replay(world.new_replay(&tenant, of)).await.unwrap();

    assert_eq!(replay(DeliveryId::from_number(1)).await, Replayed::Missing);
    let nobody = "nobody".parse().unwrap();
    let of_nobody = world.store.replay(world.new_replay(&nobody, DeliveryId::from_number(1))).await.unwrap();
    assert_eq!(of_nobody, Replayed::Missing);

    let open = world.owed(&other).await;
    assert_eq!(replay(open).await, Replayed::NotFinal);
    let lease = world.lease_one(&other).await;
    assert_eq!(replay(open).await, Replayed::NotFinal);
    drop(lease);

    let dead = world.dead(&endpoint).await;
    world.change(&endpoint, |now| now.paused = true).await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Gone)).await;
    assert_eq!(replay(dead).await, Replayed::NoEndpoint);
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    assert_eq!(replay(dead).await, Replayed::NoEndpoint);
    assert_eq!(state_of(world, &tenant, dead).await, (DeadLetterState::Open, None));
}

pub async fn there_is_one_open_replay_at_a_time<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let original = world.dead(&endpoint).await;
    let replay = async || world.store.replay(world.new_replay(&tenant, original)).await.unwrap();

    let Replayed::Made(first) = replay().await else { panic!("not made") };
    assert_eq!(replay().await, Replayed::Open { by: first.id });
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(replay().await, Replayed::Open { by: first.id });
    world.finish(lease, 200, Next::Delivered).await;
    let Replayed::Made(second) = replay().await else { panic!("not made") };
    assert_eq!(state_of(world, &tenant, original).await, (DeadLetterState::Replayed, Some(second.id)));
}

pub async fn the_same_request_again_answers_with_the_first_replay<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (original, other) = (world.dead(&endpoint).await, world.dead(&endpoint).await);
    let ask = async |change: fn(&mut NewReplay), of| {
        let mut asked = world.new_replay(&tenant, of);
        asked.idempotency = Some(("k".to_owned(), world.now() + DAY));
        change(&mut asked);
        world.store.replay(asked).await.unwrap()
    };
    let Replayed::Made(first) = ask(|_| (), original).await else { panic!("not made") };
    assert_eq!(ask(|_| (), original).await, Replayed::Made(first.clone()));
    assert_eq!(ask(|_| (), other).await, Replayed::KeyReused);
    assert_eq!(ask(|asked| asked.new_webhook_id = true, original).await, Replayed::KeyReused);
    assert_eq!(ask(|asked| asked.reason = None, original).await, Replayed::KeyReused);

    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    let Replayed::Made(again) = ask(|_| (), original).await else { panic!("not made") };
    assert_eq!((again.id, again.status), (first.id, DeliveryStatus::Delivered), "as it stands now");

    world.clock.advance(DAY);
    let Replayed::Made(later) = ask(|_| (), original).await else { panic!("not made") };
    assert_ne!(later.id, first.id);
}

pub async fn a_replays_key_says_nothing_of_a_publish<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let original = world.dead(&endpoint).await;
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
    let asked = NewReplay {
        idempotency: Some(("k".to_owned(), world.now() + DAY)),
        ..world.new_replay(&tenant, original)
    };
    assert!(matches!(world.store.replay(asked).await.unwrap(), Replayed::Made(_)));
}

pub async fn an_open_dead_letter_is_discarded_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let discard = async |id| world.store.discard(&tenant, id, world.now()).await.unwrap();
    let dead = world.dead(&endpoint).await;

    let Discarded::Done(first) = discard(dead).await else { panic!("not discarded") };
    assert_eq!(first.dead_letter.unwrap().state, DeadLetterState::Discarded);
    world.clock.advance(SECOND);
    assert_eq!(discard(dead).await, Discarded::Done(first), "the second time changes nothing");

    let delivered = world.delivered(&endpoint).await;
    assert_eq!(discard(delivered).await, Discarded::Missing);
    let open = world.owed(&endpoint).await;
    assert_eq!(discard(open).await, Discarded::Missing);
    assert_eq!(discard(DeliveryId::from_number(1)).await, Discarded::Missing);
    let replayed = world.dead(&endpoint).await;
    world.replay(&tenant, replayed).await;
    assert_eq!(discard(replayed).await, Discarded::Replayed);

    // One that was put aside may still be replayed.
    let made = world.replay(&tenant, dead).await;
    assert_eq!(state_of(world, &tenant, dead).await, (DeadLetterState::Replayed, Some(made.id)));
}
