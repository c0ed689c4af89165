//! The embedded store: one SQLite database, one process, and every port.
//!
//! [`open`](SqliteStore::open) is in `open.rs`. Changes go through `writer.rs`, which gathers them into
//! transactions; reads through `readers.rs`. The way of an event is `publish.rs`, `deliveries.rs`,
//! `finish.rs`, with `lanes.rs` for what goes one after the other, `leases.rs` for who holds what and
//! `workers.rs` for who is at work. What people look at is in `history.rs`, what they do to it in
//! `interventions.rs`, and to much of it at once in `jobs.rs`. `upkeep.rs` and `sweep.rs` clear up.

mod open;
mod settings;

mod checkpoint;
mod database;
mod migrations;
mod readers;
mod scrub;
mod transaction;
mod writer;

mod batch;
mod claims;
mod deliveries;
mod finish;
mod health;
mod interventions;
mod lanes;
mod leases;
mod notices;
mod publish;

mod breakers;
mod workers;

mod api_keys;
mod directory;
mod keyring;
mod registry;

mod history;
mod jobs;
mod pages;
mod quotas;
mod rejections;
mod replay;
mod sweep;
mod upkeep;

mod rows;
mod trouble;

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::chance::Rng;
use harbor_model::port::Fault;
use harbor_model::time::Clock;
use tokio::sync::watch;

pub use crate::sqlite::open::{OpenError, migrate};
pub use crate::sqlite::settings::{Settings, SettingsError};

use crate::Store;
use crate::directory::{DirectoryCache, InstanceLayer};
use crate::keyring::Keyring;
use crate::sqlite::database::Database;
use crate::sqlite::leases::LeaseTable;
use crate::sqlite::sweep::SweepWalk;
use crate::sqlite::upkeep::OrphanWalk;
use crate::sqlite::workers::Leaders;
use crate::sqlite::writer::Bounds;

/// The embedded store. Implements every port.
pub struct SqliteStore {
    database: Database,
    bounds: Bounds,
    leases: Arc<LeaseTable>,
    keyring: Arc<Keyring>,
    directory: Arc<DirectoryCache>,
    instance: Arc<InstanceLayer>,
    leaders: Leaders,
    orphan_walk: OrphanWalk,
    sweep_walk: SweepWalk,
    hints: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

#[async_trait]
impl Store for SqliteStore {
    async fn check(&self) -> Result<(), Fault> {
        self.database.read(|conn| Ok(conn.prepare_cached("SELECT 1")?.exists([]).map(drop)?)).await
    }

    /// Works off the changes that were handed in, copies everything into one file and ends the threads.
    async fn close(&self) {
        self.database.close().await;
    }

    /// Never changes: no other process works with this database.
    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

#[cfg(test)]
mod tests;
