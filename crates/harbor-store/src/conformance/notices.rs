//! What is told of our own doings to those who subscribe to it by name.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::{DisabledReason, Endpoint};
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::notice::{DELIVERY_DEAD, Notice, Subject};
use harbor_model::port::breakers::BreakerChange;
use harbor_model::port::deliveries::{AttemptResult, Finish, Health, HealthNews};
use harbor_model::subscription::Subscription;

use crate::conformance::world::{LANE_MOVED, RECORDED, SECOND, Store, World, done, key_of};

/// A tenant of which somebody subscribes to this, and an endpoint that wants every other event.
async fn watched<S: Store>(world: &World<S>, pattern: &str) -> (TenantId, Endpoint, Subscription) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let watcher = world.new_endpoint(&tenant);
    let subscription = world.new_subscription(&watcher, pattern);
    done(world.store.create_endpoint(watcher, vec![subscription.clone()], 100).await.unwrap());
    (tenant, endpoint, subscription)
}

/// Takes all notices, oldest first.
async fn taken<S: Store>(world: &World<S>) -> Vec<Notice> {
    let notices = world.store.notices(1_000).await.unwrap();
    assert!(notices.is_sorted_by(|older, newer| older.id < newer.id));
    let ids = notices.iter().map(|notice| notice.id).collect();
    world.store.forget_notices(ids).await.unwrap();
    notices
}

/// Takes all notices; answers what they tell, each of this tenant and of now.
async fn told<S: Store>(world: &World<S>, tenant: &TenantId) -> Vec<Subject> {
    let notices = taken(world).await;
    for notice in &notices {
        assert_eq!((&notice.tenant_id, notice.id.made_at()), (tenant, world.now()), "{notice:?}");
    }
    notices.into_iter().map(|notice| notice.subject).collect()
}

/// That a delivery is dead.
async fn death<S: Store>(world: &World<S>, tenant: &TenantId, id: DeliveryId) -> Subject {
    let found = world.read(tenant, id).await.delivery;
    Subject::DeliveryDead {
        delivery_id: id,
        event_id: found.event_id,
        event_type: found.event_type,
        endpoint_id: found.endpoint_id,
        cause: found.dead_letter.expect("it is dead").cause,
        attempt_count: found.attempt_count,
    }
}

pub async fn nothing_is_told_where_nobody_subscribes_to_it<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.dead(&endpoint).await;
    world.owed(&endpoint).await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    world.store.end_orphans(world.now(), 10).await.unwrap();
    assert_eq!(world.store.notices(10).await.unwrap(), []);
}

pub async fn a_death_is_told<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.*").await;
    let (other, of_other) = {
        let other = world.tenant("zebra").await;
        let endpoint = world.endpoint(&other).await;
        (other, endpoint)
    };
    world.dead(&of_other).await;
    world.delivered(&endpoint).await;
    let id = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;
    assert_eq!(told(world, &tenant).await, []);
    world.clock.advance(SECOND);
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 503, Next::Dead(Cause::AttemptsExhausted)).await;
    let expected = death(world, &tenant, id).await;
    assert!(matches!(
        &expected,
        Subject::DeliveryDead { attempt_count: 2, cause: Cause::AttemptsExhausted, .. }
    ));
    assert_eq!(told(world, &tenant).await, [expected]);
    assert_eq!(told(world, &other).await, [], "once");
}

pub async fn each_death_of_a_batch_is_told<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, DELIVERY_DEAD).await;
    let mut results = Vec::new();
    let mut dead = Vec::new();
    for round in 0..20 {
        let draft = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
        let id = draft.delivery();
        let lease = world.stored(draft).await.remove(0);
        match round % 3 {
            0 => results.push(world.result(lease, 200, Next::Delivered)),
            1 => {
                dead.push(id);
                let next = Next::Dead(Cause::WorkerCrash);
                results.push(AttemptResult { attempt: None, ..world.result(lease, 0, next) });
            }
            _ => {
                dead.push(id);
                results.push(world.result(lease, 404, Next::Dead(Cause::ClientError)));
            }
        }
    }
    // A result that comes too late kills nothing.
    world.owed(&endpoint).await;
    let late = world.lease_one(&endpoint).await;
    world.store.give_back(late.key().clone());
    results.push(world.result(late, 404, Next::Dead(Cause::ClientError)));
    world.store.finish(results).await;

    let told = told(world, &tenant).await;
    assert_eq!(told.len(), dead.len());
    for id in dead {
        assert!(told.contains(&death(world, &tenant, id).await));
    }
}

pub async fn deaths_by_other_means_are_told<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, DELIVERY_DEAD).await;
    let expunged = world.event(&tenant, &[&endpoint, &endpoint]);
    let (event, ids) = (expunged.id(), [expunged.0.deliveries[0].id, expunged.0.deliveries[1].id]);
    world.stored(expunged).await;
    let called_off = world.owed(&endpoint).await;
    world.store.cancel(&tenant, called_off, world.now()).await.unwrap();
    assert_eq!(told(world, &tenant).await, []);
    world.clock.advance(SECOND);
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    let found = told(world, &tenant).await;
    assert_eq!(found.len(), 2);
    for id in ids {
        assert!(found.contains(&death(world, &tenant, id).await));
    }

    // In bulk, by the disabling of an endpoint.
    let mut ids = Vec::new();
    for lane in [None, Some("a"), None, Some("a")] {
        ids.push(match lane {
            Some(lane) => world.owed_in(&endpoint, lane).await,
            None => world.owed(&endpoint).await,
        });
    }
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    let endpoint_id = endpoint.id;
    let disabled = Subject::EndpointDisabled { endpoint_id, reason: DisabledReason::Manual };
    assert_eq!(told(world, &tenant).await, [disabled]);
    world.clock.advance(SECOND);
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 4);
    let found = told(world, &tenant).await;
    assert_eq!(found.len(), 4);
    for id in ids {
        let expected = death(world, &tenant, id).await;
        assert!(matches!(expected, Subject::DeliveryDead { cause: Cause::EndpointDisabled, .. }));
        assert!(found.contains(&expected));
    }

    // What is cancelled is not dead.
    let deleted = world.endpoint(&tenant).await;
    world.owed(&deleted).await;
    done(world.store.delete_endpoint(&tenant, deleted.id, None, world.now()).await.unwrap());
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 1);
    assert_eq!(told(world, &tenant).await, []);
}

pub async fn the_death_of_what_was_told_is_not_told<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.*").await;
    let draft = world.event(&tenant, &[&endpoint]).of_type(DELIVERY_DEAD).in_lane("a");
    world.stored(draft).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
    let draft = world.event(&tenant, &[&endpoint]).of_type("harborhook.endpoint.disabled");
    let event = draft.id();
    world.stored(draft).await;
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    assert_eq!(told(world, &tenant).await, []);

    let draft = world.event(&tenant, &[&endpoint]).of_type("harborhook.endpoint.disabled");
    world.stored(draft).await;
    let own = world.owed(&endpoint).await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    assert_eq!(world.store.end_orphans(world.now(), 100).await.unwrap(), 2);
    let found = told(world, &tenant).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.contains(&death(world, &tenant, own).await));
}

pub async fn that_an_endpoint_was_disabled_is_told_once<S: Store>(world: &World<S>) {
    let (tenant, by_hand, _) = watched(world, "harborhook.*").await;
    let disabled =
        |endpoint: &Endpoint, reason| Subject::EndpointDisabled { endpoint_id: endpoint.id, reason };
    world.change(&by_hand, |now| now.paused = true).await;
    assert_eq!(told(world, &tenant).await, []);
    world.clock.advance(SECOND);
    world.change(&by_hand, |now| now.disabled = Some(DisabledReason::Manual)).await;
    assert_eq!(told(world, &tenant).await, [disabled(&by_hand, DisabledReason::Manual)]);
    world.change(&by_hand, |now| now.name = None).await;
    world.change(&by_hand, |now| now.disabled = None).await;
    assert_eq!(told(world, &tenant).await, []);

    let (gone, failing) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let ever = Health::Failing { disable_if_since: world.now() + SECOND };
    for (endpoint, health, reason) in
        [(&gone, Health::Gone, DisabledReason::Gone), (&failing, ever, DisabledReason::Failing)]
    {
        for _ in 0..2 {
            let draft = world.event(&tenant, &[endpoint]).leased_to(world.worker().await);
            let lease = world.stored(draft).await.remove(0);
            let health = Some(HealthNews { url_version: endpoint.url_version, health });
            let result = world.result(lease, 200, Next::Delivered);
            let finish = world.record(AttemptResult { health, ..result }).await;
            if finish == RECORDED {
                continue;
            }
            assert_eq!(finish, Finish::Recorded { disabled: Some(reason), lane_moved: false });
        }
        assert_eq!(told(world, &tenant).await, [disabled(endpoint, reason)]);
    }
}

pub async fn a_death_that_disables_is_told_with_it<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.*").await;
    let id = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    let health = Some(HealthNews { url_version: endpoint.url_version, health: Health::Gone });
    let result = world.result(lease, 410, Next::Dead(Cause::EndpointGone));
    world.record(AttemptResult { health, ..result }).await;
    let found = told(world, &tenant).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let reason = DisabledReason::Gone;
    assert!(found.contains(&Subject::EndpointDisabled { endpoint_id: endpoint.id, reason }));
    assert!(found.contains(&death(world, &tenant, id).await));
}

pub async fn that_a_circuit_opened_is_told_once<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.endpoint.circuit_opened").await;
    let opening = BreakerChange {
        decided_at: world.now(),
        probe_at: world.now() + SECOND * 30,
        cooldown: SECOND * 30,
        prober: None,
    };
    let key = key_of(&endpoint);
    let opened = world.store.open_breaker(&key, opening).await.unwrap().unwrap();
    let next_probe_at = world.now() + SECOND * 30;
    let subject = Subject::CircuitOpened { endpoint_id: endpoint.id, next_probe_at };
    assert_eq!(told(world, &tenant).await, std::slice::from_ref(&subject));
    // It is open already; and a probe that fails opens nothing.
    world.store.open_breaker(&key, opening).await.unwrap();
    let probing = BreakerChange { prober: Some(world.worker().await), ..opening };
    let probed = world.store.change_breaker(&key, opened.version, Some(probing)).await.unwrap().unwrap();
    let again = world.store.change_breaker(&key, probed.version, Some(opening)).await.unwrap().unwrap();
    world.store.change_breaker(&key, again.version, None).await.unwrap();
    assert_eq!(told(world, &tenant).await, []);
    world.store.open_breaker(&key, opening).await.unwrap();
    assert_eq!(told(world, &tenant).await, [subject]);
}

pub async fn it_is_told_as_long_as_somebody_subscribes<S: Store>(world: &World<S>) {
    let (tenant, endpoint, subscription) = watched(world, "harborhook.*").await;
    let is_told = async || {
        let id = world.dead(&endpoint).await;
        let told = told(world, &tenant).await;
        assert!(told.is_empty() || told == [death(world, &tenant, id).await]);
        !told.is_empty()
    };
    assert!(is_told().await);
    let narrowed = Subscription { pattern: "order.*".parse().unwrap(), ..subscription };
    let narrowed = done(world.store.update_subscription(narrowed).await.unwrap());
    assert!(!is_told().await);
    let widened = Subscription { pattern: DELIVERY_DEAD.parse().unwrap(), ..narrowed };
    let widened = done(world.store.update_subscription(widened).await.unwrap());
    assert!(is_told().await);
    let second = world.new_subscription(&endpoint, "harborhook.delivery.*");
    let second = done(world.store.create_subscription(second, 100).await.unwrap());
    done(world.store.delete_subscription(&tenant, widened.id, None).await.unwrap());
    assert!(is_told().await, "one is left");
    done(world.store.delete_subscription(&tenant, second.id, None).await.unwrap());
    assert!(!is_told().await);

    let watcher = world.endpoint(&tenant).await;
    let watching = world.new_subscription(&watcher, "harborhook.*");
    done(world.store.create_subscription(watching, 100).await.unwrap());
    assert!(is_told().await);
    done(world.store.delete_endpoint(&tenant, watcher.id, None, world.now()).await.unwrap());
    assert!(!is_told().await, "it went with its endpoint");
}

pub async fn notices_stay_until_they_are_forgotten<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.*").await;
    for _ in 0..5 {
        world.dead(&endpoint).await;
        world.clock.advance(SECOND);
    }
    let all = world.store.notices(100).await.unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|notice| notice.tenant_id == tenant));
    assert_eq!(world.store.notices(2).await.unwrap(), all[..2]);
    world.store.forget_notices(vec![all[0].id, all[3].id]).await.unwrap();
    world.store.forget_notices(vec![all[0].id]).await.unwrap();
    let again = world.restarted().await;
    let world = again.as_ref().unwrap_or(world);
    let left = [all[1].clone(), all[2].clone(), all[4].clone()];
    assert_eq!(world.store.notices(100).await.unwrap(), left);
    assert_eq!(taken(world).await, left);
    assert_eq!(world.store.notices(100).await.unwrap(), []);
}

pub async fn a_dead_head_that_is_told_moves_its_lane<S: Store>(world: &World<S>) {
    let (tenant, endpoint, _) = watched(world, "harborhook.*").await;
    let (head, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    let lease = world.lease_one(&endpoint).await;
    let finish = world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
    assert_eq!(finish, LANE_MOVED);
    assert_eq!(told(world, &tenant).await, [death(world, &tenant, head).await]);
    assert_eq!(world.due(&endpoint).await, [next]);
}
