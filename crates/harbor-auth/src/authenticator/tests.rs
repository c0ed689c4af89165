use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::id::TenantId;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use harbor_model::time::Timestamp;

use super::*;

const OPERATOR: &str = "hhk_operator-operator-operator-operator";
const KEY: &str = "hhk_tenant";
const PEPPER: [u8; 32] = [7; 32];

/// One key that can be revoked, and a count of reads.
struct OneKey {
    key: Mutex<Option<ApiKey>>,
    hash: ApiKeyHash,
    reads: AtomicU64,
}

#[async_trait]
impl ApiKeys for OneKey {
    async fn create_api_key(&self, _: ApiKey, _: ApiKeyHash) -> Result<Change<ApiKey>, Fault> {
        unreachable!("the authenticator makes no keys")
    }

    async fn find_api_key(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.key.lock().unwrap().clone().filter(|_| *hash == self.hash))
    }

    async fn api_keys(&self, _: Option<&TenantId>, _: PageAsk) -> Result<Page<ApiKey>, Fault> {
        unreachable!("the authenticator lists no keys")
    }

    async fn delete_api_key(&self, _: Option<&TenantId>, _: ApiKeyId) -> Result<bool, Fault> {
        unreachable!("the authenticator revokes no keys")
    }

    async fn has_no_api_key(&self) -> Result<bool, Fault> {
        unreachable!("the authenticator does not count keys")
    }
}

/// A clock that stands still until it is moved.
#[derive(Default)]
struct HandClock(AtomicU64);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(0) + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, _: Timestamp) {
        unreachable!("the authenticator does not wait")
    }
}

struct Scene {
    authenticator: Authenticator,
    keys: Arc<OneKey>,
    clock: Arc<HandClock>,
}

impl Scene {
    fn new() -> Self {
        let key = ApiKey {
            id: ApiKeyId::from_number(1),
            tenant_id: Some("acme".parse().unwrap()),
            role: Role::Admin,
            name: String::new(),
            created_at: Timestamp::from_unix_ms(0),
            expires_at: Some(Timestamp::from_unix_ms(10_000)),
        };
        let hash = KeyHasher::new(&PEPPER).hash(KEY);
        let keys = Arc::new(OneKey { key: Mutex::new(Some(key)), hash, reads: AtomicU64::new(0) });
        let clock = Arc::new(HandClock::default());
        let operator = Secret::new(OPERATOR.to_owned());
        let api_keys: Arc<dyn ApiKeys> = keys.clone();
        let authenticator = Authenticator::new(api_keys, &PEPPER, clock.clone(), Some(&operator));
        Self { authenticator, keys, clock }
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    fn revoke(&self) {
        *self.keys.key.lock().unwrap() = None;
    }

    /// The caller's role, or why there is none.
    async fn ask(&self, authorization: &str) -> String {
        match self.authenticator.authenticate(Some(authorization)).await {
            Ok(caller) => caller.role.to_string(),
            Err(error) => format!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn reads_who_is_calling() {
    let scene = Scene::new();
    for (authorization, expected) in [
        ("Bearer hhk_tenant", "admin"),
        ("bearer hhk_tenant", "admin"),
        ("Bearer  hhk_tenant", "admin"),
        ("Bearer hhk_operator-operator-operator-operator", "operator"),
        ("Bearer hhk_other", "Invalid"),
        ("Bearer hhk_tenan", "Invalid"),
        ("Bearer other", "Invalid"),
        ("Bearer ", "Invalid"),
        ("Basic hhk_tenant", "Invalid"),
        ("hhk_tenant", "Invalid"),
        ("", "Invalid"),
    ] {
        assert_eq!(scene.ask(authorization).await, expected, "{authorization}");
    }
    let missing = scene.authenticator.authenticate(None).await;
    assert!(matches!(missing, Err(CredentialError::Missing)));
}

#[tokio::test]
async fn a_key_is_read_once_a_second_and_its_revocation_is_seen_within_it() {
    let scene = Scene::new();
    for _ in 0..100 {
        assert_eq!(scene.ask("Bearer hhk_tenant").await, "admin");
    }
    assert_eq!(scene.keys.reads.load(Ordering::Relaxed), 1);

    scene.revoke();
    scene.pass(1_000);
    assert_eq!(scene.ask("Bearer hhk_tenant").await, "Invalid");
}

#[tokio::test]
async fn a_forgotten_key_is_refused_at_once() {
    let scene = Scene::new();
    assert_eq!(scene.ask("Bearer hhk_tenant").await, "admin");
    scene.revoke();
    scene.authenticator.forget(ApiKeyId::from_number(1));
    assert_eq!(scene.ask("Bearer hhk_tenant").await, "Invalid");
}

#[tokio::test]
async fn a_key_expires_while_it_is_remembered() {
    let scene = Scene::new();
    scene.pass(9_999);
    assert_eq!(scene.ask("Bearer hhk_tenant").await, "admin");
    scene.pass(1);
    assert_eq!(scene.ask("Bearer hhk_tenant").await, "Expired");
}
