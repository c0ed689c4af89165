//! Databases for tests: a fresh one for each, copied from one that is migrated once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harbor_model::chance::SeededRng;
use harbor_model::port::observer::NoObserver;
use harbor_model::secret::Secret;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::Store;
use crate::conformance::World;
use crate::conformance::world::SetClock;
use crate::postgres::{OpenError, PostgresStore, Settings, migrations};
use crate::seal::MasterKey;

/// Names the server on which tests make databases, by the URL of one that is there.
const VARIABLE: &str = "HARBORHOOK_TEST_POSTGRES_URL";

/// How many databases are in use at a time. Each store keeps a few connections, of which a server has not
/// many by default.
static ROOM: Semaphore = Semaphore::const_new(4);

static TEMPLATE: OnceCell<()> = OnceCell::const_new();

/// A database of its own. It is dropped with this, whoever still uses it.
pub(super) struct Database {
    server: Url,
    name: String,
    _room: SemaphorePermit<'static>,
}

/// The server to test on; none where there is none, except where everything must be tested.
fn find_server() -> Option<Url> {
    #[expect(clippy::disallowed_methods, reason = "tests are told of their server by the environment")]
    let (url, is_ci) = (std::env::var(VARIABLE).ok(), std::env::var("CI").is_ok());
    if url.is_none() {
        assert!(!is_ci, "{VARIABLE} must be set where everything is tested");
        println!("skipped: no PostgreSQL ({VARIABLE} is not set)");
    }
    url.map(|url| url.parse().unwrap())
}

/// Does what a statement says, over a connection of its own.
pub(super) async fn run(url: &Url, sql: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await?;
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    client.batch_execute(sql).await
}

/// A connection on which a test looks at the tables. Its task ends with the runtime of the test.
pub(super) async fn connect(url: &Url) -> Client {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    client.batch_execute("SET search_path = harborhook").await.unwrap();
    client
}

/// The name of the database that all others are copied from. It stays on the server for the next run; a
/// change of the migrations makes another one.
fn template() -> String {
    let mut hasher = DefaultHasher::new();
    for migration in migrations::all() {
        (migration.version(), migration.sql()).hash(&mut hasher);
    }
    format!("harborhook_test_template_{:016x}", hasher.finish())
}

/// Makes the template where it is missing. Processes that test at the same time do so one after the other.
async fn prepare_template(server: &Url) {
    let name = template();
    let (client, connection) = tokio_postgres::connect(server.as_str(), NoTls).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    client.batch_execute("SELECT pg_advisory_lock(7305515)").await.unwrap();
    let exists = "SELECT 1 FROM pg_database WHERE datname = $1";
    if client.query_opt(exists, &[&name]).await.unwrap().is_some() {
        return;
    }
    // Under its name only when it is complete.
    let draft = format!("{name}_draft");
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {draft}")).await.unwrap();
    let database = on(server, &draft);
    // With the partitions around the tests' clock.
    let store = open(&database, [7; 32], Arc::default()).await.unwrap();
    store.close().await;
    drop(store);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    client.query(end, &[&draft]).await.unwrap();
    client.batch_execute(&format!("ALTER DATABASE {draft} RENAME TO {name}")).await.unwrap();
}

fn on(server: &Url, database: &str) -> Url {
    let mut url = server.clone();
    url.set_path(database);
    url
}

impl Database {
    /// A copy of the template; none where there is no server to test on.
    pub(super) async fn fresh() -> Option<Self> {
        Self::made(&format!("TEMPLATE {} STRATEGY wal_log", template())).await
    }

    /// A database in which nothing is, made in this way.
    pub(super) async fn empty(how: &str) -> Option<Self> {
        Self::made(how).await
    }

    async fn made(how: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = find_server()?;
        let room = ROOM.acquire().await.unwrap();
        TEMPLATE.get_or_init(|| prepare_template(&server)).await;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("harborhook_test_{}_{count}", std::process::id());
        run(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        run(&server, &format!("CREATE DATABASE {name} {how}")).await.unwrap();
        Some(Self { server, name, _room: room })
    }

    /// Where it is.
    pub(super) fn url(&self) -> Url {
        on(&self.server, &self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // The runtime of the test cannot wait here for anything.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&server, &drop))
        });
        let dropped = dropping.join().unwrap();
        if !std::thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// Few connections, so that several stores fit on a server.
pub(super) fn settings(url: &Url) -> Settings {
    let at = Settings::at(Secret::new(url.to_string()));
    Settings { publishers: 2, finishers: 2, readers: 2, browsers: 2, ..at }
}

/// Opens a store on a database.
pub(super) async fn open(
    url: &Url,
    key: [u8; 32],
    clock: Arc<SetClock>,
) -> Result<Arc<PostgresStore>, OpenError> {
    let rng = Arc::new(SeededRng::new(u64::from(std::process::id())));
    PostgresStore::open(settings(url), MasterKey::from_bytes(key), clock, rng, Arc::new(NoObserver)).await
}

/// A world around a store on a database of its own, and where that is; none where there is no server to
/// test on.
pub(super) async fn world_at() -> Option<(World<PostgresStore>, Url)> {
    let database = Database::fresh().await?;
    let url = database.url();
    let at = url.clone();
    let open = async move |clock, rng| {
        let key = MasterKey::from_bytes([7; 32]);
        PostgresStore::open(settings(&at), key, clock, rng, Arc::new(NoObserver)).await.unwrap()
    };
    let world = World::new(async |clock, rng| (open.clone()(clock, rng).await, database)).await;
    let world = world.reopened_by(move |clock, rng| {
        let open = open.clone();
        Box::pin(async move { open(clock, rng).await })
    });
    Some((world, url))
}

/// The same, where nobody asks where the database is.
pub(super) async fn world() -> Option<World<PostgresStore>> {
    world_at().await.map(|(world, _)| world)
}
