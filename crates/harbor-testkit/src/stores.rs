//! The store that a run of the tests is about: SQLite, or PostgreSQL where `HARBORHOOK_TEST_STORE` says so.
//!
//! The same tests run on both: what an instance does must not depend on where it keeps its things.

use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::port::observer::NoObserver;
use harbor_model::time::Clock;
use harbor_store::directory::InstanceLayer;
use harbor_store::postgres::{self, PostgresStore};
use harbor_store::{MasterKey, SqliteStore, Store, sqlite};

use crate::services::TestDatabase;

/// Which store a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The embedded one.
    Sqlite,
    /// The server of `HARBORHOOK_TEST_POSTGRES_URL`.
    Postgres,
}

/// Which store this run is about.
///
/// # Panics
/// Where the variable names none that there is.
pub fn store_kind() -> StoreKind {
    #[expect(clippy::disallowed_methods, reason = "which store is tested is not a setting of the program")]
    let kind = std::env::var("HARBORHOOK_TEST_STORE");
    match kind.as_deref() {
        Err(_) | Ok("" | "sqlite") => StoreKind::Sqlite,
        Ok("postgres") => StoreKind::Postgres,
        Ok(other) => panic!("HARBORHOOK_TEST_STORE is {other}, and neither sqlite nor postgres"),
    }
}

/// A fresh database for a process of this run; none where the run is about SQLite.
pub async fn database_if_any() -> Option<TestDatabase> {
    match store_kind() {
        StoreKind::Sqlite => None,
        StoreKind::Postgres => Some(TestDatabase::create().await.expect("the run has a PostgreSQL")),
    }
}

/// A fresh store, and what must outlive it.
pub(crate) async fn open_fresh(
    instance: InstanceLayer,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> (Arc<dyn Store>, Option<TestDatabase>) {
    let master = MasterKey::generate(&*rng);
    let Some(database) = database_if_any().await else {
        let settings = sqlite::Settings { instance, ..sqlite::Settings::in_memory() };
        let store = SqliteStore::open(settings, master, clock, rng, Arc::new(NoObserver));
        return (store.expect("memory opens"), None);
    };
    let url = harbor_model::secret::Secret::new(database.url());
    let settings = postgres::Settings { instance, ..postgres::Settings::at(url) };
    let store = PostgresStore::open(settings, master, clock, rng, Arc::new(NoObserver)).await;
    (store.expect("the database opens"), Some(database))
}
