//! Recording attempts with their consequences.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetter, DeadLetterState, DeliveryStatus};
use harbor_model::policy::order::OnDead;
use harbor_model::port::deliveries::{AttemptResult, Finish, LeaseAsk};

use crate::conformance::world::{DAY, RECORDED, SECOND, Store, World, key_of};

pub async fn each_outcome_moves_the_delivery_on<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let later = world.now() + DAY;
    let dead = |cause| {
        Some(DeadLetter { cause, dead_at: world.now(), state: DeadLetterState::Open, replayed_by: None })
    };
    for (next, status, next_attempt_at, is_delivered, dead_letter) in [
        (Next::Delivered, DeliveryStatus::Delivered, None, true, None),
        (Next::RetryAt(later), DeliveryStatus::Failed, Some(later), false, None),
        (Next::Dead(Cause::ClientError), DeliveryStatus::Dead, None, false, dead(Cause::ClientError)),
        (Next::Dead(Cause::EndpointGone), DeliveryStatus::Dead, None, false, dead(Cause::EndpointGone)),
    ] {
        let id = world.owed(&endpoint).await;
        world.clock.advance(SECOND);
        let lease = world.lease_one(&endpoint).await;
        let decided_at = world.now();
        assert_eq!(world.finish(lease, 200, next).await, RECORDED);

        let found = world.read(&tenant, id).await.delivery;
        assert_eq!(found.status, status, "{next:?}");
        assert_eq!(found.attempt_count, 1, "{next:?}");
        assert_eq!(found.next_attempt_at, next_attempt_at, "{next:?}");
        assert_eq!(found.delivered_at, is_delivered.then_some(decided_at), "{next:?}");
        assert_eq!(
            found.dead_letter,
            dead_letter.map(|dead| DeadLetter { dead_at: decided_at, ..dead }),
            "{next:?}"
        );
        assert_eq!(found.updated_at, decided_at, "{next:?}");
        assert_eq!(found.created_at, decided_at - SECOND, "{next:?}");
    }
}

pub async fn what_was_tried_is_kept_as_it_was<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let answered = world.attempt(503);
    let silent = Attempt {
        http_status: None,
        error_class: Some(ErrorClass::ConnectionRefused),
        error: Some("nothing listens at [2001:db8::1]:443".to_owned()),
        response_body: Bytes::new(),
        response_headers: Vec::new(),
        remote_address: Some("[2001:db8::1]:443".parse().unwrap()),
        ..world.attempt(0)
    };
    let long = Attempt { response_body: Bytes::from(vec![0xff; 16 * 1024]), ..world.attempt(500) };
    for attempt in [answered, silent, long] {
        let id = world.owed(&endpoint).await;
        let lease = world.lease_one(&endpoint).await;
        let expected = Attempt { number: Some(1), ..attempt.clone() };
        let result = AttemptResult { attempt: Some(attempt), ..world.result(lease, 0, Next::Delivered) };
        assert_eq!(world.record(result).await, RECORDED);
        assert_eq!(world.read(&tenant, id).await.attempts, [expected]);
    }
}

pub async fn attempts_are_numbered_in_turn<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    for status in [500, 501, 502] {
        let lease = world.lease_one(&endpoint).await;
        world.finish(lease, status, Next::RetryAt(world.now() + SECOND)).await;
        assert!(world.lease(world.worker().await, &endpoint, 1).await.is_empty(), "it is not due yet");
        world.clock.advance(SECOND);
    }
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(lease.delivery.attempt_count, 3);
    world.finish(lease, 200, Next::Delivered).await;

    let found = world.read(&tenant, id).await;
    let attempts: Vec<_> =
        found.attempts.iter().map(|attempt| (attempt.number, attempt.http_status)).collect();
    assert_eq!(
        attempts,
        [(Some(1), Some(500)), (Some(2), Some(501)), (Some(3), Some(502)), (Some(4), Some(200))]
    );
    assert_eq!(found.delivery.attempt_count, 4);
}

pub async fn a_delivery_that_ends_without_a_request_has_no_attempt<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for (next, expected) in
        [(Next::Dead(Cause::EventExpired), "dead []"), (Next::RetryAt(world.now() + DAY), "queued []")]
    {
        let id = world.owed(&endpoint).await;
        let lease = world.lease_one(&endpoint).await;
        let result = AttemptResult { attempt: None, ..world.result(lease, 0, next) };
        assert_eq!(world.record(result).await, RECORDED);
        assert_eq!(world.shown(&tenant, id).await, expected);
        assert_eq!(world.read(&tenant, id).await.delivery.attempt_count, 0);
    }
}

pub async fn a_result_after_the_lease_was_lost_is_kept_and_counts_for_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let slow = world.lease_one(&endpoint).await;
    world.store.give_back(slow.key().clone());
    let quick = world.lease_one(&endpoint).await;

    // While its successor holds it, and when it is final.
    world.clock.advance(SECOND);
    let late = world.finish(slow, 500, Next::Dead(Cause::AttemptsExhausted)).await;
    assert_eq!(late, Finish::Superseded);
    assert_eq!(world.shown(&tenant, id).await, "inflight [500]");
    world.clock.advance(SECOND);
    assert_eq!(world.finish(quick, 200, Next::Delivered).await, RECORDED);

    let found = world.read(&tenant, id).await;
    let attempts: Vec<_> =
        found.attempts.iter().map(|attempt| (attempt.number, attempt.http_status)).collect();
    assert_eq!(attempts, [(None, Some(500)), (Some(1), Some(200))]);
    assert_eq!((found.delivery.status, found.delivery.attempt_count), (DeliveryStatus::Delivered, 1));
}

pub async fn a_lease_whose_end_is_recorded_is_over<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let worker = world.worker().await;
    let lease = world.lease(worker, &endpoint, 1).await.remove(0);
    let key = lease.key().clone();
    world.finish(lease, 500, Next::RetryAt(world.now())).await;
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);

    let next = world.lease_one(&endpoint).await;
    world.store.give_back(key);
    assert!(world.lease(world.worker().await, &endpoint, 1).await.is_empty(), "an old key frees nothing");
    assert_eq!(next.delivery.delivery_id, id);
}

/// Some lease without pause while others finish: no delivery may be lent once its end is recorded.
pub async fn a_finished_delivery_is_never_lent_again_however_many_ask<S: Store>(world: &World<S>) {
    const COUNT: usize = 400;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..COUNT {
        world.owed(&endpoint).await;
    }
    let lent_count = Arc::new(AtomicUsize::new(0));
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, now, worker) = (Arc::clone(&world.store), world.now(), world.worker().await);
        let (key, lent_count) = (key_of(&endpoint), Arc::clone(&lent_count));
        let attempt = world.attempt(200);
        let rng = Arc::clone(&world.rng);
        working.spawn(async move {
            while lent_count.load(Ordering::SeqCst) < COUNT {
                let ask = LeaseAsk { key: key.clone(), count: 5 };
                let leases = store.lease(worker, now, vec![ask]).await.unwrap();
                lent_count.fetch_add(leases.len(), Ordering::SeqCst);
                let results = leases.into_iter().map(|lease| AttemptResult {
                    lease,
                    attempt: Some(Attempt {
                        id: harbor_model::id::AttemptId::new(now, &*rng),
                        ..attempt.clone()
                    }),
                    is_interrupted: false,
                    next: Next::Delivered,
                    decided_at: now,
                    on_dead: OnDead::Skip,
                    health: None,
                });
                for finish in store.finish(results.collect()).await {
                    assert_eq!(finish.unwrap(), RECORDED);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    working.join_all().await;
    assert_eq!(lent_count.load(Ordering::SeqCst), COUNT, "each delivery was lent once");
    assert!(world.lease(world.worker().await, &endpoint, COUNT).await.is_empty());
}

pub async fn many_results_are_answered_in_their_order<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let batch: Vec<_> = (0..700).map(|_| world.event(&tenant, &[&endpoint]).leased_to(worker).0).collect();
    let mut results = Vec::new();
    for answer in world.store.publish(batch).await {
        let harbor_model::port::intake::Published::Stored { leases } = answer.unwrap() else {
            panic!("not stored")
        };
        results.extend(leases.into_iter().map(|lease| world.result(lease, 200, Next::Delivered)));
    }
    for lost in [3, 600] {
        world.store.give_back(results[lost].lease.key().clone());
    }
    let finished = world.store.finish(results).await;
    let superseded: Vec<_> = finished
        .iter()
        .enumerate()
        .filter(|(_, finish)| matches!(finish, Ok(Finish::Superseded)))
        .map(|(position, _)| position)
        .collect();
    assert_eq!((finished.len(), superseded), (700, vec![3, 600]));
}

pub async fn an_interruption_is_counted_and_has_no_record<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    let interrupt = async |next: Next| {
        let lease = world.lease_one(&endpoint).await;
        let result = AttemptResult { attempt: None, is_interrupted: true, ..world.result(lease, 0, next) };
        assert_eq!(world.record(result).await, RECORDED);
        world.shown(&tenant, id).await
    };
    let later = world.now() + SECOND;
    assert_eq!(interrupt(Next::RetryAt(later)).await, "queued []");
    assert_eq!(world.read(&tenant, id).await.delivery.next_attempt_at, Some(later));
    world.clock.advance(SECOND);
    let lease = world.lease_one(&endpoint).await;
    assert_eq!((lease.delivery.interrupted_count, lease.delivery.attempt_count), (1, 0));
    world.finish(lease, 500, Next::RetryAt(world.now())).await;

    assert_eq!(interrupt(Next::RetryAt(world.now())).await, "failed [500]");
    let lease = world.lease_one(&endpoint).await;
    assert_eq!((lease.delivery.interrupted_count, lease.delivery.attempt_count), (2, 1));
    drop(lease);
    assert_eq!(interrupt(Next::Dead(Cause::WorkerCrash)).await, "dead [500]");
    assert_eq!(world.read(&tenant, id).await.delivery.attempt_count, 1);
}
