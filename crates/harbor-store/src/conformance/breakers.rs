//! Circuit breakers: changed by who saw how they stand.

use std::sync::Arc;
use std::time::Duration;

use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::id::EndpointId;
use harbor_model::port::breakers::{BreakerChange, OpenBreaker};
use harbor_model::port::deliveries::EndpointKey;

use crate::conformance::world::{SECOND, Store, World, done, key_of};

const COOLDOWN: Duration = Duration::from_secs(30);

/// An opening that is decided now.
fn opening<S: Store>(world: &World<S>) -> BreakerChange {
    BreakerChange {
        decided_at: world.now(),
        probe_at: world.now() + COOLDOWN,
        cooldown: COOLDOWN,
        prober: None,
    }
}

/// Opens the breaker of an endpoint that is there.
async fn open<S: Store>(world: &World<S>, endpoint: &Endpoint) -> OpenBreaker {
    let opened = world.store.open_breaker(&key_of(endpoint), opening(world)).await.unwrap();
    opened.expect("the endpoint exists")
}

async fn find<S: Store>(world: &World<S>, key: &EndpointKey) -> Option<OpenBreaker> {
    world.store.find_breaker(&key.tenant_id, key.endpoint_id).await.unwrap()
}

pub async fn the_first_to_open_a_breaker_wins<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let key = key_of(&endpoint);
    assert_eq!(find(world, &key).await, None);
    let (opened_at, change) = (world.now(), opening(world));
    let first = open(world, &endpoint).await;
    assert_eq!(first, OpenBreaker { key: key.clone(), version: first.version, opened_at, change });

    world.clock.advance(SECOND);
    assert_eq!(open(world, &endpoint).await, first);
    assert_eq!(find(world, &key).await, Some(first.clone()));
    assert_eq!(world.store.open_breakers().await.unwrap(), [first]);
}

pub async fn those_who_open_a_breaker_at_once_agree<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut opening_at_once = tokio::task::JoinSet::new();
    for seconds in 0..8 {
        let (store, key) = (Arc::clone(&world.store), key_of(&endpoint));
        let opening = opening(world);
        let opening = BreakerChange { probe_at: opening.probe_at + SECOND * seconds, ..opening };
        opening_at_once.spawn(async move { store.open_breaker(&key, opening).await.unwrap().unwrap() });
    }
    let opened = opening_at_once.join_all().await;
    assert!(opened.iter().all(|one| *one == opened[0]), "{opened:?}");
}

pub async fn only_an_endpoint_that_is_there_has_a_breaker<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    let unknown = EndpointKey { endpoint_id: EndpointId::from_number(1), ..key_of(&endpoint) };
    let of_nobody = EndpointKey { tenant_id: "nobody".parse().unwrap(), ..key_of(&endpoint) };
    for key in [key_of(&endpoint), unknown, of_nobody] {
        assert_eq!(world.store.open_breaker(&key, opening(world)).await.unwrap(), None, "{key:?}");
        assert_eq!(find(world, &key).await, None, "{key:?}");
    }
    assert_eq!(world.store.open_breakers().await.unwrap(), []);
}

pub async fn a_breaker_is_changed_by_who_saw_how_it_stands<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let key = key_of(&endpoint);
    let change = async |version: u64, change: Option<BreakerChange>| {
        world.store.change_breaker(&key, version, change).await.unwrap()
    };
    let opened = open(world, &endpoint).await;
    world.clock.advance(COOLDOWN);
    let half_open = BreakerChange { prober: Some(world.worker().await), ..opening(world) };
    let probed = change(opened.version, Some(half_open)).await.unwrap();
    assert!(probed.version > opened.version);
    assert_eq!((probed.opened_at, probed.change), (opened.opened_at, half_open));
    assert_eq!(find(world, &key).await, Some(probed.clone()));

    // Who saw less learns how it stands, and changes nothing.
    let rival = BreakerChange { prober: Some(world.worker().await), ..half_open };
    assert_eq!(change(opened.version, Some(rival)).await, Some(probed.clone()));
    assert_eq!(change(opened.version, None).await, Some(probed.clone()));
    assert_eq!(change(probed.version + 1, Some(rival)).await, Some(probed.clone()));

    let longer = BreakerChange { cooldown: COOLDOWN * 2, ..opening(world) };
    let failed = change(probed.version, Some(longer)).await.unwrap();
    assert!(failed.version > probed.version);
    assert_eq!((failed.opened_at, failed.change), (opened.opened_at, longer));

    assert_eq!(change(failed.version, None).await, None);
    assert_eq!(find(world, &key).await, None);
    assert_eq!(change(failed.version, Some(longer)).await, None, "what is closed is opened, not changed");
    assert_eq!(world.store.open_breakers().await.unwrap(), []);
}

pub async fn a_breaker_that_opens_anew_is_another_one<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let key = key_of(&endpoint);
    let first = open(world, &endpoint).await;
    assert_eq!(world.store.change_breaker(&key, first.version, None).await.unwrap(), None);
    world.clock.advance(SECOND);
    let second = open(world, &endpoint).await;
    assert!(second.version > first.version);
    assert_eq!(second.opened_at, first.opened_at + SECOND);
    let stale = world.store.change_breaker(&key, first.version, None).await.unwrap();
    assert_eq!(stale, Some(second));
}

pub async fn all_open_breakers_are_listed<S: Store>(world: &World<S>) {
    let mut expected = Vec::new();
    for name in ["acme", "zebra"] {
        let tenant = world.tenant(name).await;
        for _ in 0..3 {
            let endpoint = world.endpoint(&tenant).await;
            expected.push(open(world, &endpoint).await);
            world.endpoint(&tenant).await;
        }
    }
    let mut listed = world.store.open_breakers().await.unwrap();
    listed.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    expected.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(listed, expected);
}

pub async fn a_breaker_goes_with_the_url_that_it_was_opened_for<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let key = key_of(&endpoint);
    let opened = open(world, &endpoint).await;
    world.change(&endpoint, |now| now.name = Some("bakery".to_owned())).await;
    assert_eq!(find(world, &key).await, Some(opened.clone()), "it is still the same URL");

    world
        .change(&endpoint, |now| now.url = EndpointUrl::from_stored("https://example.com/new").unwrap())
        .await;
    assert_eq!(find(world, &key).await, None);
    let late = world.store.change_breaker(&key, opened.version, Some(opening(world))).await.unwrap();
    assert_eq!(late, None);

    let again = open(world, &endpoint).await;
    assert!(again.version > opened.version);
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    assert_eq!(find(world, &key).await, None);
    assert_eq!(world.store.open_breakers().await.unwrap(), []);
}

pub async fn a_breaker_is_its_tenants_own<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let endpoint = world.endpoint(&acme).await;
    world.endpoint(&zebra).await;
    let opened = open(world, &endpoint).await;
    let foreign = EndpointKey { tenant_id: zebra, ..key_of(&endpoint) };
    assert_eq!(find(world, &foreign).await, None);
    assert_eq!(world.store.open_breaker(&foreign, opening(world)).await.unwrap(), None);
    assert_eq!(world.store.change_breaker(&foreign, opened.version, None).await.unwrap(), None);
    assert_eq!(find(world, &key_of(&endpoint)).await, Some(opened));
}
