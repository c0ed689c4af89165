use std::cell::Cell;

use harbor_model::tenant::TenantPolicy;
use harbor_model::time::Timestamp;

use super::*;

fn snapshot(id: &TenantId, version: u64) -> TenantSnapshot {
    let now = Timestamp::from_unix_ms(0);
    let tenant = Tenant {
        id: id.clone(),
        name: String::new(),
        policy: TenantPolicy::default(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let (endpoints, subscriptions, sources) = (vec![], vec![], vec![]);
    TenantRows { tenant, directory_version: version, endpoints, subscriptions, sources }
        .into_snapshot(&InstanceLayer::default())
}

/// Asks for a tenant of a store that is at `version`; answers the version seen, and whether the store was read.
async fn ask(cache: &DirectoryCache, name: &str, version: Option<u64>) -> (Option<u64>, bool) {
    let id: TenantId = name.parse().unwrap();
    let was_read = Cell::new(false);
    let load = async || {
        was_read.set(true);
        Ok(version.map(|version| snapshot(&id, version)))
    };
    let seen = cache.tenant(&id, load).await.unwrap();
    (seen.map(|found| found.version), was_read.get())
}

#[tokio::test]
async fn a_snapshot_is_read_again_only_when_a_newer_version_was_observed() {
    let cache = DirectoryCache::new(10);
    assert_eq!(ask(&cache, "a", Some(1)).await, (Some(1), true));
    assert_eq!(ask(&cache, "a", Some(2)).await, (Some(1), false));
    cache.observe(&"a".parse().unwrap(), 1);
    assert_eq!(ask(&cache, "a", Some(2)).await, (Some(1), false));
    cache.observe(&"a".parse().unwrap(), 2);
    assert_eq!(ask(&cache, "a", Some(2)).await, (Some(2), true));
    assert_eq!(ask(&cache, "a", Some(3)).await, (Some(2), false));
}

#[tokio::test]
async fn an_unknown_tenant_is_asked_for_again() {
    let cache = DirectoryCache::new(10);
    assert_eq!(ask(&cache, "a", None).await, (None, true));
    assert_eq!(ask(&cache, "a", Some(1)).await, (Some(1), true));
}

#[tokio::test]
async fn a_version_that_never_was_does_not_make_every_call_read() {
    let cache = DirectoryCache::new(10);
    ask(&cache, "a", Some(1)).await;
    cache.observe(&"a".parse().unwrap(), 9);
    assert_eq!(ask(&cache, "a", Some(1)).await, (Some(1), true));
    assert_eq!(ask(&cache, "a", Some(1)).await, (Some(1), false));
}

#[tokio::test]
async fn what_is_forgotten_is_read_again_once() {
    let cache = DirectoryCache::new(10);
    ask(&cache, "a", Some(1)).await;
    cache.forget_all();
    assert_eq!(ask(&cache, "a", Some(2)).await, (Some(2), true));
    assert_eq!(ask(&cache, "a", Some(3)).await, (Some(2), false));

    // Forgotten while it is read: it may be too old already.
    let id: TenantId = "b".parse().unwrap();
    let load = async || {
        cache.forget_all();
        Ok(Some(snapshot(&id, 1)))
    };
    cache.tenant(&id, load).await.unwrap();
    assert_eq!(ask(&cache, "b", Some(2)).await, (Some(2), true));
}

#[tokio::test]
async fn memory_holds_as_many_tenants_as_it_may_and_keeps_those_in_use() {
    let cache = DirectoryCache::new(8);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        ask(&cache, name, Some(1)).await;
    }
    ask(&cache, "a", Some(1)).await;
    ask(&cache, "i", Some(1)).await;
    assert_eq!(cache.slots.read().unwrap().len(), 8);
    assert_eq!(ask(&cache, "a", Some(1)).await, (Some(1), false));
    assert_eq!(ask(&cache, "b", Some(1)).await, (Some(1), true));
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_read() {
    let cache = DirectoryCache::new(8);
    let id: TenantId = "a".parse().unwrap();
    let reads = Cell::new(0);
    let slow = || async {
        reads.set(reads.get() + 1);
        tokio::task::yield_now().await;
        Ok(Some(snapshot(&id, 1)))
    };
    let (one, two) = tokio::join!(cache.tenant(&id, slow), cache.tenant(&id, slow));
    assert!(Arc::ptr_eq(&one.unwrap().unwrap(), &two.unwrap().unwrap()));
    assert_eq!(reads.get(), 1);
}
