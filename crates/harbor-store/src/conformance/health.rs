//! Endpoints that are gone or fail for days.

use std::time::Duration;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::{DisabledReason, Endpoint, EndpointUrl};
use harbor_model::port::deliveries::{AttemptResult, Finish, Health, HealthNews};

use crate::conformance::world::{ALL, DAY, LANE_MOVED, RECORDED, SECOND, Store, World, done};

/// After so long an endpoint that does nothing but fail is disabled.
const FAILING_MAX: Duration = DAY.saturating_mul(5);

/// What an attempt at the endpoint, as it is now, says of it.
async fn news<S: Store>(world: &World<S>, endpoint: &Endpoint, health: Health) -> Finish {
    let now = world.store.find_endpoint(&endpoint.tenant_id, endpoint.id).await.unwrap().unwrap();
    news_of(world, &now, health).await
}

/// What an attempt at the endpoint, as it was, says of it.
async fn news_of<S: Store>(world: &World<S>, endpoint: &Endpoint, health: Health) -> Finish {
    let draft = world.event(&endpoint.tenant_id, &[endpoint]).leased_to(world.worker().await);
    let lease = world.stored(draft).await.remove(0);
    let (status, next) = match health {
        Health::Gone => (410, Next::Dead(Cause::EndpointGone)),
        Health::Failing { .. } => (500, Next::Dead(Cause::AttemptsExhausted)),
        Health::Working => (200, Next::Delivered),
    };
    let health = Some(HealthNews { url_version: endpoint.url_version, health });
    world.record(AttemptResult { health, ..world.result(lease, status, next) }).await
}

async fn failing<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Finish {
    news(world, endpoint, Health::Failing { disable_if_since: world.now() - FAILING_MAX }).await
}

async fn disabled<S: Store>(world: &World<S>, endpoint: &Endpoint) -> Option<DisabledReason> {
    let found = world.store.find_endpoint(&endpoint.tenant_id, endpoint.id).await.unwrap();
    found.unwrap().disabled
}

const fn disabled_by(reason: DisabledReason) -> Finish {
    Finish::Recorded { disabled: Some(reason), lane_moved: false }
}

pub async fn an_endpoint_that_said_it_is_gone_is_disabled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let before = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    assert_eq!(news(world, &endpoint, Health::Gone).await, disabled_by(DisabledReason::Gone));

    let found = world.store.find_endpoint(&tenant, endpoint.id).await.unwrap().unwrap();
    assert_eq!((found.disabled, found.version), (Some(DisabledReason::Gone), endpoint.version + 1));
    let snapshot = world.store.tenant(&tenant).await.unwrap().unwrap();
    assert!(snapshot.version > before);
    assert_eq!(snapshot.endpoints[&endpoint.id].endpoint.disabled, Some(DisabledReason::Gone));
}

pub async fn only_the_url_that_is_still_the_endpoints_can_disable_it<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let moved = world
        .change(&endpoint, |now| now.url = EndpointUrl::from_stored("https://example.com/new").unwrap())
        .await;
    assert_eq!(news_of(world, &endpoint, Health::Gone).await, RECORDED);
    let ever = Health::Failing { disable_if_since: world.now() };
    for _ in 0..2 {
        assert_eq!(news_of(world, &endpoint, ever).await, RECORDED);
        world.clock.advance(DAY);
    }
    assert_eq!(world.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), Some(moved));
}

pub async fn an_endpoint_that_fails_for_days_is_disabled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let before = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    assert_eq!(failing(world, &endpoint).await, RECORDED);
    world.clock.advance(DAY * 4);
    assert_eq!(failing(world, &endpoint).await, RECORDED);
    assert_eq!(failing(world, &other).await, RECORDED);
    world.clock.advance(DAY - SECOND);
    assert_eq!(failing(world, &endpoint).await, RECORDED);
    assert_eq!(disabled(world, &endpoint).await, None);
    assert_eq!(world.store.tenant(&tenant).await.unwrap().unwrap().version, before);

    world.clock.advance(SECOND);
    assert_eq!(failing(world, &endpoint).await, disabled_by(DisabledReason::Failing));
    let found = world.store.find_endpoint(&tenant, endpoint.id).await.unwrap().unwrap();
    assert_eq!((found.disabled, found.version), (Some(DisabledReason::Failing), endpoint.version + 1));
    let snapshot = world.store.tenant(&tenant).await.unwrap().unwrap();
    assert!(snapshot.version > before);
    assert_eq!(snapshot.endpoints[&endpoint.id].endpoint.disabled, Some(DisabledReason::Failing));
    assert_eq!(failing(world, &other).await, RECORDED, "it fails for a day");
}

pub async fn one_success_makes_up_for_days_of_failures<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    assert_eq!(news(world, &endpoint, Health::Working).await, RECORDED, "though it never failed");
    for _ in 0..3 {
        assert_eq!(failing(world, &endpoint).await, RECORDED);
        world.clock.advance(DAY * 4);
        assert_eq!(news(world, &endpoint, Health::Working).await, RECORDED);
        world.clock.advance(DAY * 4);
    }
    assert_eq!(failing(world, &endpoint).await, RECORDED);
    world.clock.advance(FAILING_MAX);
    assert_eq!(failing(world, &endpoint).await, disabled_by(DisabledReason::Failing));
}

pub async fn a_new_url_begins_without_failures<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    failing(world, &endpoint).await;
    world.clock.advance(FAILING_MAX);
    world.change(&endpoint, |now| now.name = Some("bakery".to_owned())).await;
    world
        .change(&endpoint, |now| now.url = EndpointUrl::from_stored("https://example.com/new").unwrap())
        .await;
    assert_eq!(failing(world, &endpoint).await, RECORDED);
    // What an old request says counts neither for nor against the new one.
    world.clock.advance(DAY * 4);
    assert_eq!(news_of(world, &endpoint, Health::Working).await, RECORDED);
    let old = Health::Failing { disable_if_since: world.now() - FAILING_MAX };
    assert_eq!(news_of(world, &endpoint, old).await, RECORDED);
    world.clock.advance(DAY);
    assert_eq!(failing(world, &endpoint).await, disabled_by(DisabledReason::Failing));
}

pub async fn an_endpoint_that_is_enabled_begins_without_failures<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for by_hand in [false, true] {
        assert_eq!(failing(world, &endpoint).await, RECORDED);
        world.clock.advance(FAILING_MAX);
        if by_hand {
            world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
        } else {
            assert_eq!(failing(world, &endpoint).await, disabled_by(DisabledReason::Failing));
        }
        world.clock.advance(SECOND);
        let now = world.now();
        world
            .change(&endpoint, |endpoint| {
                endpoint.disabled = None;
                endpoint.updated_at = now;
            })
            .await;
        assert_eq!(failing(world, &endpoint).await, RECORDED);
        assert_eq!(disabled(world, &endpoint).await, None);
        assert_eq!(news(world, &endpoint, Health::Working).await, RECORDED);
        world.clock.advance(SECOND);
    }
}

pub async fn an_endpoint_is_disabled_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let deleted = world.endpoint(&tenant).await;
    failing(world, &endpoint).await;
    let mut results = Vec::new();
    for to in [&endpoint, &endpoint, &deleted] {
        let draft = world.event(&tenant, &[to]).leased_to(world.worker().await);
        let lease = world.stored(draft).await.remove(0);
        let health = Some(HealthNews { url_version: to.url_version, health: Health::Gone });
        let result = world.result(lease, 410, Next::Dead(Cause::EndpointGone));
        results.push(AttemptResult { health, ..result });
    }
    done(world.store.delete_endpoint(&tenant, deleted.id, None, world.now()).await.unwrap());
    let finishes = world.store.finish(results).await;
    let finishes: Vec<_> = finishes.into_iter().map(Result::unwrap).collect();
    assert_eq!(finishes.iter().filter(|finish| **finish == RECORDED).count(), 2, "{finishes:?}");
    assert!(finishes.contains(&disabled_by(DisabledReason::Gone)), "{finishes:?}");
    let found = world.store.find_endpoint(&tenant, endpoint.id).await.unwrap().unwrap();
    assert_eq!((found.disabled, found.version), (Some(DisabledReason::Gone), endpoint.version + 1));
}

pub async fn what_is_said_of_an_endpoint_moves_its_lane_too<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (head, next) = (world.owed_in(&endpoint, "a").await, world.owed_in(&endpoint, "a").await);
    let lease = world.lease_one(&endpoint).await;
    let health = Some(HealthNews { url_version: endpoint.url_version, health: Health::Working });
    let result = AttemptResult { health, ..world.result(lease, 200, Next::Delivered) };
    assert_eq!(world.record(result).await, LANE_MOVED);
    assert_eq!(world.shown(&tenant, head).await, "delivered [200]");
    let lease = world.lease_one(&endpoint).await;
    let health = Some(HealthNews { url_version: endpoint.url_version, health: Health::Gone });
    let result = world.result(lease, 410, Next::Dead(Cause::EndpointGone));
    assert_eq!(world.record(AttemptResult { health, ..result }).await, disabled_by(DisabledReason::Gone));
    assert_eq!(world.shown(&tenant, next).await, "dead [410]");
    assert_eq!(world.store.lanes(&tenant, endpoint.id, ALL).await.unwrap().items, []);
}
