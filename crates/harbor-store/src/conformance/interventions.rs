//! What people do to single deliveries and events while they are under way.

use std::sync::Arc;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{DeliveryId, EventId};
use harbor_model::port::deliveries::{Finish, LEASE_TRUSTED, Lease};
use harbor_model::port::intake::Published;
use harbor_model::port::interventions::Intervened;
use harbor_model::port::upkeep::Replayed;

use crate::conformance::world::{DAY, LANE_MOVED, RECORDED, SECOND, Store, World};

/// A delivery that stands so, its event, and its lease where it is in flight.
async fn standing<S: Store>(
    world: &World<S>,
    endpoint: &Endpoint,
    status: DeliveryStatus,
) -> (DeliveryId, EventId, Option<Lease>) {
    let tenant = &endpoint.tenant_id;
    let mut draft = world.event(tenant, &[endpoint]);
    if status == DeliveryStatus::Queued {
        draft = draft.due_at(world.now() + DAY);
    } else {
        draft = draft.leased_to(world.worker().await);
    }
    let (event, id) = (draft.id(), draft.delivery());
    let lease = world.stored(draft).await.pop();
    let next = match status {
        DeliveryStatus::Queued | DeliveryStatus::Inflight => return (id, event, lease),
        DeliveryStatus::Delivered => Next::Delivered,
        DeliveryStatus::Failed | DeliveryStatus::Cancelled => Next::RetryAt(world.now() + DAY),
        DeliveryStatus::Dead => Next::Dead(Cause::AttemptsExhausted),
    };
    assert_eq!(world.finish(lease.unwrap(), 500, next).await, RECORDED);
    if status == DeliveryStatus::Cancelled {
        world.store.cancel(tenant, id, world.now()).await.unwrap();
    }
    (id, event, None)
}

/// What came of it, in short.
fn told(intervened: &Intervened) -> String {
    match intervened {
        Intervened::Done(delivery) => format!("done: {}", delivery.status),
        Intervened::Missing => "missing".to_owned(),
        Intervened::Final(status) => format!("final: {status}"),
        Intervened::Behind => "behind".to_owned(),
    }
}

pub async fn what_is_open_is_tried_now<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    for (status, answer, is_due) in [
        (DeliveryStatus::Queued, "done: queued", true),
        (DeliveryStatus::Inflight, "done: inflight", false),
        (DeliveryStatus::Failed, "done: failed", true),
        (DeliveryStatus::Delivered, "final: delivered", false),
        (DeliveryStatus::Dead, "final: dead", false),
        (DeliveryStatus::Cancelled, "final: cancelled", false),
    ] {
        let endpoint = world.endpoint(&tenant).await;
        let (id, _, _lease) = standing(world, &endpoint, status).await;
        let before = world.read(&tenant, id).await;
        world.clock.advance(SECOND);
        let done = world.store.retry_now(&tenant, id, world.now()).await.unwrap();
        assert_eq!(told(&done), answer, "{status}");
        let after = world.read(&tenant, id).await;
        if let Intervened::Done(delivery) = done {
            assert_eq!(after.delivery, delivery, "{status}");
        }
        assert_eq!(world.due(&endpoint).await.contains(&id), is_due, "{status}");
        assert_eq!(after.delivery.status, status);
        assert_eq!(
            (after.delivery.attempt_count, after.attempts),
            (before.delivery.attempt_count, before.attempts)
        );
        if is_due {
            assert_eq!(after.delivery.next_attempt_at, Some(world.now()), "{status}");
        } else {
            assert_eq!(after.delivery, before.delivery, "{status} is left as it is");
        }
    }
    let unknown = DeliveryId::from_number(1);
    let missing = world.store.retry_now(&tenant, unknown, world.now()).await.unwrap();
    assert_eq!(missing, Intervened::Missing);
}

pub async fn what_waits_behind_another_is_not_tried_before_it<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (head, behind) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await;
    let retry = async |id| world.store.retry_now(&tenant, id, world.now()).await.unwrap();
    assert_eq!(retry(behind).await, Intervened::Behind);
    assert_eq!(world.due(&endpoint).await, []);
    assert_eq!(told(&retry(head).await), "done: failed");
    assert_eq!(world.due(&endpoint).await, [head]);
}

pub async fn what_is_open_is_cancelled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    for (status, answer) in [
        (DeliveryStatus::Queued, "done: cancelled"),
        (DeliveryStatus::Inflight, "done: cancelled"),
        (DeliveryStatus::Failed, "done: cancelled"),
        (DeliveryStatus::Delivered, "final: delivered"),
        (DeliveryStatus::Dead, "final: dead"),
        (DeliveryStatus::Cancelled, "final: cancelled"),
    ] {
        let endpoint = world.endpoint(&tenant).await;
        let (id, _, _lease) = standing(world, &endpoint, status).await;
        let before = world.read(&tenant, id).await;
        world.clock.advance(SECOND);
        let done = world.store.cancel(&tenant, id, world.now()).await.unwrap();
        assert_eq!(told(&done), answer, "{status}");
        let after = world.read(&tenant, id).await;
        assert_eq!(after.attempts, before.attempts, "{status}");
        if let Intervened::Done(delivery) = done {
            assert_eq!(after.delivery, delivery, "{status}");
            assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Cancelled, None));
            assert_eq!((delivery.updated_at, delivery.dead_letter), (world.now(), None), "{status}");
            assert_eq!(delivery.attempt_count, before.delivery.attempt_count, "{status}");
        } else {
            assert_eq!(after.delivery, before.delivery, "{status} is left as it is");
        }
        world.clock.advance(DAY);
        assert_eq!(world.due(&endpoint).await, [], "{status}");
    }
    let unknown = DeliveryId::from_number(1);
    assert_eq!(world.store.cancel(&tenant, unknown, world.now()).await.unwrap(), Intervened::Missing);
}

pub async fn what_comes_of_a_cancelled_delivery_counts_for_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for next in [Next::Delivered, Next::RetryAt(world.now()), Next::Dead(Cause::ClientError)] {
        let id = world.owed(&endpoint).await;
        let lease = world.lease_one(&endpoint).await;
        let worker = lease.key().worker;
        world.store.cancel(&tenant, id, world.now()).await.unwrap();
        assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
        assert_eq!(world.finish(lease, 200, next).await, Finish::Superseded);
        let found = world.read(&tenant, id).await;
        assert_eq!(found.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [None]);
        assert_eq!((found.delivery.status, found.delivery.attempt_count), (DeliveryStatus::Cancelled, 0));
        assert_eq!(world.due(&endpoint).await, []);
    }
    // Nor is it due again when its lease is given back.
    let id = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.store.cancel(&tenant, id, world.now()).await.unwrap();
    drop(lease);
    assert_eq!(world.shown(&tenant, id).await, "cancelled []");
    assert_eq!(world.due(&endpoint).await, []);
}

pub async fn whoever_waited_with_a_lease_learns_that_it_was_taken_away<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let is_held = async |lease: &Lease| world.store.is_held(lease.key()).await.unwrap();
    let worker = world.worker().await;
    let born = world.event(&tenant, &[&endpoint]).leased_to(worker);
    let (cancelled, expunged) = (born.delivery(), world.event(&tenant, &[&endpoint]).leased_to(worker));
    let event = expunged.id();
    let (cancelled_lease, expunged_lease) =
        (world.stored(born).await.remove(0), world.stored(expunged).await.remove(0));
    world.owed(&endpoint).await;
    let kept = world.lease_one(&endpoint).await;
    world.owed(&endpoint).await;
    let given_back = world.lease_one(&endpoint).await;
    for lease in [&cancelled_lease, &expunged_lease, &kept, &given_back] {
        assert!(is_held(lease).await);
    }

    world.store.cancel(&tenant, cancelled, world.now()).await.unwrap();
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    world.store.give_back(given_back.key().clone());
    world.clock.advance(LEASE_TRUSTED + SECOND);
    assert!(!is_held(&cancelled_lease).await, "it was cancelled");
    assert!(!is_held(&expunged_lease).await, "its event was expunged");
    assert!(!is_held(&given_back).await, "it was given back");
    assert!(is_held(&kept).await);
    let again = world.lease_one(&endpoint).await;
    world.clock.advance(LEASE_TRUSTED + SECOND);
    assert!(!is_held(&given_back).await, "it is another's");
    assert!(is_held(&again).await);
    assert_eq!(world.finish(kept, 200, Next::Delivered).await, RECORDED);
}

/// Of a cancel and a result that come at once exactly one wins, and the next one of the lane goes once.
pub async fn either_a_cancel_or_a_result_wins<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for round in 0..30 {
        let (id, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
        let lease = world.lease_one(&endpoint).await;
        let result = world.result(lease, 200, Next::Delivered);
        let (store, now, tenant_id) = (Arc::clone(&world.store), world.now(), tenant.clone());
        let cancelling = async move {
            // Now one is first, now the other.
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            store.cancel(&tenant_id, id, now).await.unwrap()
        };
        let finishing = async {
            if round % 3 == 1 {
                tokio::task::yield_now().await;
            }
            world.record(result).await
        };
        let (cancelled, finished) = tokio::join!(cancelling, finishing);
        let shown = world.shown(&tenant, id).await;
        match (told(&cancelled).as_str(), finished) {
            ("done: cancelled", Finish::Superseded) => assert_eq!(shown, "cancelled [200]"),
            ("final: delivered", LANE_MOVED) => assert_eq!(shown, "delivered [200]"),
            other => panic!("round {round}: {other:?}, {shown}"),
        }
        assert_eq!(world.due(&endpoint).await, [next], "round {round}");
        let lease = world.lease_one(&endpoint).await;
        assert_eq!(world.finish(lease, 200, Next::Delivered).await, RECORDED);
    }
}

pub async fn an_expunged_event_has_no_payload_any_more<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for (status, expected) in [
        (DeliveryStatus::Queued, "dead []"),
        (DeliveryStatus::Inflight, "dead []"),
        (DeliveryStatus::Failed, "dead [500]"),
        (DeliveryStatus::Delivered, "delivered [500]"),
        (DeliveryStatus::Dead, "dead [500]"),
        (DeliveryStatus::Cancelled, "cancelled [500]"),
    ] {
        let (id, event, lease) = standing(world, &endpoint, status).await;
        let before = world.read(&tenant, id).await.delivery;
        world.clock.advance(SECOND);
        assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap(), "{status}");
        assert_eq!(world.shown(&tenant, id).await, expected, "{status}");
        let after = world.read(&tenant, id).await.delivery;
        if matches!(status, DeliveryStatus::Queued | DeliveryStatus::Inflight | DeliveryStatus::Failed) {
            let dead = after.dead_letter.expect("it is dead");
            assert_eq!((dead.cause, dead.dead_at), (Cause::EventExpired, world.now()), "{status}");
            assert_eq!((dead.state, dead.replayed_by), (DeadLetterState::Open, None), "{status}");
            assert_eq!(after.next_attempt_at, None, "{status}");
        } else {
            assert_eq!(after, before, "{status} is left as it is");
        }
        let found = world.store.find_event(&tenant, event).await.unwrap().expect("the event is still shown");
        assert!(found.body.payload.is_empty(), "{status}");
        assert_eq!(world.store.load_events(vec![(tenant.clone(), event)]).await.unwrap(), [None], "{status}");
        let replayed = world.store.replay(world.new_replay(&tenant, id)).await.unwrap();
        assert_eq!(replayed, Replayed::Expired, "{status}");
        if let Some(lease) = lease {
            assert_eq!(world.finish(lease, 200, Next::Delivered).await, Finish::Superseded);
        }

        // Once is enough.
        let after = world.read(&tenant, id).await;
        world.clock.advance(SECOND);
        assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap(), "{status}");
        assert_eq!(world.read(&tenant, id).await, after, "{status}");
    }
    assert_eq!(world.due(&endpoint).await, []);
    assert!(!world.store.expunge(&tenant, EventId::from_number(1), world.now()).await.unwrap());
}

pub async fn what_is_relayed_is_expunged_with_its_headers<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let mut draft = world.event(&tenant, &[&one, &other]).payload(b"secret words").key("k", 1);
    let body = Arc::get_mut(&mut draft.0.body).unwrap();
    body.headers = vec![("x-signature".to_owned(), "of the secret".to_owned())];
    draft.0.metadata.insert("order".to_owned(), "7".to_owned());
    let event = draft.id();
    world.stored(draft).await;
    let untouched = world.event(&tenant, &[&one]);
    let untouched_id = untouched.id();
    world.stored(untouched).await;

    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    let found = world.store.find_event(&tenant, event).await.unwrap().unwrap();
    assert_eq!((found.body.payload.len(), found.body.headers.len()), (0, 0));
    assert_eq!(found.metadata.get("order").map(String::as_str), Some("7"), "what is said of it stays");
    assert_eq!(found.fan_out.count, 2);
    let kept = world.store.load_events(vec![(tenant.clone(), untouched_id)]).await.unwrap().remove(0);
    assert_eq!(kept.unwrap().payload.as_ref(), b"{\"amount\": 1.10}");
    assert_eq!((world.due(&one).await.len(), world.due(&other).await.len()), (1, 0));

    // Its key still stands.
    let again = world.publish(world.event(&tenant, &[]).key("k", 1)).await;
    assert!(matches!(again, Published::Duplicate { event_id, .. } if event_id == event), "{again:?}");
}
