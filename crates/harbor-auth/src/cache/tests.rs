use harbor_model::api_key::Role;
use harbor_model::time::Timestamp;

use super::*;

const T0: Duration = Duration::from_secs(100);

fn key(number: u128) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_number(number),
        tenant_id: None,
        role: Role::Viewer,
        name: String::new(),
        created_at: Timestamp::from_unix_ms(0),
        expires_at: None,
    }
}

fn hash(number: u32) -> ApiKeyHash {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    hash
}

fn generation(cache: &KeyCache) -> Generation {
    Generation(cache.generation)
}

#[test]
fn what_was_read_is_believed_for_a_second() {
    let mut cache = KeyCache::default();
    let now = generation(&cache);
    cache.remember(hash(1), Some(key(1)), T0, now);
    cache.remember(hash(2), None, T0, now);

    let late = T0 + Duration::from_millis(999);
    assert_eq!(cache.find(&hash(1), late), Remembered::Known(Some(&key(1))));
    assert_eq!(cache.find(&hash(2), late), Remembered::Known(None));
    for n in 1..=3 {
        assert_eq!(cache.find(&hash(n), T0 + BELIEVED), Remembered::Nothing(now));
    }
}

#[test]
fn a_revoked_key_is_not_remembered_by_a_read_that_began_before() {
    let mut cache = KeyCache::default();
    let before = generation(&cache);
    cache.remember(hash(1), Some(key(1)), T0, before);
    cache.forget(ApiKeyId::from_number(1));
    cache.remember(hash(1), Some(key(1)), T0, before);

    assert!(matches!(cache.find(&hash(1), T0), Remembered::Nothing(_)));
}

#[test]
fn the_keys_of_a_tenant_are_forgotten_together() {
    let mut cache = KeyCache::default();
    let of = |number: u128, tenant: &str| ApiKey { tenant_id: Some(tenant.parse().unwrap()), ..key(number) };
    let before = generation(&cache);
    for (n, key) in [(1, of(1, "acme")), (2, of(2, "acme")), (3, of(3, "other")), (4, key(4))] {
        cache.remember(hash(n), Some(key), T0, before);
    }
    cache.forget_tenant(&"acme".parse().unwrap());
    cache.remember(hash(1), Some(of(1, "acme")), T0, before);

    let is_known = |n| matches!(cache.find(&hash(n), T0), Remembered::Known(_));
    assert_eq!([1, 2, 3, 4].map(is_known), [false, false, true, true]);
}

#[test]
fn guesses_and_keys_do_not_fill_the_memory() {
    let mut cache = KeyCache::default();
    let now = generation(&cache);
    for n in 0..50_000 {
        cache.remember(hash(n), None, T0, now);
        cache.remember(hash(n), Some(key(u128::from(n))), T0, now);
    }
    assert!(cache.known.len() <= KNOWN_MAX && cache.unknown.len() <= UNKNOWN_MAX);
    assert_eq!(cache.find(&hash(49_999), T0), Remembered::Known(Some(&key(49_999))));
}
