//! A running instance: which parts there are, how they are put together, and how they end.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harbor_auth::authenticator::Authenticator;
use harbor_deliver::send::client::HttpSender;
use harbor_deliver::send::resolve::SystemResolver;
use harbor_deliver::send::tls::SetupError;
use harbor_deliver::worker::{self, Worker};
use harbor_ingest::publish::{self, Publisher};
use harbor_ingest::rejections::RejectionLog;
use harbor_model::address::AddressPolicy;
use harbor_model::chance::Rng;
use harbor_model::policy::InstancePolicy;
use harbor_model::port::Fault;
use harbor_model::port::handoff::{Handoff, NoWorker};
use harbor_model::port::observer::Observer;
use harbor_model::time::Clock;
use harbor_observe::logs::Logs;
use harbor_observe::metrics::Metrics;
use harbor_store::directory::InstanceLayer;
use harbor_store::postgres::{self, PostgresStore};
use harbor_store::{MasterKey, OpenError, SqliteStore, Store, sqlite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::chance::SystemRng;
use crate::dev::{self, DevError};
use crate::first_key::{self, KeyMaker};
use crate::keys::{self, KeyError};
use crate::listen::{ListenError, Listener, Server};
use crate::ops::{self, Scraped};
use crate::settings::value::Role;
use crate::settings::{ChosenStore, Settings};
use crate::surface::{self, Parts, Routers};
use crate::tasks::{self, Engine, Tasks};

/// Says why an instance does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// `--dev` is not possible like this.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// An address is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A key is not to be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The embedded store does not open.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// The store in PostgreSQL does not open.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Sender(#[from] SetupError),
    /// A file or directory is not to be had.
    #[error("cannot {act} {}: {source}", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A running instance.
pub(crate) struct Instance {
    /// What there is to tell whoever started it.
    pub(crate) welcome: Option<String>,
    /// None where the process does not serve the API.
    api: Option<Server>,
    ops: Server,
    /// None where the process does not deliver.
    worker: Option<Worker>,
    /// Upkeep, jobs, and whoever settles quotas or passes on hints.
    tasks: TaskTracker,
    stopping: CancellationToken,
    store: Arc<dyn Store>,
}

/// The instance's own time, chance and eyes.
#[derive(Clone)]
pub(crate) struct Senses {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Instance {
    /// Starts everything that its roles ask for. Once this answers, the instance is ready.
    pub(crate) async fn start(
        settings: &Settings,
        is_dev: bool,
        clock: Arc<dyn Clock>,
        logs: Arc<Logs>,
    ) -> Result<Self, StartError> {
        let began = Instant::now();
        let server = &settings.server;
        if is_dev {
            dev::check_addresses([("listen", server.listen), ("ops-listen", server.ops_listen)])?;
        }
        let operator_key = keys::operator_key(&settings.security)?;
        // Addresses first: they tell at once that the instance runs already.
        let api_listener = match settings.has_role(Role::Api) {
            true => Some(Listener::bind(server.listen, "listen").await?),
            false => None,
        };
        let ops_listener = Listener::bind(server.ops_listen, "ops-listen").await?;
        let ops_address = ops_listener.address();

        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let metrics = Arc::new(Metrics::new(&settings.metrics, env!("CARGO_PKG_VERSION"), clock.now()));
        let senses = Senses { clock, rng, metrics };
        let policy = settings.instance_policy().expect("the settings were checked");
        let master = prepare_data(settings, &*senses.rng)?;
        let derived = Derived::of(&master);
        let store = open_store(settings, is_dev, policy.clone(), master, &senses).await?;
        let worker = match settings.has_role(Role::Worker) {
            true => Some(start_worker(settings, &store, &senses).await?),
            false => None,
        };
        let handoff: Arc<dyn Handoff> = match &worker {
            Some(worker) => Arc::new(worker.clone()),
            None => Arc::new(NoWorker),
        };

        let stopping = CancellationToken::new();
        let authenticator = Arc::new(Authenticator::new(
            store.clone(),
            &derived.pepper,
            senses.clock.clone(),
            operator_key.as_ref(),
        ));
        let base_url = match (&server.public_url, &api_listener) {
            (Some(url), _) => url.as_str().trim_end_matches('/').to_owned(),
            (None, Some(listener)) => format!("http://{}", listener.address()),
            (None, None) => format!("http://{}", server.listen),
        };
        let keys = KeyMaker {
            api_keys: &*store,
            authenticator: &authenticator,
            clock: &*senses.clock,
            rng: &*senses.rng,
        };
        let welcome = match (is_dev, operator_key) {
            (true, given) => {
                let credentials =
                    dev::prepare(&*store, &keys, given.as_ref(), &server.data_dir, base_url.clone()).await?;
                Some(dev::welcome(&credentials, ops_address, &server.data_dir))
            }
            (false, Some(_)) => None,
            // Whoever starts the API for the first time is who needs it.
            (false, None) if api_listener.is_none() => None,
            (false, None) => keys.first_operator_key().await?.map(|key| first_key::notice(&key)),
        };

        let publisher = make_publisher(settings, &store, &handoff, &senses);
        let rejections = Arc::new(RejectionLog::new(store.clone()));
        let Routers { api, probes } = surface::routers(Parts {
            settings,
            instance_policy: policy,
            cursor_key: derived.cursor,
            store: store.clone(),
            publisher: publisher.clone(),
            rejections: rejections.clone(),
            base_url: base_url.clone(),
            handoff: handoff.clone(),
            authenticator,
            clock: senses.clock.clone(),
            rng: senses.rng.clone(),
            stopping: stopping.clone(),
        });
        let engine = Engine { store: &store, worker: worker.as_ref(), publisher, rejections, handoff };
        let Tasks { tracker: tasks, open_jobs } = tasks::start(settings, engine, &senses, &stopping);
        let scraped = Scraped {
            metrics: senses.metrics.clone(),
            worker: worker.clone(),
            store: store.clone(),
            clock: senses.clock.clone(),
            logs,
            open_jobs,
        };
        let ops = ops_listener.serve(ops::router(scraped, probes), server.connections.clone());
        let api_address = api_listener.as_ref().map(Listener::address);
        let api = api_listener.map(|listener| listener.serve(api, server.connections.clone()));

        let ready_ms = began.elapsed().as_millis();
        info!(
            api_address = api_address.map(tracing::field::display), %ops_address, %base_url, ready_ms = u64::try_from(ready_ms).unwrap_or(u64::MAX),
            "harborhook {} is ready at {base_url} after {ready_ms} ms", env!("CARGO_PKG_VERSION")
        );
        Ok(Self { welcome, api, ops, worker, tasks, stopping, store })
    }

    /// Stops everything within `grace`: accepts nothing more, finishes what was begun, closes the store.
    pub(crate) async fn stop(self, grace: Duration) {
        let began = Instant::now();
        let left = || grace.saturating_sub(began.elapsed());
        info!("harborhook stops");
        self.stopping.cancel();
        // Publishes end quickly; deliveries may take all the time that is left.
        if let Some(api) = self.api {
            api.stop(left() / 3).await;
        }
        if let Some(worker) = self.worker {
            worker.stop(left()).await;
        }
        if tokio::time::timeout(left(), self.tasks.wait()).await.is_err() {
            // What was begun is a transaction of its own: it is made, or it is not.
            warn!("a task beside requests took longer than the time that was left for the stop");
        }
        // Probes and metrics are served to the last.
        self.ops.stop(OPS_GRACE).await;
        self.store.close().await;
        info!("harborhook has stopped");
    }
}

/// A scrape takes less.
const OPS_GRACE: Duration = Duration::from_secs(1);

/// Keys for other purposes, derived from the master key.
struct Derived {
    pepper: [u8; 32],
    cursor: [u8; 32],
}

impl Derived {
    fn of(master: &MasterKey) -> Self {
        Self { pepper: master.derive("pepper of API keys"), cursor: master.derive("cursors of lists") }
    }
}

/// Makes the data directory and finds, or makes, the master key.
pub(crate) fn prepare_data(settings: &Settings, rng: &dyn Rng) -> Result<MasterKey, StartError> {
    let data_dir = &settings.server.data_dir;
    make_private(data_dir).map_err(|source| StartError::File {
        act: "make",
        path: data_dir.clone(),
        source,
    })?;
    Ok(keys::master_key(&settings.security, data_dir, settings.store_file().as_deref(), rng)?)
}

/// Makes a directory that only its owner may look into. One that is there keeps its mode.
fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn open_store(
    settings: &Settings,
    is_dev: bool,
    policy: InstancePolicy,
    master: MasterKey,
    senses: &Senses,
) -> Result<Arc<dyn Store>, StartError> {
    let addresses = AddressPolicy {
        http: settings.security.allow_http,
        loopback: is_dev,
        subnets: settings.security.allowed_subnets.clone().into(),
    };
    let instance = InstanceLayer { policy, addresses };
    let Senses { clock, rng, metrics } = senses.clone();
    let observer: Arc<dyn Observer> = metrics;
    match settings.chosen_store() {
        ChosenStore::Sqlite(chosen) => {
            let chosen = sqlite::Settings { instance, ..chosen };
            let open = move || SqliteStore::open(chosen, master, clock, rng, observer);
            Ok(tokio::task::spawn_blocking(open).await.expect("opening the store does not panic")?)
        }
        ChosenStore::Postgres(chosen) => {
            let chosen = postgres::Settings { instance, ..chosen };
            Ok(PostgresStore::open(chosen, master, clock, rng, observer).await?)
        }
    }
}

async fn start_worker(
    settings: &Settings,
    store: &Arc<dyn Store>,
    senses: &Senses,
) -> Result<Worker, StartError> {
    let mut send = settings.send.clone();
    if let Some(path) = &settings.security.extra_roots_file {
        let pem = fs::read_to_string(path).map_err(|source| StartError::File {
            act: "read",
            path: path.clone(),
            source,
        })?;
        send.extra_roots_pem = Some(pem);
    }
    let resolver = Arc::new(SystemResolver::default());
    let deps = worker::Deps {
        deliveries: store.clone(),
        workers: store.clone(),
        breakers: store.clone(),
        directory: store.clone(),
        sender: Arc::new(HttpSender::new(send, resolver, senses.clock.clone())?),
        clock: senses.clock.clone(),
        rng: senses.rng.clone(),
        observer: senses.metrics.clone(),
    };
    Ok(Worker::start(deps, settings.worker.clone()).await?)
}

/// Whoever takes events in: those of callers, and our own.
fn make_publisher(
    settings: &Settings,
    store: &Arc<dyn Store>,
    handoff: &Arc<dyn Handoff>,
    senses: &Senses,
) -> Publisher {
    let deps = publish::Deps {
        intake: store.clone(),
        directory: store.clone(),
        handoff: handoff.clone(),
        clock: senses.clock.clone(),
        rng: senses.rng.clone(),
        observer: senses.metrics.clone(),
    };
    Publisher::new(deps, settings.publish.clone())
}
