//! Who is at work, and what becomes of the work of the dead.

use harbor_model::decide::retry::{INTERRUPTIONS_MAX, Next};
use harbor_model::delivery::{Cause, DeadLetter, DeadLetterState, DeliveryStatus};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{DeliveryId, WorkerId};
use harbor_model::port::deliveries::{AttemptResult, Finish, Lease};
use harbor_model::port::intake::Published;
use harbor_model::port::workers::Roll;

use crate::conformance::world::{RECORDED, SECOND, Store, World};

fn count_of(roll: &Roll, worker: WorkerId) -> Option<u64> {
    roll.counts.iter().find(|(other, _)| *other == worker).map(|(_, count)| *count)
}

/// Buries a worker, whose counter is read at the beat of another.
async fn bury<S: Store>(world: &World<S>, worker: WorkerId) -> Option<usize> {
    let roll = world.store.beat(world.worker().await, world.now()).await.unwrap();
    let count = count_of(&roll, worker).expect("the worker is enlisted");
    world.store.bury(worker, count, world.now()).await.unwrap()
}

/// A worker with its lease of the one delivery that is due to the endpoint.
async fn holder<S: Store>(world: &World<S>, endpoint: &Endpoint) -> (WorkerId, Lease) {
    let lease = world.lease_one(endpoint).await;
    (lease.key().worker, lease)
}

pub async fn a_worker_that_is_not_enlisted_is_lent_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let stranger = WorkerId::new(world.now(), &*world.rng);
    let draft = world.event(&tenant, &[&endpoint]).leased_to(stranger);
    let id = draft.delivery();
    assert_eq!(world.stored(draft).await.len(), 0);
    assert_eq!(world.shown(&tenant, id).await, "queued []");
    assert_eq!(world.lease(stranger, &endpoint, 10).await.len(), 0);
    assert_eq!(world.lease_one(&endpoint).await.delivery.delivery_id, id);
}

pub async fn a_beat_raises_its_own_counter_alone<S: Store>(world: &World<S>) {
    let (one, other) = (world.worker().await, world.worker().await);
    let before = world.store.beat(one, world.now()).await.unwrap();
    world.store.beat(one, world.now()).await.unwrap();
    let after = world.store.beat(one, world.now()).await.unwrap();
    assert!(after.is_enlisted);
    assert!(after.counts.is_sorted());
    assert_eq!(after.counts.len(), 2);
    assert_eq!(count_of(&after, one), count_of(&before, one).map(|count| count + 2));
    assert_eq!(count_of(&after, other), count_of(&before, other));

    let of_stranger = world.store.beat(WorkerId::from_number(1), world.now()).await.unwrap();
    assert_eq!(of_stranger, Roll { is_enlisted: false, ..after });
}

pub async fn a_worker_is_buried_once_and_only_at_the_count_that_was_seen<S: Store>(world: &World<S>) {
    let worker = world.worker().await;
    let now = world.now();
    let seen = count_of(&world.store.beat(worker, now).await.unwrap(), worker).unwrap();
    let beaten = count_of(&world.store.beat(worker, now).await.unwrap(), worker).unwrap();
    assert_eq!(world.store.bury(worker, seen, now).await.unwrap(), None, "it has moved since");
    assert_eq!(world.store.bury(worker, beaten + 1, now).await.unwrap(), None);
    assert_eq!(world.store.bury(WorkerId::from_number(1), 0, now).await.unwrap(), None, "nobody knows it");
    assert_eq!(world.store.bury(worker, beaten, now).await.unwrap(), Some(0));
    assert_eq!(world.store.bury(worker, beaten, now).await.unwrap(), None, "another was first");
}

pub async fn a_buried_worker_is_told_so_and_is_lent_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    bury(world, worker).await;
    let roll = world.store.beat(worker, world.now()).await.unwrap();
    assert_eq!((roll.is_enlisted, count_of(&roll, worker)), (false, None));

    assert_eq!(world.stored(world.event(&tenant, &[&endpoint]).leased_to(worker)).await.len(), 0);
    assert_eq!(world.lease(worker, &endpoint, 10).await.len(), 0);
    world.lease_one(&endpoint).await;
}

pub async fn what_a_buried_worker_held_is_free<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (worker, other) = (world.worker().await, world.worker().await);
    let mut ids = vec![world.owed(&endpoint).await, world.owed(&endpoint).await];
    let mut held = world.lease(worker, &endpoint, 10).await;
    let draft = world.event(&tenant, &[&endpoint]).leased_to(worker);
    ids.push(draft.delivery());
    held.extend(world.stored(draft).await);
    let others = world.stored(world.event(&tenant, &[&endpoint]).leased_to(other)).await;

    assert_eq!(bury(world, worker).await, Some(3));
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
    assert_eq!(world.store.leases_of(other).await.unwrap(), [others[0].key().clone()]);
    for id in &ids {
        assert_eq!(world.shown(&tenant, *id).await, "queued []");
    }
    let again = world.lease(other, &endpoint, 10).await;
    let mut found: Vec<_> = again.iter().map(|lease| lease.delivery.delivery_id).collect();
    found.sort_unstable();
    ids.sort_unstable();
    assert_eq!(found, ids);

    // What the dead worker lets go of is no longer its own.
    drop(held);
    assert_eq!(world.store.leases_of(other).await.unwrap().len(), 4);
}

pub async fn the_work_of_a_busy_worker_is_free_at_once<S: Store>(world: &World<S>) {
    const COUNT: usize = 700;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let batch: Vec<_> = (0..COUNT).map(|_| world.event(&tenant, &[&endpoint]).leased_to(worker).0).collect();
    let answers: Vec<_> = world.store.publish(batch).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| matches!(answer, Published::Stored { leases } if leases.len() == 1)));
    assert_eq!(bury(world, worker).await, Some(COUNT));
    let again = world.lease(world.worker().await, &endpoint, 1_000).await;
    assert_eq!(again.len(), COUNT);
    assert!(again.iter().all(|lease| lease.delivery.interrupted_count == 1));
}

pub async fn a_late_result_of_a_buried_worker_is_kept_and_counts_for_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let (worker, late) = holder(world, &endpoint).await;
    bury(world, worker).await;
    let successor = world.lease_one(&endpoint).await;

    assert_eq!(world.finish(late, 500, Next::Dead(Cause::AttemptsExhausted)).await, Finish::Superseded);
    assert_eq!(world.shown(&tenant, id).await, "inflight [500]");
    world.clock.advance(SECOND);
    assert_eq!(world.finish(successor, 200, Next::Delivered).await, RECORDED);
    let found = world.read(&tenant, id).await;
    let numbers: Vec<_> = found.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [None, Some(1)]);
    assert_eq!((found.delivery.status, found.delivery.attempt_count), (DeliveryStatus::Delivered, 1));
}

pub async fn only_a_first_interruption_is_counted_on_suspicion<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    for (is_started, before, after) in
        [(false, 0, 1), (false, 1, 1), (true, 1, 2), (false, 2, 2), (true, 2, 3)]
    {
        let (worker, lease) = holder(world, &endpoint).await;
        assert_eq!(lease.delivery.interrupted_count, before);
        if is_started {
            assert!(world.store.note_start(lease.key()).await.unwrap());
        }
        assert_eq!(bury(world, worker).await, Some(1));
        let next = world.lease_one(&endpoint).await;
        assert_eq!((next.delivery.interrupted_count, next.delivery.attempt_count), (after, 0));
    }
}

pub async fn a_start_is_forgotten_with_its_lease<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    let (worker, _lease) = holder(world, &endpoint).await;
    bury(world, worker).await;
    let given_back = world.lease_one(&endpoint).await;
    let key = given_back.key().clone();
    assert!(world.store.note_start(&key).await.unwrap());
    drop(given_back);
    assert!(!world.store.note_start(&key).await.unwrap(), "the lease was lost");

    let (worker, _lease) = holder(world, &endpoint).await;
    assert!(!world.store.note_start(&key).await.unwrap(), "it is another's lease");
    bury(world, worker).await;
    assert_eq!(world.lease_one(&endpoint).await.delivery.interrupted_count, 1);
}

/// Interrupts the one delivery that is due to the endpoint until it has been so many times.
async fn interrupt<S: Store>(world: &World<S>, endpoint: &Endpoint, times: u16) {
    for _ in 0..times {
        let (worker, lease) = holder(world, endpoint).await;
        assert!(world.store.note_start(lease.key()).await.unwrap());
        assert_eq!(bury(world, worker).await, Some(1));
    }
}

pub async fn what_was_interrupted_too_often_is_left_to_whoever_leases_it_next<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let check = async |id: DeliveryId, before: &str, after: &str, attempt_count: u16| {
        interrupt(world, &endpoint, INTERRUPTIONS_MAX).await;
        assert_eq!(world.shown(&tenant, id).await, before);
        world.clock.advance(SECOND);
        let lease = world.lease_one(&endpoint).await;
        assert_eq!(lease.delivery.interrupted_count, INTERRUPTIONS_MAX);
        let end = AttemptResult { attempt: None, ..world.result(lease, 0, Next::Dead(Cause::WorkerCrash)) };
        assert_eq!(world.record(end).await, RECORDED);
        assert_eq!(world.shown(&tenant, id).await, after);
        let found = world.read(&tenant, id).await.delivery;
        let dead_letter = DeadLetter {
            cause: Cause::WorkerCrash,
            dead_at: world.now(),
            state: DeadLetterState::Open,
            replayed_by: None,
        };
        assert_eq!(found.dead_letter, Some(dead_letter));
        assert_eq!((found.attempt_count, found.next_attempt_at), (attempt_count, None));
        assert_eq!(world.lease(world.worker().await, &endpoint, 10).await.len(), 0);
    };
    let fresh = world.owed(&endpoint).await;
    check(fresh, "queued []", "dead []", 0).await;

    let tried = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;
    check(tried, "failed [500]", "dead [500]", 1).await;
}

pub async fn a_discharged_worker_holds_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let (worker, late) = holder(world, &endpoint).await;
    world.store.discharge(worker).await.unwrap();
    let roll = world.store.beat(worker, world.now()).await.unwrap();
    assert_eq!((roll.is_enlisted, count_of(&roll, worker)), (false, None));
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
    assert_eq!(world.lease(worker, &endpoint, 10).await.len(), 0);

    let next = world.lease_one(&endpoint).await;
    assert_eq!((next.delivery.delivery_id, next.delivery.interrupted_count), (id, 0), "it was no crash");
    assert_eq!(world.finish(late, 200, Next::Delivered).await, Finish::Superseded);
    world.store.discharge(worker).await.unwrap();
}

pub async fn reconciling_frees_nothing_that_is_held<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    world.owed(&endpoint).await;
    world.owed(&endpoint).await;
    let mut held = world.lease(worker, &endpoint, 1).await;
    held.extend(world.stored(world.event(&tenant, &[&endpoint]).leased_to(worker)).await);
    let others = world.lease(world.worker().await, &endpoint, 1).await;
    for _ in 0..3 {
        assert_eq!(world.store.reconcile(worker).await.unwrap(), 0);
    }
    assert_eq!(world.store.leases_of(worker).await.unwrap().len(), 2);
    for lease in held.into_iter().chain(others) {
        let finish = world.finish(lease, 200, Next::Delivered).await;
        assert_eq!(finish, RECORDED);
    }
}

pub async fn a_task_has_one_leader_until_it_is_outlived<S: Store>(world: &World<S>) {
    let (one, other) = (world.worker().await, world.worker().await);
    let lead = async |candidate, outlived| world.store.lead("sweep", candidate, outlived).await.unwrap();
    let first = lead(one, None).await;
    assert_eq!(first.worker, one);
    let kept = lead(one, None).await;
    assert_eq!(kept.worker, one);
    assert!(kept.count > first.count);

    assert_eq!(lead(other, None).await, kept);
    assert_eq!(lead(other, Some(first)).await, kept, "it has confirmed since");
    let taken = lead(other, Some(kept)).await;
    assert_eq!(taken.worker, other);
    assert_eq!(lead(one, None).await, taken);
    assert_eq!(lead(one, Some(kept)).await, taken, "another was first");
    assert_eq!(lead(one, Some(first)).await, taken);
    assert_eq!(world.store.lead("count", one, None).await.unwrap().worker, one, "it is another task");
}
