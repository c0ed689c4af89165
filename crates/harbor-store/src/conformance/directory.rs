//! The directory: what was answered is obeyed by every later publish and delivery.

use std::sync::Arc;

use harbor_model::decide::fan_out::fan_out;
use harbor_model::directory::TenantSnapshot;
use harbor_model::endpoint::{DisabledReason, Drain};
use harbor_model::id::TenantId;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::quota::QuotaLayer;
use harbor_model::policy::{Origin, PolicyLayer, Sourced};
use harbor_model::tenant::{Tenant, TenantPolicy};

use crate::conformance::world::{SECOND, Store, World, done};

async fn snapshot<S: Store>(world: &World<S>, tenant: &TenantId) -> Arc<TenantSnapshot> {
    world.store.tenant(tenant).await.unwrap().unwrap()
}

pub async fn an_unknown_tenant_has_no_directory<S: Store>(world: &World<S>) {
    let acme = "acme".parse().unwrap();
    assert!(world.store.tenant(&acme).await.unwrap().is_none());
    world.tenant("acme").await;
    assert!(world.store.tenant(&acme).await.unwrap().is_some(), "that it was unknown is not remembered");
}

pub async fn a_directory_shows_policies_in_force_and_routes<S: Store>(world: &World<S>) {
    let policy = TenantPolicy {
        delivery: PolicyLayer {
            timeout: Some(SECOND),
            max_in_flight: Some(3),
            ordering: Some(Ordering::Key),
            ..PolicyLayer::default()
        },
        quota: QuotaLayer { per_day: Some(1_000), ..QuotaLayer::default() },
        allow_http: true,
        allowed_subnets: vec!["10.1.0.0/16".parse().unwrap()].into(),
        ..TenantPolicy::default()
    };
    let tenant = Tenant { policy, ..world.new_tenant("acme") };
    done(world.store.create_tenant(tenant.clone()).await.unwrap());
    let endpoint = world.endpoint(&tenant.id).await;

    let found = snapshot(world, &tenant.id).await;
    assert_eq!(found.tenant, tenant);
    assert!(found.addresses.http);
    assert!(found.addresses.allows("10.1.2.3".parse().unwrap()));
    assert!(!found.addresses.allows("10.2.2.3".parse().unwrap()));
    let view = &found.endpoints[&endpoint.id];
    assert_eq!(view.endpoint, endpoint);
    assert_eq!(view.policy.timeout, Sourced { value: SECOND, origin: Origin::Tenant });
    assert_eq!(view.policy.max_in_flight, Sourced { value: 7, origin: Origin::Endpoint });
    assert_eq!(view.policy.ordering, Sourced { value: Ordering::Key, origin: Origin::Tenant });
    assert_eq!(view.policy.on_dead, Sourced { value: OnDead::Skip, origin: Origin::Default });
    assert_eq!(found.quota.per_day, Sourced { value: Some(1_000), origin: Origin::Tenant });
    assert_eq!(found.quota.rate, Sourced { value: None, origin: Origin::Default });
    assert_eq!(fan_out(&found, &"any.thing".parse().unwrap()).endpoints, [endpoint.id]);
}

pub async fn every_change_is_obeyed_at_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let mut version = snapshot(world, &tenant).await.version;
    let event_type = "order.made".parse().unwrap();
    // Each change raises the version, and a publish that knows the old one is refused.
    let mut check = async |expected: &[_], skipped: &[_], what: &str| {
        let found = snapshot(world, &tenant).await;
        assert!(found.version > version, "{what}");
        let stale = world.publish(world.event(&tenant, &[]).by_version(version)).await;
        assert!(format!("{stale:?}").starts_with("Stale"), "{what}: {stale:?}");
        version = found.version;
        world.stored(world.event(&tenant, &[]).by_version(version)).await;
        let chosen = fan_out(&found, &event_type);
        assert_eq!((chosen.endpoints.as_slice(), chosen.skipped.as_slice()), (expected, skipped), "{what}");
    };

    let endpoint = done(world.store.create_endpoint(world.new_endpoint(&tenant), vec![], 9).await.unwrap());
    check(&[], &[], "create an endpoint").await;
    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 9).await.unwrap());
    check(&[endpoint.id], &[], "create a subscription").await;
    world.change(&endpoint, |now| now.disabled = Some(DisabledReason::Manual)).await;
    check(&[], &[endpoint.id], "disable").await;
    world.change(&endpoint, |now| now.disabled = None).await;
    check(&[endpoint.id], &[], "enable").await;
    let drain = Drain { per_second: 5, since: world.now() };
    world.change(&endpoint, |now| now.drain = Some(drain)).await;
    check(&[endpoint.id], &[], "drain").await;
    assert_eq!(world.store.end_drains(world.now(), 10).await.unwrap(), 1);
    check(&[endpoint.id], &[], "end the drain").await;
    let mut narrowed = subscription.clone();
    narrowed.pattern = "order.paid".parse().unwrap();
    let narrowed = done(world.store.update_subscription(narrowed).await.unwrap());
    check(&[], &[], "change a subscription").await;
    done(world.store.delete_subscription(&tenant, narrowed.id, None).await.unwrap());
    check(&[], &[], "delete a subscription").await;
    let everything = world.new_subscription(&endpoint, "*");
    done(world.store.create_subscription(everything, 9).await.unwrap());
    check(&[endpoint.id], &[], "subscribe again").await;
    let named = world.store.find_tenant(&tenant).await.unwrap().unwrap();
    done(world.store.update_tenant(Tenant { name: "Acme".to_owned(), ..named }).await.unwrap());
    check(&[endpoint.id], &[], "change the tenant").await;
    done(world.store.delete_endpoint(&tenant, endpoint.id, None, world.now()).await.unwrap());
    check(&[], &[], "delete the endpoint").await;
}

pub async fn a_directory_does_not_change_by_itself<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let before = snapshot(world, &tenant).await;
    world.delivered(&endpoint).await;
    world.dead(&endpoint).await;
    // A change that is refused changes nothing.
    world.store.update_endpoint(world.new_endpoint(&tenant)).await.unwrap();
    let after = snapshot(world, &tenant).await;
    // A store may have read it anew meanwhile; it is the same all the same.
    assert_eq!(before.version, after.version);
    assert_eq!(before.endpoints.len(), after.endpoints.len());
}
