//! Tenants, endpoints and subscriptions as people set them up.

use std::time::Duration;

use harbor_model::endpoint::{DisabledReason, Drain, Endpoint, EndpointUrl};
use harbor_model::id::{EndpointId, SubscriptionId};
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::quota::QuotaLayer;
use harbor_model::policy::retention::RetentionLayer;
use harbor_model::policy::retry::{Backoff, RetryLayer};
use harbor_model::policy::{PolicyLayer, RateLimit};
use harbor_model::port::registry::{Change, SubscriptionFilter};
use harbor_model::subscription::Subscription;
use harbor_model::tenant::{Tenant, TenantPolicy};

use crate::conformance::world::{ALL, DAY, SECOND, Store, World, done, walk};

pub async fn a_tenant_can_be_read_listed_and_changed<S: Store>(world: &World<S>) {
    let policy = TenantPolicy {
        delivery: PolicyLayer {
            timeout: Some(SECOND),
            retry: RetryLayer {
                backoff: Some(Backoff::Schedule(vec![SECOND, Duration::from_millis(250)])),
                jitter: Some(0.3),
                ..RetryLayer::default()
            },
            ..PolicyLayer::default()
        },
        quota: QuotaLayer { rate: Some(RateLimit { per_second: 5, burst: 9 }), per_day: Some(1_000) },
        retention: RetentionLayer { history: Some(DAY), dead_letters: Some(DAY * 2) },
        allow_http: true,
        allowed_subnets: vec!["10.1.0.0/16".parse().unwrap()].into(),
    };
    let tenant = Tenant { policy, ..world.new_tenant("zebra") };
    assert_eq!(world.store.create_tenant(tenant.clone()).await.unwrap(), Change::Done(tenant.clone()));
    assert_eq!(world.store.find_tenant(&tenant.id).await.unwrap(), Some(tenant.clone()));

    world.clock.advance(SECOND);
    let renamed = Tenant { name: "Zebra & Co".to_owned(), updated_at: world.now(), ..tenant.clone() };
    let renamed = done(world.store.update_tenant(renamed).await.unwrap());
    assert_eq!((renamed.name.as_str(), renamed.version), ("Zebra & Co", 2));
    assert_eq!(world.store.find_tenant(&tenant.id).await.unwrap(), Some(renamed));

    world.tenant("middle").await;
    world.tenant("acme").await;
    let (found, _) = walk(1, async |ask| world.store.tenants(ask).await.unwrap()).await;
    let names: Vec<_> = found.iter().map(|tenant| tenant.id.as_str()).collect();
    assert_eq!(names, ["acme", "middle", "zebra"], "newest first, whatever their ids");
    assert_eq!(world.store.find_tenant(&"nobody".parse().unwrap()).await.unwrap(), None);
}

pub async fn a_tenants_id_is_taken_once<S: Store>(world: &World<S>) {
    world.tenant("acme").await;
    let again = Tenant { name: "another".to_owned(), ..world.new_tenant("acme") };
    assert_eq!(world.store.create_tenant(again).await.unwrap(), Change::Exists);
    let found = world.store.find_tenant(&"acme".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.name, "The acme company");
}

pub async fn a_change_of_an_old_version_conflicts<S: Store>(world: &World<S>) {
    let id = world.tenant("acme").await;
    let tenant = world.store.find_tenant(&id).await.unwrap().unwrap();
    done(world.store.update_tenant(tenant.clone()).await.unwrap());
    assert_eq!(world.store.update_tenant(tenant).await.unwrap(), Change::Conflict);
    assert_eq!(world.store.update_tenant(world.new_tenant("nobody")).await.unwrap(), Change::Missing);

    let endpoint = world.endpoint(&id).await;
    done(world.store.update_endpoint(endpoint.clone()).await.unwrap());
    assert_eq!(world.store.update_endpoint(endpoint.clone()).await.unwrap(), Change::Conflict);
    let deleted = world.store.delete_endpoint(&id, endpoint.id, Some(1), world.now()).await.unwrap();
    assert_eq!(deleted, Change::Conflict);
    assert!(world.store.find_endpoint(&id, endpoint.id).await.unwrap().is_some());
    assert_eq!(world.store.update_endpoint(world.new_endpoint(&id)).await.unwrap(), Change::Missing);

    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 100).await.unwrap());
    done(world.store.update_subscription(subscription.clone()).await.unwrap());
    assert_eq!(world.store.update_subscription(subscription.clone()).await.unwrap(), Change::Conflict);
    let deleted = world.store.delete_subscription(&id, subscription.id, Some(1)).await.unwrap();
    assert_eq!(deleted, Change::Conflict);
    assert!(world.store.find_subscription(&id, subscription.id).await.unwrap().is_some());
}

pub async fn an_endpoint_survives_with_its_secrets<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = Endpoint {
        description: Some("for the books".to_owned()),
        paused: true,
        drain: Some(Drain { per_second: 7, since: world.now() - SECOND }),
        disabled: Some(DisabledReason::Gone),
        policy: PolicyLayer {
            ordering: Some(Ordering::Endpoint),
            on_dead: Some(OnDead::Hold),
            ..PolicyLayer::default()
        },
        ..world.new_endpoint(&tenant)
    };
    let made = world.store.create_endpoint(endpoint.clone(), vec![], 100).await.unwrap();
    assert_eq!(made, Change::Done(endpoint.clone()));
    assert_eq!(world.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), Some(endpoint.clone()));

    let mut changed = endpoint.clone();
    changed.name = None;
    changed.headers.clear();
    changed.secrets.truncate(1);
    changed.metadata.clear();
    changed.policy = PolicyLayer::default();
    changed.drain = None;
    changed.disabled = None;
    let expected = Endpoint { version: 2, enabled_at: Some(changed.updated_at), ..changed.clone() };
    assert_eq!(world.store.update_endpoint(changed).await.unwrap(), Change::Done(expected.clone()));
    assert_eq!(world.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), Some(expected));
}

pub async fn there_are_no_more_endpoints_than_may_be<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let create = async || world.store.create_endpoint(world.new_endpoint(&tenant), vec![], 2).await.unwrap();
    let first = done(create().await);
    done(create().await);
    assert_eq!(create().await, Change::TooMany);
    done(world.store.delete_endpoint(&tenant, first.id, None, world.now()).await.unwrap());
    done(create().await);
    assert_eq!(create().await, Change::TooMany);
    let nobody = world.new_endpoint(&"nobody".parse().unwrap());
    assert_eq!(world.store.create_endpoint(nobody, vec![], 2).await.unwrap(), Change::Missing);
}

pub async fn an_endpoint_is_made_with_its_subscriptions_or_not_at_all<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.new_endpoint(&tenant);
    let twice = vec![
        world.new_subscription(&endpoint, "order.*"),
        world.new_subscription(&endpoint, "invoice.paid"),
        world.new_subscription(&endpoint, "order.*"),
    ];
    let refused = world.store.create_endpoint(endpoint.clone(), twice.clone(), 100).await.unwrap();
    assert_eq!(refused, Change::Exists);
    assert_eq!(world.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), None);
    assert_eq!(patterns(world, SubscriptionFilter::default()).await, [""; 0]);

    done(world.store.create_endpoint(endpoint, twice[..2].to_vec(), 100).await.unwrap());
    assert_eq!(patterns(world, SubscriptionFilter::default()).await, ["invoice.paid", "order.*"]);
}

/// The patterns of the tenant's subscriptions, in the order of the alphabet.
async fn patterns<S: Store>(world: &World<S>, filter: SubscriptionFilter) -> Vec<String> {
    let tenant = "acme".parse().unwrap();
    let found = world.store.subscriptions(&tenant, filter, ALL).await.unwrap().items;
    let mut patterns: Vec<_> = found.iter().map(|one| one.pattern.to_string()).collect();
    patterns.sort_unstable();
    patterns
}

pub async fn only_a_new_url_raises_the_urls_version<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let renamed = world.change(&endpoint, |now| now.name = None).await;
    assert_eq!((renamed.version, renamed.url_version), (2, 1));
    let url = EndpointUrl::from_stored("https://example.com/new").unwrap();
    let moved = world.change(&endpoint, |now| now.url = url).await;
    assert_eq!((moved.version, moved.url_version), (3, 3));
    let paused = world.change(&endpoint, |now| now.paused = true).await;
    assert_eq!((paused.version, paused.url_version), (4, 3));
}

pub async fn a_deleted_endpoint_is_gone_with_its_subscriptions<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let subscription = world.new_subscription(&other, "order.*");
    done(world.store.create_subscription(subscription, 100).await.unwrap());
    done(world.store.delete_endpoint(&tenant, endpoint.id, Some(1), world.now()).await.unwrap());

    assert_eq!(world.store.find_endpoint(&tenant, endpoint.id).await.unwrap(), None);
    let listed = world.store.endpoints(&tenant, ALL).await.unwrap().items;
    assert_eq!(listed, [other]);
    assert_eq!(patterns(world, SubscriptionFilter::default()).await, ["*", "order.*"]);
    let again = world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap();
    assert_eq!(again, Change::Missing);
    assert_eq!(world.store.update_endpoint(endpoint.clone()).await.unwrap(), Change::Missing);
    let late = world.new_subscription(&endpoint, "late");
    assert_eq!(world.store.create_subscription(late, 100).await.unwrap(), Change::Missing);
    let unknown = EndpointId::from_number(1);
    assert_eq!(
        world.store.delete_endpoint(&tenant, unknown, None, world.now()).await.unwrap(),
        Change::Missing
    );
}

pub async fn a_subscription_stands_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let create = async |endpoint, pattern: &str| {
        world.store.create_subscription(world.new_subscription(endpoint, pattern), 100).await.unwrap()
    };
    let first = done(create(&one, "order.*").await);
    assert_eq!(create(&one, "order.*").await, Change::Exists);
    done(create(&other, "order.*").await);
    done(create(&one, "order.made").await);

    let moved = Subscription { endpoint_id: other.id, ..first.clone() };
    assert_eq!(world.store.update_subscription(moved).await.unwrap(), Change::Exists);
    let nowhere = Subscription { endpoint_id: EndpointId::from_number(1), ..first.clone() };
    assert_eq!(world.store.update_subscription(nowhere).await.unwrap(), Change::Missing);
    assert_eq!(world.store.find_subscription(&tenant, first.id).await.unwrap(), Some(first));
}

pub async fn there_are_no_more_subscriptions_than_may_be<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let create = async |endpoint, pattern: &str| {
        world.store.create_subscription(world.new_subscription(endpoint, pattern), 2).await.unwrap()
    };
    done(create(&one, "a").await);
    assert_eq!(create(&one, "b").await, Change::TooMany);
    done(create(&other, "b").await);
}

pub async fn subscriptions_can_be_read_listed_changed_and_deleted<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let subscription = world.new_subscription(&one, "order.*");
    let id = subscription.id;
    done(world.store.create_subscription(subscription.clone(), 100).await.unwrap());
    assert_eq!(world.store.find_subscription(&tenant, id).await.unwrap(), Some(subscription.clone()));

    let of_one = SubscriptionFilter { endpoint_id: Some(one.id), pattern: None };
    assert_eq!(patterns(world, of_one.clone()).await, ["*", "order.*"]);
    let with_star = SubscriptionFilter { endpoint_id: None, pattern: Some("*".parse().unwrap()) };
    assert_eq!(patterns(world, with_star).await, ["*", "*"]);
    let list =
        async |ask| world.store.subscriptions(&tenant, SubscriptionFilter::default(), ask).await.unwrap();
    assert_eq!(walk(1, list).await.0.len(), 3);

    world.clock.advance(SECOND);
    let moved = Subscription {
        endpoint_id: other.id,
        pattern: "order.made".parse().unwrap(),
        updated_at: world.now(),
        ..subscription
    };
    let expected = Subscription { version: 2, ..moved.clone() };
    assert_eq!(world.store.update_subscription(moved).await.unwrap(), Change::Done(expected.clone()));
    assert_eq!(world.store.find_subscription(&tenant, id).await.unwrap(), Some(expected));
    assert_eq!(patterns(world, of_one).await, ["*"]);

    assert_eq!(world.store.delete_subscription(&tenant, id, Some(2)).await.unwrap(), Change::Done(()));
    assert_eq!(world.store.delete_subscription(&tenant, id, None).await.unwrap(), Change::Missing);
    assert_eq!(world.store.find_subscription(&tenant, id).await.unwrap(), None);
    let unknown = SubscriptionId::from_number(1);
    assert_eq!(world.store.find_subscription(&tenant, unknown).await.unwrap(), None);
}
