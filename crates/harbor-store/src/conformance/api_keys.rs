//! API keys, by their hash alone.

use harbor_model::api_key::{ApiKey, Role};
use harbor_model::id::{ApiKeyId, TenantId};
use harbor_model::port::registry::Change;

use crate::conformance::world::{ALL, DAY, Store, World, done, walk};

fn new_key<S: Store>(world: &World<S>, tenant: Option<&TenantId>, role: Role) -> ApiKey {
    ApiKey {
        id: ApiKeyId::new(world.now(), &*world.rng),
        tenant_id: tenant.cloned(),
        role,
        name: "deploy".to_owned(),
        created_at: world.now(),
        expires_at: Some(world.now() + DAY),
    }
}

pub async fn a_key_is_found_by_its_hash_until_it_is_revoked<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let of_tenant = new_key(world, Some(&tenant), Role::Publisher);
    let of_instance = ApiKey { expires_at: None, ..new_key(world, None, Role::Operator) };
    assert_eq!(world.store.find_api_key(&[1; 32]).await.unwrap(), None);
    for (key, hash) in [(&of_tenant, [1; 32]), (&of_instance, [2; 32])] {
        let made = world.store.create_api_key(key.clone(), hash).await.unwrap();
        assert_eq!(made, Change::Done(key.clone()));
        assert_eq!(world.store.find_api_key(&hash).await.unwrap().as_ref(), Some(key));
    }
    let twice = world.store.create_api_key(new_key(world, None, Role::Viewer), [1; 32]).await.unwrap();
    assert_eq!(twice, Change::Exists);

    // An expired key is still found: whoever asks decides.
    world.clock.advance(DAY * 2);
    assert!(world.store.find_api_key(&[1; 32]).await.unwrap().is_some());

    assert!(!world.store.delete_api_key(None, of_tenant.id).await.unwrap(), "it is not the instance's");
    assert!(!world.store.delete_api_key(Some(&tenant), of_instance.id).await.unwrap());
    assert!(world.store.delete_api_key(Some(&tenant), of_tenant.id).await.unwrap());
    assert!(!world.store.delete_api_key(Some(&tenant), of_tenant.id).await.unwrap());
    assert_eq!(world.store.find_api_key(&[1; 32]).await.unwrap(), None);
    assert_eq!(world.store.find_api_key(&[2; 32]).await.unwrap(), Some(of_instance));
}

pub async fn keys_are_listed_by_their_owner<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let mut hash = 0;
    for owner in [None, Some(&acme), Some(&acme), Some(&zebra), None, None] {
        hash += 1;
        done(world.store.create_api_key(new_key(world, owner, Role::Viewer), [hash; 32]).await.unwrap());
    }
    let check = async |owner: Option<&TenantId>, expected: usize| {
        let (found, _) = walk(1, async |ask| world.store.api_keys(owner, ask).await.unwrap()).await;
        assert_eq!(found.len(), expected, "{owner:?}");
        assert!(found.iter().all(|key| key.tenant_id.as_ref() == owner), "{owner:?}");
        assert!(found.is_sorted_by(|newer, older| newer.id > older.id));
    };
    check(None, 3).await;
    check(Some(&acme), 2).await;
    check(Some(&zebra), 1).await;
    check(Some(&"nobody".parse().unwrap()), 0).await;

    let first = world.store.api_keys(Some(&acme), ALL).await.unwrap().items.remove(0);
    assert!(world.store.delete_api_key(Some(&acme), first.id).await.unwrap());
    check(Some(&acme), 1).await;
}

pub async fn a_key_of_an_unknown_tenant_is_refused<S: Store>(world: &World<S>) {
    let nobody = "nobody".parse().unwrap();
    let key = new_key(world, Some(&nobody), Role::Admin);
    assert_eq!(world.store.create_api_key(key, [1; 32]).await.unwrap(), Change::Missing);
    assert_eq!(world.store.find_api_key(&[1; 32]).await.unwrap(), None);
}

pub async fn a_new_store_knows_that_it_has_no_key<S: Store>(world: &World<S>) {
    assert!(world.store.has_no_api_key().await.unwrap());
    let key = done(world.store.create_api_key(new_key(world, None, Role::Operator), [1; 32]).await.unwrap());
    assert!(!world.store.has_no_api_key().await.unwrap());
    assert!(world.store.delete_api_key(None, key.id).await.unwrap());
    assert!(!world.store.has_no_api_key().await.unwrap(), "it had one, so it is not new");
}
