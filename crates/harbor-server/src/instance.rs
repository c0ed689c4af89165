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
use harbor_model::address::AddressPolicy;
use harbor_model::chance::Rng;
use harbor_model::policy::PolicyLayer;
use harbor_model::port::Fault;
use harbor_model::port::observer::Observer;
use harbor_model::time::Clock;
use harbor_observe::logs::Logs;
use harbor_observe::metrics::Metrics;
use harbor_recover::upkeep;
use harbor_store::directory::InstanceLayer;
use harbor_store::{MasterKey, OpenError, SqliteStore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::chance::SystemRng;
use crate::dev::{self, DevError};
use crate::first_key::{self, KeyMaker};
use crate::keys::{self, KeyError};
use crate::listen::{ListenError, Listener, Server};
use crate::ops::{self, Scraped};
use crate::settings::Settings;
use crate::surface::{self, Parts, Routers};

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
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
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
    api: Server,
    ops: Server,
    worker: Worker,
    upkeep: TaskTracker,
    stopping: CancellationToken,
    store: Arc<SqliteStore>,
}

/// The instance's own time, chance and eyes.
#[derive(Clone)]
struct Senses {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    metrics: Arc<Metrics>,
}

impl Instance {
    /// Starts everything. Once this answers, the instance is ready.
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
        let api_listener = Listener::bind(server.listen, "listen").await?;
        let ops_listener = Listener::bind(server.ops_listen, "ops-listen").await?;
        let (api_address, ops_address) = (api_listener.address(), ops_listener.address());

        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let metrics = Arc::new(Metrics::new(&settings.metrics, env!("CARGO_PKG_VERSION"), clock.now()));
        let senses = Senses { clock, rng, metrics };
        let policy = settings.policy_layer().expect("the settings were checked");
        let master = prepare_data(settings, &*senses.rng)?;
        let derived = Derived::of(&master);
        let store = open_store(settings, is_dev, policy.clone(), master, &senses).await?;
        let worker = start_worker(settings, &store, &senses)?;

        let stopping = CancellationToken::new();
        let authenticator = Arc::new(Authenticator::new(
            store.clone(),
            &derived.pepper,
            senses.clock.clone(),
            operator_key.as_ref(),
        ));
        let base_url = match &server.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{api_address}"),
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
            (false, None) => keys.first_operator_key().await?.map(|key| first_key::notice(&key)),
        };

        let Routers { api, probes } = surface::routers(Parts {
            settings,
            instance_policy: policy,
            cursor_key: derived.cursor,
            store: store.clone(),
            worker: worker.clone(),
            authenticator,
            clock: senses.clock.clone(),
            rng: senses.rng.clone(),
            observer: senses.metrics.clone(),
            stopping: stopping.clone(),
        });
        let scraped = Scraped {
            metrics: senses.metrics.clone(),
            worker: worker.clone(),
            store: store.clone(),
            clock: senses.clock.clone(),
            logs,
        };
        let ops = ops_listener.serve(ops::router(scraped, probes), server.connections.clone());
        let upkeep = start_upkeep(settings, &store, &senses, stopping.clone());
        let api = api_listener.serve(api, server.connections.clone());

        let ready_ms = began.elapsed().as_millis();
        info!(
            %api_address, %ops_address, %base_url, ready_ms = u64::try_from(ready_ms).unwrap_or(u64::MAX),
            "harborhook {} is ready at {base_url} after {ready_ms} ms", env!("CARGO_PKG_VERSION")
        );
        Ok(Self { welcome, api, ops, worker, upkeep, stopping, store })
    }

    /// Stops everything within `grace`: accepts nothing more, finishes what was begun, closes the store.
    pub(crate) async fn stop(self, grace: Duration) {
        let began = Instant::now();
        let left = || grace.saturating_sub(began.elapsed());
        info!("harborhook stops");
        self.stopping.cancel();
        // Publishes end quickly; deliveries may take all the time that is left.
        self.api.stop(left() / 3).await;
        self.worker.stop(left()).await;
        self.upkeep.wait().await;
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
    Ok(keys::master_key(&settings.security, data_dir, &settings.store_file(), rng)?)
}

/// Makes a directory that only its owner may look into. One that is there keeps its mode.
fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn open_store(
    settings: &Settings,
    is_dev: bool,
    policy: PolicyLayer,
    master: MasterKey,
    senses: &Senses,
) -> Result<Arc<SqliteStore>, StartError> {
    let addresses = AddressPolicy {
        http: settings.security.allow_http,
        loopback: is_dev,
        subnets: settings.security.allowed_subnets.clone().into(),
    };
    let sqlite =
        harbor_store::Settings { instance: InstanceLayer { policy, addresses }, ..settings.sqlite() };
    let Senses { clock, rng, metrics } = senses.clone();
    let observer: Arc<dyn Observer> = metrics;
    let open = move || SqliteStore::open(sqlite, master, clock, rng, observer);
    Ok(tokio::task::spawn_blocking(open).await.expect("opening the store does not panic")?)
}

fn start_worker(
    settings: &Settings,
    store: &Arc<SqliteStore>,
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
        directory: store.clone(),
        sender: Arc::new(HttpSender::new(send, resolver, senses.clock.clone())?),
        clock: senses.clock.clone(),
        rng: senses.rng.clone(),
        observer: senses.metrics.clone(),
    };
    Ok(Worker::start(deps, settings.worker.clone()))
}

fn start_upkeep(
    settings: &Settings,
    store: &Arc<SqliteStore>,
    senses: &Senses,
    stopping: CancellationToken,
) -> TaskTracker {
    let deps = upkeep::Deps { upkeep: store.clone(), clock: senses.clock.clone() };
    let tasks = TaskTracker::new();
    tasks.spawn(upkeep::run(deps, settings.upkeep.clone(), stopping));
    tasks.close();
    tasks
}
