//! Where the engine keeps what it must not lose: a store that can be torn down and opened again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use harbor_model::address::AddressPolicy;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::port::observer::NoObserver;
use harbor_model::time::Clock;
use harbor_store::directory::InstanceLayer;
use harbor_store::sqlite::Settings;
use harbor_store::{MasterKey, SqliteStore, Store};
use tempfile::TempDir;

/// A store under a simulation.
pub trait Ground {
    /// Opens the store: empty the first time, afterwards as the last one left it.
    fn open(&mut self, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Arc<dyn Store>;

    /// Whether leases end with the process that opened the store.
    fn forgets_leases(&self) -> bool;
}

/// SQLite in a file, which works in the caller's thread. A crash drops the store and leaves the file.
pub struct SqliteGround {
    folder: TempDir,
}

impl SqliteGround {
    /// A file of its own, in memory where there is such a folder: nothing here survives the machine anyway.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("harbor-sim").tempdir_in(place);
        Self { folder: folder.expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("harborhook.db")
    }
}

impl Default for SqliteGround {
    fn default() -> Self {
        Self::new()
    }
}

impl Ground for SqliteGround {
    fn open(&mut self, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Arc<dyn Store> {
        let addresses = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
        let instance = InstanceLayer { addresses, ..InstanceLayer::default() };
        let settings = Settings { path: Some(self.path()), inline: true, instance, ..Settings::default() };
        // The same key each time: what one store sealed the next one opens.
        let master = MasterKey::generate(&SeededRng::new(1));
        SqliteStore::open(settings, master, clock, rng, Arc::new(NoObserver)).expect("the file opens")
    }

    fn forgets_leases(&self) -> bool {
        true
    }
}
