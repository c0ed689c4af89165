//! Opens the store: address, migrations, master key, partitions, tasks.

use std::sync::Arc;

use harbor_model::chance::Rng;
use harbor_model::port::observer::Observer;
use harbor_model::secret::Secret;
use harbor_model::time::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::directory::DirectoryCache;
use crate::keyring::Keyring;
use crate::postgres::address::Address;
use crate::postgres::batcher::Batcher;
use crate::postgres::database::Database;
use crate::postgres::finish::FinishBatch;
use crate::postgres::hints::{self, Hints};
use crate::postgres::leases::{self, LeaseBook, Questions};
use crate::postgres::maintenance::Maintenance;
use crate::postgres::publish::PublishBatch;
use crate::postgres::settings::Settings;
use crate::postgres::sweep::SweepWalk;
use crate::postgres::tls::Tls;
use crate::postgres::trouble::Trouble;
use crate::postgres::upkeep::OrphanWalk;
use crate::postgres::weeks::WeekWatch;
use crate::postgres::{PostgresStore, migrations, partitions};
use crate::seal::MasterKey;
use crate::sqlite::SettingsError;

/// Says why the store could not be opened. No text of it holds the database's URL.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Settings that cannot be.
    #[error("the store's settings cannot be: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<SettingsError>),
    /// The URL cannot be read.
    #[error("the database's URL {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to the database cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// PostgreSQL says no, or does not answer.
    #[error("cannot {doing} the database: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database cannot keep every text.
    #[error("the database's encoding is {found}, it must be UTF8")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// A migration failed.
    #[error("cannot migrate the database: {source}")]
    Migration {
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer program wrote the database.
    #[error("the database has version {found}, this program knows up to {known}: use a newer one")]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// Its secrets are sealed under another master key.
    #[error("the master key is not the one that this store's secrets are sealed under")]
    WrongMasterKey,
}

impl OpenError {
    pub(super) fn trouble(doing: &'static str) -> impl FnOnce(Trouble) -> Self {
        move |source| Self::Database { doing, source: source.into() }
    }

    pub(super) fn sql(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::trouble(doing)(source.into())
    }
}

/// Brings the database at this URL to the present version, without starting anything else.
/// Answers the names of the migrations that were applied.
pub async fn migrate(url: Secret) -> Result<Vec<String>, OpenError> {
    let database = prepare(&Settings::at(url))?;
    let applied = migrate_over(&database).await;
    database.close().await;
    applied
}

fn prepare(settings: &Settings) -> Result<Database, OpenError> {
    settings.validate().map_err(OpenError::Settings)?;
    let address = Address::parse(&settings.url).map_err(|reason| OpenError::Url { reason })?;
    let tls = Tls::new(&address).map_err(|reason| OpenError::Tls { reason })?;
    Ok(Database::new(address, tls, settings.connections()))
}

/// Migrates over a connection of its own, which has no limit of time: a migration takes as long as it takes.
async fn migrate_over(database: &Database) -> Result<Vec<String>, OpenError> {
    let connector = database.connector();
    let (mut client, connection) = connector.connect().await.map_err(OpenError::trouble("connect to"))?;
    let driving = connector.drive(connection);
    let applied = match migrations::is_present(&client).await {
        // Most starts have nothing to do, and need not be allowed to do it.
        Ok(true) => Ok(Vec::new()),
        Ok(false) => migrations::migrate(&mut client).await,
        Err(error) => Err(error),
    };
    drop(client);
    // Without its client the connection ends.
    let _ = driving.await;
    applied
}

impl PostgresStore {
    /// Opens the store, migrated to the present version.
    pub async fn open(
        settings: Settings,
        master: MasterKey,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, OpenError> {
        let database = prepare(&settings)?;
        migrate_over(&database).await?;
        check_master_key(&database, &master).await?;
        partitions::make_around(&database, clock.now()).await.map_err(OpenError::trouble("partition"))?;

        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let hints = Arc::new(Hints::new());
        let directory = Arc::new(DirectoryCache::new(settings.directory_tenants_max));
        let (given_back, to_free) = mpsc::unbounded_channel();
        let leases = Arc::new(LeaseBook::new(given_back, clock.clone()));

        let run = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            });
        };
        run(Box::pin(leases::free_all(database.clone(), leases.clone(), hints.clone(), to_free)));
        run(Box::pin(hints::notify(database.clone(), hints.clone())));
        run(Box::pin(hints::listen(database.clone(), hints.clone(), directory.clone())));

        let publish = PublishBatch::new(leases.clone(), hints.clone());
        let finish = FinishBatch::new(leases.clone(), hints.clone(), rng.clone());
        let batcher = |name, tasks| batcher_of(name, tasks, &settings, &database, &clock, &observer);
        Ok(Arc::new(Self {
            publishes: Batcher::start(publish, batcher("publish", settings.publishers)),
            finishes: Batcher::start(finish, batcher("finish", settings.finishers)),
            leases,
            questions: Questions::default(),
            hints,
            keyring: Arc::new(Keyring::new(master)),
            directory,
            orphan_walk: OrphanWalk::default(),
            sweep_walk: SweepWalk::default(),
            week_watch: WeekWatch::default(),
            maintenance: Maintenance::default(),
            clock: clock.clone(),
            rng,
            tasks,
            stop,
            instance: Arc::new(settings.instance.clone()),
            database: database.clone(),
        }))
    }
}

fn batcher_of(
    doing: &'static str,
    tasks: usize,
    settings: &Settings,
    database: &Database,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
) -> crate::postgres::batcher::Start {
    crate::postgres::batcher::Start {
        doing,
        tasks,
        bounds: settings.batches(),
        room: settings.room(),
        database: database.clone(),
        clock: clock.clone(),
        observer: observer.clone(),
    }
}

/// Remembers which master key seals the store's secrets, and refuses any other.
async fn check_master_key(database: &Database, master: &MasterKey) -> Result<(), OpenError> {
    const NAME: &str = "master_key_fingerprint";
    let find = async || -> Result<Vec<u8>, Trouble> {
        let link = database.browse().await?;
        let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        link.execute(sql, &[&NAME, &&master.fingerprint()[..]]).await?;
        let row = link.query_opt("SELECT value FROM meta WHERE name = $1", &[&NAME]).await?;
        Ok(row.expect("it was written a moment ago, and nobody deletes it").try_get(0)?)
    };
    let stored = find().await.map_err(OpenError::trouble("read"))?;
    if stored == master.fingerprint() { Ok(()) } else { Err(OpenError::WrongMasterKey) }
}
