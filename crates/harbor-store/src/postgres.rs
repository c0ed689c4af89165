//! The store for several processes: a PostgreSQL database, and every port.
//!
//! [`open`](PostgresStore::open) is in `open.rs`. `database.rs` keeps the connections. What is published and
//! what came of attempts goes through `batcher.rs`, which gathers it into one statement for many; the way
//! of an event is `publish.rs`, `deliveries.rs`, `finish.rs`, with `leases.rs` for the guards that this process
//! holds and `workers.rs` for who is at work. What ends without an attempt is in `ending.rs`, and who goes
//! after whom in `lanes.rs`. `hints.rs` is how processes wake each other. What people look
//! at is in `history.rs`.

mod open;
mod settings;

mod address;
mod database;
mod migrations;
mod partitions;
mod tls;

mod batcher;
mod hints;

mod claims;
mod deliveries;
mod ending;
mod finish;
mod health;
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
mod interventions;
mod jobs;
mod maintenance;
mod pages;
mod quotas;
mod rejections;
mod replay;
mod retention;
mod sweep;
mod upkeep;
mod weeks;

mod rows;
mod trouble;
mod uuid;

use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::chance::Rng;
use harbor_model::port::Fault;
use harbor_model::time::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::postgres::open::{OpenError, migrate};
pub use crate::postgres::settings::Settings;

use crate::Store;
use crate::directory::{DirectoryCache, InstanceLayer};
use crate::keyring::Keyring;
use crate::postgres::batcher::Batcher;
use crate::postgres::database::{Database, retried};
use crate::postgres::finish::FinishBatch;
use crate::postgres::hints::Hints;
use crate::postgres::leases::{LeaseBook, Questions};
use crate::postgres::maintenance::Maintenance;
use crate::postgres::publish::PublishBatch;
use crate::postgres::sweep::SweepWalk;
use crate::postgres::upkeep::OrphanWalk;
use crate::postgres::weeks::WeekWatch;

/// The store in PostgreSQL. Implements every port.
pub struct PostgresStore {
    database: Database,
    publishes: Batcher<PublishBatch>,
    finishes: Batcher<FinishBatch>,
    leases: Arc<LeaseBook>,
    questions: Questions,
    hints: Arc<Hints>,
    keyring: Arc<Keyring>,
    directory: Arc<DirectoryCache>,
    instance: Arc<InstanceLayer>,
    orphan_walk: OrphanWalk,
    sweep_walk: SweepWalk,
    week_watch: WeekWatch,
    maintenance: Maintenance,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[async_trait]
impl Store for PostgresStore {
    async fn check(&self) -> Result<(), Fault> {
        retried("check", async || self.database.browse().await?.execute("SELECT 1", &[]).await.map(drop))
            .await
    }

    /// Works off what was handed in, gives back what is held, and ends the tasks and connections.
    async fn close(&self) {
        self.publishes.close().await;
        self.finishes.close().await;
        self.leases.settled().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.database.close().await;
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }
}

impl Drop for PostgresStore {
    /// The tasks do not outlive the store, even where nobody closed it.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresStore")
    }
}

#[cfg(test)]
mod tests;
