//! The running receiver.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use harbor_signature::SigningKey;

use crate::clock::system_now;
use crate::connection;
use crate::journal::{Journal, TimedOut};
use crate::request::Request;
use crate::script::Script;

/// After a failed accept, mostly for want of file descriptors, so long is waited for some to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells the time that timestamps are compared with.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Sees each request once its answer is chosen.
pub type Observer = Box<dyn Fn(&Request) + Send + Sync>;

/// Says how a receiver is to be.
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The secrets that may have signed; without any, signatures are not checked.
    pub keys: Vec<SigningKey>,
    /// The answers.
    pub script: Script,
    /// So many of the last requests are kept.
    pub keep: usize,
    /// A longer body is answered 413.
    pub body_bytes_max: usize,
    /// Where the time comes from.
    pub clock: Clock,
    /// Who else sees the requests.
    pub observer: Option<Observer>,
}

impl Default for Settings {
    /// Listens on a free loopback port, checks nothing, answers 200 and keeps 1,000 requests.
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: Vec::new(),
            script: Script::always(200),
            keep: 1000,
            body_bytes_max: 16 * 1024 * 1024,
            clock: Box::new(system_now),
            observer: None,
        }
    }
}

/// Is an HTTP server that takes webhooks on any path until it is shut down or dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    tasks: TaskTracker,
    /// Stops the server when the receiver is dropped without a shutdown.
    stop: DropGuard,
}

/// Is what all connections share.
pub(crate) struct State {
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) body_bytes_max: usize,
    pub(crate) clock: Clock,
    pub(crate) observer: Option<Observer>,
    pub(crate) journal: Journal,
    script: RwLock<Arc<Script>>,
}

impl Receiver {
    /// Starts to listen and to serve.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(settings: Settings) -> io::Result<Receiver> {
        let Settings { listen, keys, script, keep, body_bytes_max, clock, observer } = settings;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            keys,
            body_bytes_max,
            clock,
            observer,
            journal: Journal::new(keep),
            script: RwLock::new(Arc::new(script)),
        });
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        tasks.spawn(accept(listener, state.clone(), stop.clone(), tasks.clone()));
        Ok(Receiver { address, state, tasks, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The kept requests, oldest first.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.state.journal.requests()
    }

    /// How many requests came since the start, or since they were cleared; more than are kept.
    pub fn total(&self) -> u64 {
        self.state.journal.total()
    }

    /// Waits until so many requests came in all, and returns those that are kept, oldest first.
    ///
    /// # Errors
    /// If fewer came before the timeout.
    pub async fn wait_for(&self, wanted: u64, timeout: Duration) -> Result<Vec<Arc<Request>>, TimedOut> {
        self.state.journal.wait_for(wanted, timeout).await?;
        Ok(self.requests())
    }

    /// Answers by another script from the next request on.
    pub fn set_script(&self, script: Script) {
        *self.state.script.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// Stops listening, lets polite answers finish for two seconds, and closes all connections.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl State {
    pub(crate) fn script(&self) -> Arc<Script> {
        self.script.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// Accepts connections until it is told to stop.
async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _client)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if stream.set_nodelay(true).is_err() {
            // The client is gone already.
            continue;
        }
        tasks.spawn(connection::serve(stream, state.clone(), stop.clone(), tasks.clone()));
    }
}
